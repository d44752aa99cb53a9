"""MAMO: the reproducibility and ablation workbench."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mamo.published.load import Pretrained


def load(path_or_name: str | Path) -> Pretrained:
    """Load a trained model from an exported folder, a finished run's directory, or a name on the Hugging Face hub.

    Raises:
        mamo.published.load.LoadError: there is no such model, or a file of it is missing.
    """
    from mamo.published.load import load as load_model

    return load_model(path_or_name)
