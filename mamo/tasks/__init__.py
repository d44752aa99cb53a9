"""Train and measure: pre-training (section 3.2) and the downstream tasks (section 4.3, appendix A)."""
