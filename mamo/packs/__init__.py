"""Packs: finished runs without their weights, in one small file that can move between machines."""
