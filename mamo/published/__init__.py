"""Trained models outside of the workbench: folders that can be published, and loading them with one call."""
