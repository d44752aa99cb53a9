"""Use a trained model: embeddings, similarities, ranking, heat maps, and its downstream task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from mamo.data.batches.transforms import EvalTransform
from mamo.data.tokenizer import Tokenizer
from mamo.model.mamo import Mamo
from mamo.published.about import About, describe, read_about
from mamo.published.explanation import Explanation, explain_pair, heat_of
from mamo.published.pictures import (
    Picture,
    Pictures,
    Texts,
    batched,
    opened,
    pictures,
    stack_images,
    texts_of,
)
from mamo.specs.finetune import GroundingSpec, JobSpec
from mamo.specs.transforms import TransformSpec
from mamo.tasks.boxes import choose_box
from mamo.tasks.task import DownstreamTask

BATCH = 64
SHORTLIST = 256  # candidates that ITM re-ranks (appendix A)


class TaskError(ValueError):
    """The model was not trained for this; the message says what it can do."""


class Ranking(NamedTuple):
    """The candidates of each query, best first: Q queries, K candidates each."""

    order: Tensor
    """(Q, K) indices of the candidates in the given list."""
    scores: Tensor
    """(Q, K) ITM's probability of each, which never rises from left to right."""
    similarity: Tensor
    """(Q, K) cosine of each in the space of ITC, by which the shortlist was chosen."""


@dataclass(frozen=True)
class Grounded:
    """The box that an expression means."""

    index: int
    """its index among the boxes, -1 if no box has any heat."""
    box: tuple[float, float, float, float] | None
    """x0, y0, x1, y1 in pixels."""
    heat: np.ndarray
    """(g, g), a value per patch: the mean over the expression's words, not normalised."""


