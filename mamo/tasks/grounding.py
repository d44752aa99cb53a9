"""Weakly supervised grounding: ITC + ITM, then Grad-CAM of ITM's score over proposals (section 4.3, appendix A).

No box is used in training, nor in choosing weights.

Shapes: B texts, P proposals, V visual tokens, L sub-words, D width, g patches along a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.manifest import Row
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.tokenizer import Tokenizer
from mamo.jobs.grounding import SPLITS
from mamo.model.mamo import Mamo
from mamo.specs.finetune import GroundingSpec
from mamo.tasks.alignment import AlignmentTask
from mamo.tasks.boxes import box_iou, choose_box
from mamo.tasks.evaluating import autocast_of, encoded_records, evaluating, evaluation_mode
from mamo.tasks.gallery import encode_gallery
from mamo.tasks.match_maps import check_layer, layers_with_maps, match_maps
from mamo.tasks.recall import shortlist
from mamo.tasks.task import Evaluation


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
        check_layer(network, spec.layer)

    def heat(self, visual_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> dict[str, Tensor]:
        """Map where a text finds what makes the pair match, under every reading: (B, g, g), not negative.

        At the spec's layer, ``all`` averages the maps of all tokens but padding, [CLS] and [SEP] among them (ALBEF), and
        ``words`` those of sub-words alone. ``layerN`` reads another layer, with the spec's tokens.
        """
        autocast = autocast_of(self, self.spec.precision)
        maps = {
            layer: match_maps(self.network, layer, visual_BVD, ids_BL, mask_BL, autocast)
            for layer in layers_with_maps(self.network)
        }
        averaged = {"all": mask_BL, "words": ~self.tokenizer.special_mask(ids_BL)}
        readings = {tokens: (self.spec.layer, tokens) for tokens in averaged}
        readings |= {f"layer{n}": (n, self.spec.tokens) for n in maps if n != self.spec.layer}
        heat = {}
        for name, (layer, tokens) in readings.items():
            share_BL = averaged[tokens].float() / averaged[tokens].sum(1, keepdim=True).clamp(min=1)
            heat[name] = torch.einsum("bl,blgh->bgh", share_BL, maps[layer])
        return heat

    def choose(self, data: Prepared, records: Sequence[Row]) -> dict[str, list[int]]:
        """Choose a proposal for every record, -1 for none, under every reading of :meth:`heat`."""
        chosen: dict[str, Tensor] = {}
        images, texts = [(record["image"],) for record in records], [record["text"] for record in records]
        side, exponent = self.network.spec.image_size, self.spec.area_exponent
        with evaluation_mode(self):  # and gradients: Grad-CAM needs them
            for part in encoded_records(self, data, images, texts):
                heat = self.heat(part.visual[:, 0], part.ids, part.mask)
                boxes, present = _padded([records[i]["proposals"] for i in part.records])
                for reading, maps in heat.items():
                    places = chosen.setdefault(reading, torch.full((len(records),), -1))
                    places[part.records] = choose_box(maps.cpu(), boxes, present, side, exponent)
        return {reading: places.tolist() for reading, places in chosen.items()}

    def validate(self, data: Prepared) -> float:
        """Return the mean reciprocal rank, in percent, of the right image for each text of val, by ITC."""
        # Grounding accuracy would choose weights by boxes, which weak supervision does without.
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
        """Expect all expressions of the three splits."""
        return {split: data.manifest["splits"][split]["records"] for split in SPLITS}

    def test(self, data: Prepared) -> Evaluation:
        """Measure accuracy on val, testA and testB; chance takes one of the proposals at random.

        ``SPLIT_accuracy`` reads the layer and averages the maps of the tokens that the spec names; ``SPLIT_accuracy_all`` or
        ``..._words`` the other tokens, and ``..._layerN`` another layer.

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
                    f"{data.path}, split '{split}': there are no expressions; prepare it again"
                )
            others = self.choose(data, records)
            chosen = others.pop(self.spec.tokens)
            overlaps = [_overlaps(record) for record in records]
            ious = [float(row[i]) if i >= 0 else 0.0 for row, i in zip(overlaps, chosen, strict=True)]
            # An expression without any heat chooses nothing, which is wrong.
            correct = [i >= 0 and iou >= self.spec.iou for i, iou in zip(chosen, ious, strict=True)]
            # Taking a proposal at random is right as often as proposals are.
            shares = [(row >= self.spec.iou).double().mean().item() if len(row) else 0.0 for row in overlaps]
            metrics[f"{split}_accuracy"] = 100.0 * sum(correct) / len(records)
            metrics[f"chance/{split}_accuracy"] = 100.0 * sum(shares) / len(records)
            for reading, places in others.items():
                right = [
                    i >= 0 and bool(row[i] >= self.spec.iou) for row, i in zip(overlaps, places, strict=True)
                ]
                metrics[f"{split}_accuracy_{reading}"] = 100.0 * sum(right) / len(records)
                metrics[f"chance/{split}_accuracy_{reading}"] = metrics[f"chance/{split}_accuracy"]
                items.setdefault(f"correct_{reading}", []).extend(right)
            items["split"] += [split] * len(records)
            items["ref_id"] += [record["ref_id"] for record in records]
            items["correct"] += correct
            items["iou"] += ious
        return Evaluation(metrics, items)


def _overlaps(record: Row) -> Tensor:
    """Compute the IoU of each proposal with the true box: (P,)."""
    proposals = torch.tensor(record["proposals"], dtype=torch.double).reshape(-1, 4)
    return box_iou(proposals, torch.tensor(record["box"], dtype=torch.double))


def _padded(proposals: Sequence[Sequence[Sequence[float]]]) -> tuple[Tensor, Tensor]:
    """Pad lists of boxes: (B, P, 4) and (B, P), True where there is one; P is at least 1."""
    # At least one column, so that the maximum over proposals exists where a text has none.
    most = max(1, *(len(boxes) for boxes in proposals)) if proposals else 1
    padded = torch.zeros(len(proposals), most, 4)
    present = torch.zeros(len(proposals), most, dtype=torch.bool)
    for row, boxes in enumerate(proposals):
        if boxes:
            padded[row, : len(boxes)] = torch.tensor(boxes)
            present[row, : len(boxes)] = True
    return padded, present
