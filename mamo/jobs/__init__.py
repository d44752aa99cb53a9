"""Downstream jobs without their networks: cost, results per item, settings in use. Imports numpy at most."""
