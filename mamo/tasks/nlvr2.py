"""NLVR2: is a sentence true of two photos? Two pairs, then paired attention (section 4.3, appendix A).

Shapes: B sentences, S side of an image in pixels, V visual tokens, L sub-words, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.data.batches.collate import Batch
from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.manifest import Row
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.tokenizer import Tokenizer
from mamo.model.mamo import Mamo
from mamo.model.paired_attention import PairedAttention, statement_logits
from mamo.specs.finetune import Nlvr2Spec
from mamo.tasks.evaluating import encoded_records, evaluating
from mamo.tasks.expectations import StepExpectations
from mamo.tasks.task import DownstreamTask, Evaluation, without_alignment

SPLITS = ("dev", "test")


class Nlvr2Task(DownstreamTask):
    """Cross-entropy of true and false."""

    spec: Nlvr2Spec

    def __init__(
        self, network: Mamo, spec: Nlvr2Spec, tokenizer: Tokenizer, transform_eval: EvalTransform
    ) -> None:
        super().__init__(network, spec, tokenizer, transform_eval)
        # New in every run: pre-training knows no pairs of images.
        self.pair = PairedAttention(network.spec.width, network.spec.heads, network.spec.dropout)

    def newly_initialised(self) -> Iterable[nn.Module]:
        """Return the paired attention with its classifier."""
        return (self.pair,)

    def logits(self, left_BVD: Tensor, right_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """See :func:`mamo.model.paired_attention.statement_logits`."""
        return statement_logits(self.network, self.pair, left_BVD, right_BVD, ids_BL, mask_BL)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy of "false" and "true".

        Args:
            batch: image and image2 (B, 3, S, S), ids and mask (B, L), label (B,), 1 for true.
        """
        # Both photos in one call of the image encoder.
        left, right = self.network.encode_image(torch.cat([batch["image"], batch["image2"]])).chunk(2)
        logits = self.logits(left, right, batch["ids"], batch["mask"])
        return {"loss": F.cross_entropy(logits.float(), batch["label"])}

    def expectations(self) -> StepExpectations:
        """Expect no gradient in the heads of alignment, nor in the bias of the pool's scores."""
        # That bias shifts all scores of a softmax alike.
        expected = without_alignment(self.network)
        return replace(expected, unread=(*expected.unread, self.pair.pool.score.bias))

    def predict(self, data: Prepared, records: Sequence[Row]) -> list[int]:
        """Predict 1 where a sentence is taken for true, else 0."""
        labels = torch.zeros(len(records), dtype=torch.long)
        pairs = [(record["image"], record["image2"]) for record in records]
        sentences = [record["text"] for record in records]
        with evaluating(self, self.spec.precision):
            for part in encoded_records(self, data, pairs, sentences):
                left, right = part.visual.unbind(1)
                labels[part.records] = self.logits(left, right, part.ids, part.mask).argmax(1).cpu()
        return labels.tolist()

    def correct(self, data: Prepared, split: str) -> list[bool]:
        """Tell which sentences of a split are judged rightly.

        Raises:
            PreparedError: the split is empty.
        """
        records = list(data.records(split))
        if not records:
            raise PreparedError(f"{data.path}, split '{split}': there are no sentences; prepare it again")
        return [
            label == record["label"]
            for label, record in zip(self.predict(data, records), records, strict=True)
        ]

    def validate(self, data: Prepared) -> float:
        """Return the accuracy on dev in percent."""
        return _percent(self.correct(data, "dev"))

    def items_of(self, data: Prepared, evaluation: Evaluation) -> dict[str, int]:
        """Expect all sentences of both splits."""
        return {split: data.manifest["splits"][split]["records"] for split in SPLITS}

    def test(self, data: Prepared) -> Evaluation:
        """Measure accuracy on dev and test; chance is the training set's majority label."""
        train = data.records("train").column("label").to_pylist()
        # The best guess without the photos.
        majority = int(2 * sum(train) >= len(train))
        metrics: dict[str, float] = {}
        items: dict[str, list[Any]] = {"identifier": [], "split": [], "correct": []}
        for split in SPLITS:
            correct = self.correct(data, split)
            labels = data.records(split).column("label").to_pylist()
            metrics[f"{split}_accuracy"] = _percent(correct)
            metrics[f"chance/{split}_accuracy"] = _percent([label == majority for label in labels])
            items["identifier"] += data.records(split).column("identifier").to_pylist()
            items["split"] += [split] * len(correct)
            items["correct"] += correct
        return Evaluation(metrics, items)


def _percent(correct: Sequence[bool]) -> float:
    return 100 * sum(correct) / len(correct)
