"""The configuration of an exported model."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class MamoConfig(PretrainedConfig):
    """Contents of an exported model's ``config.json``.

    Args:
        model: the network's shape, as in the workbench's ``ModelSpec``.
        vocab_size: entries of the vocabulary.
        transform: how an image becomes the network's input: ``size``, ``interpolation``, ``mean``, ``std``.
        task: the downstream task, with the settings that it is used with; None: as pre-trained.
        cls_token_id: id of [CLS].
    """

    model_type = "mamo"

    def __init__(
        self,
        model: dict[str, Any] | None = None,
        vocab_size: int = 30522,
        transform: dict[str, Any] | None = None,
        task: dict[str, Any] | None = None,
        cls_token_id: int = 101,
        **kwargs: Any,
    ) -> None:
        self.model = model or {}
        self.vocab_size = vocab_size
        self.transform = transform or {}
        self.task = task
        self.cls_token_id = cls_token_id
        super().__init__(**kwargs)
