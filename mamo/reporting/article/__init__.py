"""The article: a scale's results as a PDF that reads like a replication report."""
