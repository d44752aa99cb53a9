"""Drawing figures with matplotlib, from values alone."""
