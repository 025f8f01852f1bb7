"""Figures: the server beside what people would use instead. `python -m benchmarks --help` tells more."""
