"""Read and write files; used by every room."""
