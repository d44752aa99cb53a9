"""Heat maps: the regions of an image that each word of a text attends to, as arrays and as a picture.

Shapes: L sub-words, g patches along a side, (H, W) the picture's pixels.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mamo.tasks.relevance import attention_relevance, fusion_attention, split_relevance

if TYPE_CHECKING:
    from mamo.published.pretrained import Pretrained

SIDE = 256  # pixels of the shorter side of a map, at most


@dataclass(frozen=True)
class Explanation:
    """Heat maps of one image and one text.

    Attributes:
        image: upright and RGB, its shorter side at most 256 pixels.
        words: the words of the text, in order; words beyond the model's limit are left out.
        patches: (words, g, g), a value per patch: attention times the positive part of its gradient, averaged over heads and
            the word's sub-words. Not negative, and on one scale for all words.
        score: ITM's probability that image and text belong together, or that of the answer.
        answer: the answer of a model fine-tuned for VQA; None for all others.
    """

    image: Image.Image
    text: str
    words: list[str]
    patches: np.ndarray
    score: float
    layer: int
    answer: str | None = None
    label: str = field(default="", repr=False)

    @property
    def maps(self) -> np.ndarray:
        """The patches' values at the image's size: (words, H, W), bicubic, on one scale for all words."""
        width, height = self.image.size
        values = torch.from_numpy(self.patches)[:, None]
        if not len(values):
            return np.zeros((0, height, width), dtype=np.float32)
        fine = F.interpolate(values, size=(height, width), mode="bicubic", align_corners=False)
        return fine[:, 0].clamp(min=0).numpy()

    def __getitem__(self, word: str) -> np.ndarray:
        """Return the map of a word, (H, W): the mean if the word occurs more than once.

        Raises:
            KeyError: the text has no such word.
        """
        places = [i for i, other in enumerate(self.words) if other.lower() == word.lower()]
        if not places:
            raise KeyError(f"'{word}' is not a word of “{self.text}”: {', '.join(self.words)}")
        return self.maps[places].mean(0)

    def picture(self) -> Image.Image:
        """Draw the maps over the image, word by word, as ``mamo figure`` does."""
        from mamo.drawing.draw import lay_out_drawing

        buffer = io.BytesIO()
        lay_out_drawing(self.values(), self._title).savefig(buffer, format="png", dpi=200)
        return Image.open(buffer).convert("RGB")

    def save(self, path: str | Path) -> None:
        """Write :meth:`picture` to a file: png, svg or pdf by its suffix.

        Raises:
            ValueError: the suffix is none of these.
        """
        from mamo.drawing.draw import draw_figure

        file = Path(path)
        if file.suffix not in (".png", ".svg", ".pdf"):
            raise ValueError(f"{file}: the suffix must be .png, .svg or .pdf")
        draw_figure(self.values(), self._title, [file])

    @property
    def _title(self) -> str:
        if self.answer is not None:
            return f"Answer: {self.answer} ({self.score:.0%})"
        return f"Matched: {self.score:.0%}"

    def values(self) -> dict[str, Any]:
        """Convert to a figure's values (see ``mamo.figures.maps.compute_figure``)."""
        buffer = io.BytesIO()
        self.image.save(buffer, "JPEG", quality=95)
        own = {
            "maps": self.patches.reshape(len(self.words), -1).tolist(),
            "matched": self.score,
            "fits": [],
        }
        example = {
            "image": "",
            "picture": f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}",
            "width": self.image.width,
            "height": self.image.height,
            "text": self.text,
            "words": self.words,
            "named": [],
            "models": {"model": own},
        }
        model = {"key": "model", "label": self.label, "run": self.label, "outcome": "converged"}
        grid = self.patches.shape[-1]
        return {
            "figure": "explanation", "scale": "", "method": "words", "title": self._title, "caption": "", "layer": self.layer,
            "grid": grid, "models": [model], "examples": [example],
        }  # fmt: skip


