"""Measure how well words find what they name: per-word Grad-CAM (Figs. 1 and 11-13) against the world's true boxes.

The paper shows such maps for chosen examples. In the embedded world, where every object's box is known, they are measured
over a whole test set: the share of a word's heat that lies inside the box, and the pointing game (Zhang et al., 2018), a hit
where the hottest point does.

Shapes: B texts, V visual tokens, L sub-words, D width, g patches along a side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mamo.data.batches.collate import Batch
from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.tokenizer import Tokenizer
from mamo.data.world.truth import Named, SceneTruth
from mamo.model.mamo import Mamo
from mamo.specs.finetune import JobSpec, LocalisationSpec
from mamo.tasks.alignment import alignment_losses
from mamo.tasks.batch_pass import WholeBatch
from mamo.tasks.boxes import box_area, heat_inside
from mamo.tasks.evaluating import autocast_of, encoded_records, evaluation_mode
from mamo.tasks.expectations import StepExpectations
from mamo.tasks.match_maps import check_layer, layers_with_maps, match_maps
from mamo.tasks.task import DownstreamTask, Evaluation


class LocalisationTask(DownstreamTask):
    """Per-word maps of the ITM score, and how they fit the boxes.

    Args:
        truth: the scene graphs of the evaluated images.

    Raises:
        ValueError: the layer does not exist, or is the last one, where words have no gradient.
    """

    spec: LocalisationSpec

    def __init__(
        self,
        network: Mamo,
        spec: LocalisationSpec,
        tokenizer: Tokenizer,
        transform_eval: EvalTransform,
        truth: SceneTruth,
    ) -> None:
        super().__init__(network, spec, tokenizer, transform_eval)
        self.truth = truth
        check_layer(network, spec.layer)

    @classmethod
    def build(
        cls, network: Mamo, spec: JobSpec, tokenizer: Tokenizer, data: Prepared, world: Path | None
    ) -> LocalisationTask:
        """Build the task with the world's true boxes.

        Raises:
            PreparedError: the data do not come from the world.
        """
        assert isinstance(spec, LocalisationSpec)
        if world is None:
            raise PreparedError(
                f"{data.path}: localisation needs the true boxes of the embedded world, and these data do not come from it"
            )
        truth = SceneTruth(world, data.dataset)
        return cls(network, spec, tokenizer, EvalTransform(spec.transform), truth)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute ITC + ITM, should a spec ask for training."""
        return alignment_losses(self.network, batch, WholeBatch(self.network, batch))

    def expectations(self) -> StepExpectations:
        """Expect both losses of alignment; nothing is masked."""
        return StepExpectations(("loss", "itc", "itm"), (self.network.fusion.mask_token,))

    def maps(self, visual_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> dict[str, Tensor]:
        """Map where each token of a text finds what makes the pair match: (B, L, g, g) at the spec's layer, under '', and at
        any other layer N, under ``_layerN``."""
        autocast = autocast_of(self, self.spec.precision)
        return {
            "" if layer == self.spec.layer else f"_layer{layer}": match_maps(
                self.network, layer, visual_BVD, ids_BL, mask_BL, autocast
            )
            for layer in layers_with_maps(self.network)
        }

    def test(self, data: Prepared) -> Evaluation:
        """Measure the share of heat and the pointing game over the test split, for words that name one object beyond doubt.

        ``object_share``, ``colour_pointing`` and so on read the spec's layer, ``object_share_layerN`` another one. Chance is a
        map without any preference: the mean area of the boxes. ``items`` holds one row for every such word.

        Raises:
            PreparedError: no word of the split names anything.
        """
        records = list(data.records("test"))
        items: dict[str, list[Any]] = {"image": [], "record": [], "word": [], "what": [], "area": []}
        images, texts = [(record["image"],) for record in records], [record["text"] for record in records]
        with evaluation_mode(self):  # and gradients: Grad-CAM needs them
            for part in encoded_records(self, data, images, texts):
                maps = {
                    layer: m.cpu() for layer, m in self.maps(part.visual[:, 0], part.ids, part.mask).items()
                }
                for place, i in enumerate(part.records):
                    of_text = {layer: m[place] for layer, m in maps.items()}
                    self._enter(items, data.images.key(records[i]["image"]), i, texts[i], of_text)
        if not items["word"]:
            raise PreparedError(f"{data.path}, split 'test': no word names an object beyond doubt")
        return Evaluation(_summary(items), items)

    def _enter(
        self,
        items: dict[str, list[Any]],
        key: str,
        record: int,
        text: str,
        maps_Lgg: Mapping[str, Tensor],
    ) -> None:
        words = self.tokenizer.words(text, self.network.spec.max_words)
        for named in self.truth.named([word for word, _ in words], key):
            items["image"].append(key)
            items["record"].append(record)
            items["word"].append(" ".join(words[i][0] for i in named.words))
            items["what"].append(named.what)
            items["area"].append(100.0 * box_area(torch.tensor(named.box)).item())
            for layer, maps in maps_Lgg.items():
                heat = word_map(maps, words, named)
                share, hit = localise(heat, named.box, self.network.spec.image_size)
                items.setdefault(f"share{layer}", []).append(100.0 * share)
                items.setdefault(f"hit{layer}", []).append(100.0 * hit)


def word_map(maps_Lgg: Tensor, words: Sequence[tuple[str, list[int]]], named: Named) -> Tensor:
    """Average the maps of the sub-words of what is named: (L, g, g) -> (g, g)."""
    return maps_Lgg[[place for i in named.words for place in words[i][1]]].mean(0)


def localise(heat_gg: Tensor, box: Sequence[float], size: int) -> tuple[float, bool]:
    """Measure the share of the heat inside a box, and tell whether the hottest point lies in it.

    A map without heat has a share of 0 and misses.

    Args:
        heat_gg: a value per patch, not negative; resampled bicubically to ``size`` x ``size`` first, as grounding does.
        box: x0, y0, x1, y1 as shares.
    """
    # Without heat the hottest point would be the first pixel, and a share of nothing is not defined.
    if not bool(heat_gg.sum() > 0):
        return 0.0, False
    # As fine as the pixels, since boxes do not end at patches; bicubic resampling can undershoot 0.
    fine = F.interpolate(
        heat_gg.double()[None, None], size=(size, size), mode="bicubic", align_corners=False
    ).clamp(min=0)[0]
    share = heat_inside(fine, torch.tensor(box, dtype=torch.double)[None, None]) / fine.sum()
    row, column = divmod(int(fine.argmax()), size)
    x, y = (column + 0.5) / size, (row + 0.5) / size
    return float(share), box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _summary(items: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """Average over the words of each sort, in percent, at every layer that the items have."""
    metrics: dict[str, float] = {}
    layers = [name.removeprefix("share") for name in items if name.startswith("share")]
    for what in ("object", "colour"):
        # Objects and colours apart: their boxes have mean areas, and so chance levels, of their own.
        chosen = [i for i, sort in enumerate(items["what"]) if sort == what]
        if chosen:
            area = sum(items["area"][i] for i in chosen) / len(chosen)
            for layer in layers:
                for name, column in (("share", "share"), ("pointing", "hit")):
                    scores = items[f"{column}{layer}"]
                    metrics[f"{what}_{name}{layer}"] = sum(scores[i] for i in chosen) / len(chosen)
                    metrics[f"chance/{what}_{name}{layer}"] = area
            metrics[f"{what}_words"] = float(len(chosen))
    return metrics
