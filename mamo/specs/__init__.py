"""Typed descriptions of runs: everything that changes a run's numbers, and nothing that does not."""
