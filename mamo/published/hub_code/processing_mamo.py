"""Images and texts to the network's input for transformers' ``AutoProcessor``."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from mamo.published.pictures import Pictures, Texts, texts_of


class MamoProcessor(ProcessorMixin):
    """An image processor and a tokenizer.

    Args:
        max_words: tokens of a text with [CLS] and [SEP]; longer texts are cut.
        answers: the candidate answers of a model fine-tuned for VQA.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        max_words: int = 40,
        answers: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.max_words, self.answers = max_words, answers
        super().__init__(image_processor, tokenizer, **kwargs)

    def __call__(self, images: Pictures | None = None, text: Texts | None = None, **_: Any) -> BatchFeature:
        """Prepare images as ``pixel_values`` (N, 3, S, S), texts as ``input_ids`` and ``attention_mask`` (M, L)."""
        features: dict[str, Any] = {}
        if images is not None:
            features |= self.image_processor(images)
        if text is not None:
            ids, mask = self._encode(texts_of(text))
            features |= {"input_ids": ids, "attention_mask": mask}
        return BatchFeature(features)

    def candidates(self) -> dict[str, Tensor]:
        """Return ``candidate_ids`` and ``candidate_mask`` for ``model.answer``.

        Raises:
            ValueError: the model was not fine-tuned for VQA.
        """
        if not self.answers:
            raise ValueError("the model was not fine-tuned for VQA: there are no candidate answers")
        ids, mask = self._encode(self.answers)
        return {"candidate_ids": ids[:, 1:], "candidate_mask": mask[:, 1:]}

    def _encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        encoded = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_words, return_tensors="pt"
        )
        return encoded["input_ids"], encoded["attention_mask"]
