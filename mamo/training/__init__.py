"""Turning specs into results: the one loop, its optimiser and schedule, checkpoints, outcomes, and the execution of runs."""
