"""Turn specs into results: the training loop, its optimiser and schedule, checkpoints, outcomes, execution of runs."""
