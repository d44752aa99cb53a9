"""Measure what the workbench costs, side by side with the plain way. `make bench`, or `python -m benchmarks NAME`."""
