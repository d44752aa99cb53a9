"""Weakly supervised grounding: ITC + ITM, then Grad-CAM of ITM's score over proposals (section 4.3, appendix A).

No box is used in training, nor in choosing weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mamo.data.batches.loader import image_batches
from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.manifest import Row
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.tokenizer import Tokenizer
from mamo.jobs.grounding import SPLITS
from mamo.model.mamo import Mamo
from mamo.specs.finetune import GroundingSpec
from mamo.tasks.alignment import AlignmentTask, matching_logits
from mamo.tasks.boxes import box_iou, choose_box
from mamo.tasks.evaluating import by_image, device_of, evaluating
from mamo.tasks.gallery import encode_gallery
from mamo.tasks.recall import shortlist
from mamo.tasks.relevance import attention_relevance, fusion_attention, split_relevance
from mamo.tasks.task import Evaluation


class Heat(NamedTuple):
    """Maps of a text on the image's patches, (B, g, g), not negative, by the text tokens whose maps are averaged."""

    all: Tensor
    """All but padding, [CLS] and [SEP] among them (ALBEF)."""
    words: Tensor
    """Sub-words alone."""


class GroundingTask(AlignmentTask):
    """Referring expressions: which of the proposed boxes is meant?

    Raises:
        ValueError: the spec's layer does not exist, or is the last one.
    """

    spec: GroundingSpec

    def __init__(
        self, network: Mamo, spec: GroundingSpec, tokenizer: Tokenizer, transform_eval: EvalTransform
    ) -> None:
        super().__init__(network, spec, tokenizer, transform_eval)
        fusion_attention(network, spec.layer)  # is there such a layer?
        if spec.layer == len(network.fusion.layers):
            raise ValueError(
                f"layer {spec.layer} is the last fusion layer: ITM's score reads its [CLS] alone, so the words' attention "
                f"there has no gradient; set layer to one of 1 to {spec.layer - 1}"
            )

    def heat(self, visual_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Heat:
        """Where a text looks for what makes the pair match, under both readings of what is averaged."""
        with torch.no_grad(), self._autocast():
            text = self.network.encode_text(ids_BL, mask_BL)
        attention = fusion_attention(self.network, self.spec.layer)
        with self._autocast():
            relevance = attention_relevance(
                attention, lambda: matching_logits(self.network, visual_BVD, text, mask_BL)[:, 1]
            )
        maps = split_relevance(relevance, self.network.vision.grid).words_on_patches
        words_BL = ~self.tokenizer.special_mask(ids_BL)
        shares = (chosen.float() / chosen.sum(1, keepdim=True).clamp(min=1) for chosen in (mask_BL, words_BL))
        return Heat(*(torch.einsum("bl,blgh->bgh", share, maps) for share in shares))

    def choose(self, data: Prepared, records: Sequence[Row]) -> dict[str, list[int]]:
        """The chosen proposal of every record, -1 for none, by the tokens whose maps are averaged; an image is encoded once for
        all its texts."""
        device, size = device_of(self), self.spec.eval_batch_size
        chosen = {tokens: torch.full((len(records),), -1) for tokens in Heat._fields}
        groups = list(by_image([record["image"] for record in records], size))
        rows = [row for group in groups for row in group.images]
        images = image_batches(data.images, rows, self.transform_eval, size, torch.get_num_threads())
        with self._steady():
            for group, image in zip(groups, images, strict=True):
                with torch.no_grad(), self._autocast():
                    visual = self.network.encode_image(image.to(device))
                for start in range(0, len(group.records), size):
                    part = group.records[start : start + size]
                    ids, mask = self.tokenizer.encode(
                        [records[i]["text"] for i in part], self.network.spec.max_words
                    )
                    places = group.places[start : start + size].to(device)
                    heat = self.heat(visual[places], ids.to(device), mask.to(device))
                    boxes, present = _padded([records[i]["proposals"] for i in part])
                    side = self.network.spec.image_size
                    for tokens, maps in heat._asdict().items():
                        chosen[tokens][part] = choose_box(
                            maps.cpu(), boxes, present, side, self.spec.area_exponent
                        )
        return {tokens: places.tolist() for tokens, places in chosen.items()}

    def validate(self, data: Prepared) -> float:
        """Mean reciprocal rank, in percent, of the right image for each text of val, by ITC.

        Grounding accuracy would choose weights by boxes, which weak supervision does without.
        """
        with evaluating(self, self.spec.precision):
            gallery = encode_gallery(
                self.network,
                self.tokenizer,
                self.transform_eval,
                data,
                "val",
                self.spec.eval_batch_size,
                False,
            )
            images = torch.arange(len(gallery.image_NE), device=gallery.image_NE.device)
            ranks = shortlist(gallery.similarity.T, gallery.image_of_text, images, 1).first
        return 100.0 * (1.0 / ranks.double()).mean().item()

    def items_of(self, data: Prepared, evaluation: Evaluation) -> dict[str, int]:
        """All expressions of the three splits."""
        return {split: data.manifest["splits"][split]["records"] for split in SPLITS}

    def test(self, data: Prepared) -> Evaluation:
        """Accuracy on val, testA and testB; chance takes one of the proposals at random.

        ``SPLIT_accuracy`` averages the maps of the tokens that the spec names, ``SPLIT_accuracy_all`` or ``..._words`` those of
        the other reading.

        ``items`` holds, for every text, whether the chosen box is right and its IoU with the true one (0 where none was
        chosen).

        Raises:
            PreparedError: a split is empty.
        """
        metrics: dict[str, float] = {}
        items: dict[str, list[Any]] = {"split": [], "ref_id": [], "correct": [], "iou": []}
        for split in SPLITS:
            records = list(data.records(split))
            if not records:
                raise PreparedError(
                    f"{data.path}, split '{split}': there are no expressions; prepare it anew"
                )
            by_tokens = self.choose(data, records)
            chosen = by_tokens.pop(self.spec.tokens)
            overlaps = [_overlaps(record) for record in records]
            ious = [float(row[i]) if i >= 0 else 0.0 for row, i in zip(overlaps, chosen, strict=True)]
            correct = [i >= 0 and iou >= self.spec.iou for i, iou in zip(chosen, ious, strict=True)]
            shares = [(row >= self.spec.iou).double().mean().item() if len(row) else 0.0 for row in overlaps]
            metrics[f"{split}_accuracy"] = 100.0 * sum(correct) / len(records)
            for tokens, others in by_tokens.items():
                right = [
                    i >= 0 and bool(row[i] >= self.spec.iou) for row, i in zip(overlaps, others, strict=True)
                ]
                metrics[f"{split}_accuracy_{tokens}"] = 100.0 * sum(right) / len(records)
                items.setdefault(f"correct_{tokens}", []).extend(right)
            metrics[f"chance/{split}_accuracy"] = 100.0 * sum(shares) / len(records)
            items["split"] += [split] * len(records)
            items["ref_id"] += [record["ref_id"] for record in records]
            items["correct"] += correct
            items["iou"] += ious
        return Evaluation(metrics, items)

    def _autocast(self) -> torch.autocast:
        enabled = self.spec.precision == "bf16"
        return torch.autocast(device_of(self).type, torch.bfloat16, enabled=enabled)

    @contextmanager
    def _steady(self) -> Iterator[None]:
        """Evaluation mode, with gradients still to be had."""
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)


def _overlaps(record: Row) -> Tensor:
    """IoU of each proposal with the true box: (P,)."""
    proposals = torch.tensor(record["proposals"], dtype=torch.double).reshape(-1, 4)
    return box_iou(proposals, torch.tensor(record["box"], dtype=torch.double))


def _padded(proposals: Sequence[Sequence[Sequence[float]]]) -> tuple[Tensor, Tensor]:
    """Lists of boxes -> (B, P, 4) and (B, P), True where there is one; P is at least 1."""
    most = max(1, *(len(boxes) for boxes in proposals)) if proposals else 1
    padded = torch.zeros(len(proposals), most, 4)
    present = torch.zeros(len(proposals), most, dtype=torch.bool)
    for row, boxes in enumerate(proposals):
        if boxes:
            padded[row, : len(boxes)] = torch.tensor(boxes)
            present[row, : len(boxes)] = True
    return padded, present
