"""Readers: one for each official format of a release."""
