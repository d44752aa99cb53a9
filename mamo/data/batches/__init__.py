"""Make batches of records: order, transforms, collation, loading by worker processes."""
