"""Draw figures with matplotlib, from values alone."""
