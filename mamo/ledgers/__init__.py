"""Generate pages from lists and from the source, such as the list of deviations."""
