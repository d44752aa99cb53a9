"""MAMO: the reproducibility and ablation workbench."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mamo.published.pretrained import Pretrained


def load(
    path_or_name: str | Path, *, scale: str | None = None, results: str | Path = "results"
) -> Pretrained:
    """Load a trained model.

    Args:
        path_or_name: the name of a model that ships with the package, an exported folder, a finished run's directory, or a
            name on the Hugging Face hub.
        scale: take ``path_or_name`` as the name of a run of this scale.
        results: folder of the runs; used only with ``scale``.

    Raises:
        mamo.published.load.LoadError: there is no such model, or a file of it is missing.
    """
    from mamo.published.load import load as load_model

    return load_model(path_or_name, scale=scale, results=results)
