"""The article: what a scale found as a PDF that reads like a replication report."""
