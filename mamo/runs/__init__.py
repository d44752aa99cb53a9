"""Executing runs: directory, lock, record, saved models, and one maker for each kind."""
