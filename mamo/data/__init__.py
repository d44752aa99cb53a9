"""Data: one module per official format, the prepared form, transforms, sampling, tokenizer and batches."""
