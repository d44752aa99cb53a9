"""The command line: the only door that the workflow uses."""
