"""Results that travel: finished runs without their weights, in one small file."""
