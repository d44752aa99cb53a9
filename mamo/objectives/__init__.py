"""The pre-training objectives of the paper's section 3.2, one file each, and the masking that they share."""
