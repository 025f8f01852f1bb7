"""A real socket: how the mock is served."""
