"""Pages that are generated from lists and from the source, such as that of the deviations."""