class Pretrained:
    """A trained network with its tokenizer and image transform, in evaluation mode and full precision.

    Images are paths, opened images or arrays; wherever several are accepted, so are one and a generator. They go
    through the network in batches, so memory does not grow with their number. Results are on the CPU.

    Attributes:
        network: f, at the resolution that it was trained for.
        task: the downstream task that it was fine-tuned for, where that has parts beside the network (VQA, NLVR2).
        spec: the job that it was fine-tuned for; None: as pre-trained.
        config: as in ``config.json``.
    """

    def __init__(
        self,
        network: Mamo,
        tokenizer: Tokenizer,
        config: dict[str, Any],
        task: DownstreamTask | None,
        spec: JobSpec | None = None,
    ) -> None:
        self.network, self.tokenizer, self.config = network.eval(), tokenizer, config
        self.task, self.spec = task, spec
        transform = TransformSpec.model_validate(config["transform"])
        self.transform = EvalTransform(transform.model_copy(update={"size": network.spec.image_size}))

    def __repr__(self) -> str:
        return describe(self.config, sum(p.numel() for p in (self.task or self.network).parameters()))

    def to(self, device: str | torch.device) -> Pretrained:
        """Move it to a device."""
        (self.task or self.network).to(device)
        return self

    @property
    def about(self) -> About | None:
        """What it was trained on and all of its scores; None for a config without that."""
        return read_about(self.config)

    @property
    def device(self) -> torch.device:
        """The device on which it computes."""
        return self.network.temperature.device

    @property
    def layer(self) -> int:
        """The fusion layer that heat maps are read from, counted from 1: the job's own, else two thirds up, as the paper's
        fourth of six (appendix A)."""
        if isinstance(self.spec, GroundingSpec):
            return self.spec.layer
        return max(1, round(len(self.network.fusion.layers) * 2 / 3))

    @torch.no_grad()
    def encode_images(self, images: Pictures, *, batch_size: int = BATCH) -> Tensor:
        """Encode images: features of all patches, the class token first, (N, 1 + P, D).

        Raises:
            mamo.data.store.images.ImageError: one cannot be read; the message names the file and the reason.
        """
        parts = [self._features(part).cpu() for part in batched(pictures(images), batch_size)]
        spec = self.network.spec
        return torch.cat(parts) if parts else torch.zeros(0, 1 + self.network.vision.grid**2, spec.width)

    @torch.no_grad()
    def encode_texts(self, texts: Texts) -> tuple[Tensor, Tensor]:
        """Encode texts: features of all sub-words (M, L, D), [CLS] first, and their mask (M, L)."""
        ids, mask = self._tokens(texts_of(texts))
        if not len(ids):
            return torch.zeros(0, 0, self.network.spec.width), mask.cpu()
        return self.network.encode_text(ids, mask).cpu(), mask.cpu()

    @overload
    def embed_images(
        self, images: Pictures, *, batch_size: int = ..., numpy: Literal[False] = ...
    ) -> Tensor: ...
    @overload
    def embed_images(
        self, images: Pictures, *, batch_size: int = ..., numpy: Literal[True]
    ) -> np.ndarray: ...
    @torch.no_grad()
    def embed_images(
        self, images: Pictures, *, batch_size: int = BATCH, numpy: bool = False
    ) -> Tensor | np.ndarray:
        """Embed images as vectors of unit length in the space of ITC, one for each: (N, E); (0, E) of none.

        Args:
            images: one or many; a generator is read batch by batch.
            numpy: return an array in place of a tensor.

        Raises:
            mamo.data.store.images.ImageError: one cannot be read; the message names the file and the reason.
            TaskError: the model's last training left these projections out.
        """
        self._require_alignment()
        parts = [
            self.network.project_image(self._features(part)).cpu()
            for part in batched(pictures(images), batch_size)
        ]
        return self._joined(parts, numpy)

    @overload
    def embed_texts(self, texts: Texts, *, batch_size: int = ..., numpy: Literal[False] = ...) -> Tensor: ...
    @overload
    def embed_texts(self, texts: Texts, *, batch_size: int = ..., numpy: Literal[True]) -> np.ndarray: ...
    @torch.no_grad()
    def embed_texts(
        self, texts: Texts, *, batch_size: int = BATCH, numpy: bool = False
    ) -> Tensor | np.ndarray:
        """Embed texts as vectors of unit length in the space of ITC, one for each: (M, E); as :meth:`embed_images`."""
        self._require_alignment()
        parts = []
        for part in batched(texts_of(texts), batch_size):
            ids, mask = self._tokens(part)
            parts.append(self.network.project_text(self.network.encode_text(ids, mask)).cpu())
        return self._joined(parts, numpy)

    def similarity(self, images: Pictures, texts: Texts, *, batch_size: int = BATCH) -> Tensor:
        """Cosine of each image and each text in the space of ITC: (N, M)."""
        return (
            self.embed_images(images, batch_size=batch_size)
            @ self.embed_texts(texts, batch_size=batch_size).T
        )

    @torch.no_grad()
    def match(self, images: Pictures, texts: Texts, *, batch_size: int = BATCH) -> Tensor:
        """Compute ITM's probability that each image and its text, at the same place, belong together: (B,).

        Raises:
            ValueError: there are not as many texts as images.
            TaskError: the model's last training left ITM out.
        """
        self._require_alignment()
        pairs = self._pairs(images, texts, "texts")
        parts = []
        for part in batched(pairs, batch_size):
            visual, (ids, mask) = (
                self._features([image for image, _ in part]),
                self._tokens([t for _, t in part]),
            )
            logits = self.network.matching_logits(visual, self.network.encode_text(ids, mask), mask)
            parts.append(logits.softmax(-1)[:, 1].cpu())
        return torch.cat(parts) if parts else torch.zeros(0)

    @torch.no_grad()
    def rank(
        self,
        images: Pictures,
        texts: Texts,
        *,
        ask: Literal["image", "text"] = "image",
        shortlist: int = SHORTLIST,
        batch_size: int = BATCH,
    ) -> Ranking:
        """Order texts by how well they fit each image, or images by how well they fit each text: ITC chooses a shortlist, ITM
        orders it (appendix A).

        Args:
            ask: ``image``: each image asks for its texts; ``text``: each text asks for its images.
            shortlist: candidates of each query that ITM scores; all others are left out of the result.

        Raises:
            TaskError: the model's last training left ITC or ITM out.
        """
        if ask not in ("image", "text"):
            raise ValueError(f"ask {ask!r}: 'image' or 'text' is expected")
        if shortlist < 1:
            raise ValueError(f"shortlist {shortlist}: at least one candidate must be scored")
        shown, listed_texts = list(pictures(images)), texts_of(texts)
        cosine = self.similarity(shown, listed_texts, batch_size=batch_size)
        queries = cosine if ask == "image" else cosine.T
        listed = queries.argsort(dim=1, descending=True, stable=True)[:, :shortlist]
        asking = torch.arange(len(queries))[:, None].expand_as(listed)
        image, text = (asking, listed) if ask == "image" else (listed, asking)
        logits = self._matching(shown, listed_texts, image.flatten(), text.flatten(), batch_size)
        # The margin sorts pairs like the probability, without saturating at 1.
        margin = (logits[:, 1] - logits[:, 0]).view(listed.shape)
        best = margin.argsort(dim=1, descending=True, stable=True)
        order = listed.gather(1, best)
        return Ranking(order, margin.gather(1, best).sigmoid(), queries.gather(1, order))

    def explain(self, image: Picture, text: str, *, layer: int | None = None) -> Explanation:
        """Map where in the image each word of the text looks (Grad-CAM on the fusion encoder's attention, section 4.6).

        The score explained is ITM's for the pair; for a model fine-tuned for VQA, the log-probability of its answer.

        Args:
            layer: fusion layer, counted from 1; None: see :attr:`layer` (for VQA the last, as in the paper's Fig. 8).

        Raises:
            TaskError: a model fine-tuned for NLVR2, which reads two images.
            ValueError: there is no such layer.
        """
        return explain_pair(self, opened(image), text, layer)

    def ground(
        self, image: Picture, expression: str, boxes: Sequence[Sequence[float]], *, layer: int | None = None
    ) -> Grounded:
        """Choose the box that an expression means: the one with the most heat for its area (appendix A).

        Args:
            boxes: x0, y0, x1, y1 in pixels of the image, upright.

        Raises:
            TaskError: the model's last training left ITM out.
            ValueError: a box is not four numbers.
        """
        self._require_alignment()
        shown = opened(image)
        for place, box in enumerate(boxes):
            if len(box) != 4:
                raise ValueError(f"box {place} has {len(box)} numbers: x0, y0, x1, y1 are expected")
        heat = heat_of(self, shown, expression, layer)
        exponent = self.spec.area_exponent if isinstance(self.spec, GroundingSpec) else 0.5
        shares = torch.tensor([list(map(float, box)) for box in boxes]).reshape(1, -1, 4)
        shares = shares / torch.tensor([shown.width, shown.height] * 2)
        index = -1
        if len(boxes):
            present = torch.ones(1, len(boxes), dtype=torch.bool)
            index = int(choose_box(heat[None], shares, present, self.network.spec.image_size, exponent)[0])
        x0, y0, x1, y1 = map(float, boxes[index]) if index >= 0 else (0.0, 0.0, 0.0, 0.0)
        return Grounded(index, (x0, y0, x1, y1) if index >= 0 else None, heat.numpy())

    @torch.no_grad()
    def answer(self, images: Pictures, questions: Texts, *, batch_size: int = BATCH) -> list[str]:
        """Choose the likeliest candidate answer to each question about its image.

        Raises:
            ValueError: there are not as many questions as images.
            TaskError: the model was not fine-tuned for VQA.
        """
        from mamo.tasks.vqa import VqaTask

        if not isinstance(self.task, VqaTask):
            raise TaskError(
                f"{self._name} was not fine-tuned for VQA, so it cannot answer questions{self._instead}"
            )
        answers = []
        for part in batched(self._pairs(images, questions, "questions"), batch_size):
            ids, mask = self._tokens([question for _, question in part])
            context = self.task.context(self._features([image for image, _ in part]), ids, mask)
            chosen, scores = self.task.rank(context)
            best = chosen.gather(1, scores.argmax(1, keepdim=True))[:, 0]
            answers += [self.task.answers[index] for index in best.tolist()]
        return answers

    @torch.no_grad()
    def judge(self, left: Pictures, right: Pictures, statements: Texts, *, batch_size: int = BATCH) -> Tensor:
        """Compute the probability that each statement is true of its two images: (B,).

        Raises:
            ValueError: there are not as many statements as images on either side.
            TaskError: the model was not fine-tuned for NLVR2.
        """
        from mamo.tasks.nlvr2 import Nlvr2Task

        if not isinstance(self.task, Nlvr2Task):
            raise TaskError(
                f"{self._name} was not fine-tuned for NLVR2, so it cannot judge statements{self._instead}"
            )
        others, parts = list(pictures(right)), []
        pairs = self._pairs(left, statements, "statements")
        if len(others) != len(pairs):
            raise ValueError(
                f"{len(pairs)} images on the left and {len(others)} on the right do not form pairs"
            )
        for part in batched(zip(pairs, others, strict=True), batch_size):
            ids, mask = self._tokens([text for (_, text), _ in part])
            first, second = (
                self._features([image for (image, _), _ in part]),
                self._features([o for _, o in part]),
            )
            parts.append(self.task.logits(first, second, ids, mask).softmax(-1)[:, 1].cpu())
        return torch.cat(parts) if parts else torch.zeros(0)

    @property
    def _name(self) -> str:
        return str(self.config.get("run") or "this model")

    @property
    def _instead(self) -> str:
        known = {"VqaTask": "use .answer", "Nlvr2Task": "use .judge"}
        return f"; {known.get(type(self.task).__name__, 'use .similarity, .match, .rank or .explain')}"

    def _require_alignment(self) -> None:
        if not self.config.get("aligned", self.task is None):
            raise TaskError(
                f"{self._name} was trained last without ITC and ITM, so its similarities and matches would mean nothing"
                + (self._instead if self.task is not None else "")
            )

    def _features(self, part: list[Picture]) -> Tensor:
        pixels = [self.transform.image(opened(picture)) for picture in part]
        return self.network.encode_image(stack_images(pixels, self.network.spec.image_size).to(self.device))

    def _tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        ids, mask = self.tokenizer.encode(texts, self.network.spec.max_words)
        return ids.to(self.device), mask.to(self.device)

    def _pairs(self, images: Pictures, texts: Texts, what: str) -> list[tuple[Picture, str]]:
        shown, listed_texts = list(pictures(images)), texts_of(texts)
        if len(shown) != len(listed_texts):
            raise ValueError(f"{len(shown)} images and {len(listed_texts)} {what} do not form pairs")
        return list(zip(shown, listed_texts, strict=True))

    def _matching(
        self, shown: list[Picture], listed_texts: list[str], image_P: Tensor, text_P: Tensor, batch_size: int
    ) -> Tensor:
        """Compute ITM's logits of P pairs of places: (P, 2). Images are encoded in batches, each once; no more features are
        kept."""
        logits = torch.zeros(len(image_P), 2)
        for batch in batched(image_P.unique().tolist(), batch_size):
            visual = self._features([shown[place] for place in batch])
            places = torch.tensor(batch)
            requested = torch.isin(image_P, places).nonzero()[:, 0]
            for part in requested.split(batch_size):
                ids, mask = self._tokens([listed_texts[place] for place in text_P[part].tolist()])
                rows = torch.searchsorted(places, image_P[part]).to(self.device)
                text = self.network.encode_text(ids, mask)
                logits[part] = self.network.matching_logits(visual[rows], text, mask).float().cpu()
        return logits

    def _joined(self, parts: list[Tensor], numpy: bool) -> Tensor | np.ndarray:
        joined = torch.cat(parts) if parts else torch.zeros(0, self.network.spec.projection_width)
        return joined.numpy() if numpy else joined
