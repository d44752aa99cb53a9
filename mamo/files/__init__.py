"""Reading and writing files: the ground that every room stands on."""