def explain_pair(model: Pretrained, image: Image.Image, text: str, layer: int | None) -> Explanation:
    """See :meth:`mamo.published.pretrained.Pretrained.explain`."""
    from mamo.published.pretrained import TaskError
    from mamo.tasks.nlvr2 import Nlvr2Task
    from mamo.tasks.vqa import VqaTask

    if isinstance(model.task, Nlvr2Task):
        raise TaskError(
            "a model fine-tuned for NLVR2 reads two images and a statement: it cannot explain a single pair"
        )
    answer = None
    if isinstance(model.task, VqaTask):
        layer = layer or len(model.network.fusion.layers)
        maps, score, answer = _of_answer(model, image, text, layer)
    else:
        layer = layer or model.layer
        maps, score = _of_match(model, image, text, layer)
    words = model.tokenizer.words(text, model.network.spec.max_words)
    grid = model.network.vision.grid
    patches = (
        torch.stack([maps[places].mean(0) for _, places in words]) if words else torch.zeros(0, grid, grid)
    )
    shown = image.copy()
    factor = SIDE / min(shown.size)
    if factor < 1:
        size = (max(1, round(shown.width * factor)), max(1, round(shown.height * factor)))
        shown = shown.resize(size, Image.Resampling.LANCZOS)
    label = str(model.config.get("run") or "model")
    return Explanation(
        shown, text, [word for word, _ in words], patches.float().numpy(), score, layer, answer, label
    )


def heat_of(model: Pretrained, image: Image.Image, text: str, layer: int | None) -> Tensor:
    """Average the maps of a text's sub-words by ITM's score, [CLS] and [SEP] left out: (g, g), on the CPU."""
    maps, _ = _of_match(model, image, text, layer or model.layer)
    ids, _ = model.tokenizer.encode([text], model.network.spec.max_words)
    named = maps[~model.tokenizer.special_mask(ids)[0]]
    return named.mean(0) if len(named) else torch.zeros_like(maps[0])


def _of_match(model: Pretrained, image: Image.Image, text: str, layer: int) -> tuple[Tensor, float]:
    """Compute the map of each sub-word by ITM's score, (L, g, g), and ITM's probability."""
    model._require_alignment()
    network, count = model.network, len(model.network.fusion.layers)
    attention = fusion_attention(network, layer)
    if layer == count:
        raise ValueError(
            f"layer {layer} is the last fusion layer: ITM's score reads its [CLS] alone, so words have no heat there; "
            f"set layer to one of 1 to {count - 1}"
        )
    visual, ids, mask = _encoded(model, image, text)
    with torch.no_grad():
        written = network.encode_text(ids, mask)
    seen: list[Tensor] = []

    def score() -> Tensor:
        seen.append(network.matching_logits(visual, written, mask))
        return seen[0][:, 1]

    maps = split_relevance(attention_relevance(attention, score), network.vision.grid).words_on_patches[0]
    return maps.cpu(), float(seen[0].detach().softmax(-1)[0, 1])


def _of_answer(model: Pretrained, image: Image.Image, text: str, layer: int) -> tuple[Tensor, float, str]:
    """Compute the best answer to a question, its probability, and the map of each sub-word by its log-probability."""
    from mamo.explain.scores import answer_score
    from mamo.tasks.vqa import VqaTask

    task, network = model.task, model.network
    assert isinstance(task, VqaTask)
    attention = fusion_attention(network, layer)
    visual, ids, mask = _encoded(model, image, text)
    with torch.no_grad():
        written = network.encode_text(ids, mask)
        chosen, scores = task.rank(task.context(visual, ids, mask))
    best = int(chosen[0, scores[0].argmax()])
    of_answer = answer_score(
        task.decoder, task.candidate_ids[best : best + 1], task.candidate_mask[best : best + 1], mask
    )
    relevance = attention_relevance(attention, lambda: of_answer(network.fuse(visual, written, mask)))
    maps = split_relevance(relevance, network.vision.grid).words_on_patches[0]
    return maps.cpu(), float(scores[0].max().exp()), task.answers[best]


@torch.no_grad()
def _encoded(model: Pretrained, image: Image.Image, text: str) -> tuple[Tensor, Tensor, Tensor]:
    if not isinstance(text, str):
        raise ValueError(f"a {type(text).__name__} is not a text: one str is expected")
    pixels = model.transform.image(image)[None].to(model.device)
    ids, mask = model.tokenizer.encode([text], model.network.spec.max_words)
    return model.network.encode_image(pixels), ids.to(model.device), mask.to(model.device)
