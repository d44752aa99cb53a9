"""Packs: finished runs, or starting weights with all of their files, in one file that can move between machines."""
