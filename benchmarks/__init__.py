"""Benchmarks of the server and its alternatives; see `python -m benchmarks --help`."""
