"""MAMO: the reproducibility and ablation workbench."""
