"""From records to batches: order, transforms, collation, loading by worker processes."""
