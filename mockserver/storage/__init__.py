"""Storage: the only package that knows SQLite and the file system."""
