"""A small BERT trained by masked language modelling: the stand-in for published BERT where none is available.

Shapes: B texts, L sub-words.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from mamo.data.batches.collate import Batch
from mamo.data.batches.sampler import batch_indices
from mamo.data.tokenizer import Tokenizer
from mamo.model.text import TextEncoder
from mamo.objectives.masking import TextMasker
from mamo.objectives.mlm import MlmHead
from mamo.specs.masking import MaskingSpec
from mamo.specs.model import ModelSpec
from mamo.tasks.task import Task

# BERT's own share of masked sub-words (Devlin et al., 2019); MAMO's 25 % belongs to its pre-training.
BERT_MASKING = MaskingSpec(text_ratio=0.15)


class LanguageTask(Task):
    """All of BERT's layers in one text encoder, with a tied linear predictor."""

    def __init__(self, spec: ModelSpec, tokenizer: Tokenizer) -> None:
        super().__init__()
        # Text and fusion encoder start from BERT's first and last layers (section 3.1), so all of them are trained here.
        layers = spec.text_layers + spec.fusion_layers
        self.bert = TextEncoder(spec.model_copy(update={"text_layers": layers}), tokenizer.vocab_size)
        self.head = MlmHead(self.bert.embedding.words)
        self.masker = TextMasker(BERT_MASKING, tokenizer, spec.max_words)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy of the masked sub-words of a batch of texts (ids and mask, (B, L))."""
        ids, mask = batch["ids"], batch["mask"]
        text = self.masker(ids, mask, batch["seed"], batch["step"])
        logits = self.head(self.bert(text.ids, mask)[text.chosen]).float()
        loss = F.cross_entropy(logits, ids[text.chosen])
        return {"loss": loss, "accuracy": (logits.argmax(-1) == ids[text.chosen]).float().mean()}


def text_batches(
    texts: list[str], tokenizer: Tokenizer, max_words: int, batch_size: int, seed: int, start: int, total: int
) -> Iterator[Batch]:
    """Yield batches of tokenised texts for the steps from ``start``, in an order that depends on the seed alone."""
    for step in range(start, total):
        chosen: np.ndarray = batch_indices(seed, step, batch_size, len(texts))
        ids, mask = tokenizer.encode([texts[i] for i in chosen], max_length=max_words)
        yield {"ids": ids, "mask": mask, "seed": seed, "step": step}
