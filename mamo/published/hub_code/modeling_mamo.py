"""The trained network for transformers' ``AutoModel``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from mamo.model.decoder import AnswerDecoder, context_of
from mamo.model.mamo import Mamo
from mamo.model.paired_attention import PairedAttention, statement_logits
from mamo.published.hub_code.configuration_mamo import MamoConfig
from mamo.specs.model import ModelSpec


@dataclass
class MamoOutput(ModelOutput):
    """Images and texts in the space of ITC, of unit length, and the cosine of each of the ones and each of the others."""

    similarity: Tensor | None = None
    image_embeds: Tensor | None = None
    text_embeds: Tensor | None = None


class MamoModel(PreTrainedModel):
    """The network f of MAMO (arXiv:2210.04183), with the part that its downstream task added, if any.

    Shapes: B pairs, N images, M texts, L sub-words, S the side of an image in pixels, E the width of ITC's projections.
    """

    config_class = MamoConfig
    main_input_name = "pixel_values"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        spec = ModelSpec(**config.model)
        self.network = Mamo(spec, config.vocab_size)
        task = (config.task or {}).get("task")
        self.decoder = self.pair = None
        if task == "vqa":
            self.decoder = AnswerDecoder(self.network, config.task["decoder_layers"], config.cls_token_id)
        elif task == "nlvr2":
            self.pair = PairedAttention(spec.width, spec.heads, spec.dropout)
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        """Do nothing: the network initialises itself."""

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Embed images (N, 3, S, S) -> (N, E), of unit length."""
        return self.network.project_image(self.network.encode_image(pixel_values))

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Tensor:
        """Embed texts (M, L) with their mask -> (M, E), of unit length."""
        return self.network.project_text(self.network.encode_text(input_ids, attention_mask))

    def forward(
        self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor, **_: Any
    ) -> MamoOutput:
        """Compare every image with every text: see :class:`MamoOutput`."""
        images, texts = (
            self.get_image_features(pixel_values),
            self.get_text_features(input_ids, attention_mask),
        )
        return MamoOutput(similarity=images @ texts.T, image_embeds=images, text_embeds=texts)

    @torch.no_grad()
    def similarity(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Tensor:
        """Cosine of each image and each text in the space of ITC: (N, M)."""
        return self.get_image_features(pixel_values) @ self.get_text_features(input_ids, attention_mask).T

    @torch.no_grad()
    def match(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Tensor:
        """Compute ITM's probability that each image and the text at the same place belong together: (B,)."""
        text = self.network.encode_text(input_ids, attention_mask)
        visual = self.network.encode_image(pixel_values)
        return self.network.matching_logits(visual, text, attention_mask).softmax(-1)[:, 1]

    @torch.no_grad()
    def answer(
        self,
        pixel_values: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        candidate_ids: Tensor,
        candidate_mask: Tensor,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        """Choose the likeliest candidate answer to each question.

        Args:
            candidate_ids, candidate_mask: from ``processor.candidates()``.

        Returns:
            its index in ``processor.answers`` and its log-probability, both (B,).

        Raises:
            ValueError: the model was not fine-tuned for VQA.
        """
        if self.decoder is None:
            raise ValueError("the model was not fine-tuned for VQA: it has no decoder of answers")
        text = self.network.encode_text(input_ids, attention_mask)
        fused = self.network.fuse(self.network.encode_image(pixel_values), text, attention_mask)
        context = context_of(fused, attention_mask)
        chosen, scores = self.decoder.rank(
            context, candidate_ids, candidate_mask, self.config.task["shortlist"]
        )
        best, place = scores.max(1)
        return chosen.gather(1, place[:, None])[:, 0], best

    @torch.no_grad()
    def judge(
        self, left_pixel_values: Tensor, right_pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor
    ) -> Tensor:
        """Compute the probability that each statement is true of its two images: (B,).

        Raises:
            ValueError: the model was not fine-tuned for NLVR2.
        """
        if self.pair is None:
            raise ValueError("the model was not fine-tuned for NLVR2: it has no head for two images")
        left = self.network.encode_image(left_pixel_values)
        right = self.network.encode_image(right_pixel_values)
        logits = statement_logits(self.network, self.pair, left, right, input_ids, attention_mask)
        return logits.softmax(-1)[:, 1]
