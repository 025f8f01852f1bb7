"""Seeds: files that describe what new worlds contain."""
