"""Images to the network's input for transformers' ``AutoImageProcessor``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers.image_processing_utils import BatchFeature, ImageProcessingMixin

from mamo.data.batches.transforms import EvalTransform
from mamo.published.pictures import Pictures, opened, pictures, stack_images
from mamo.specs.transforms import TransformSpec


class MamoImageProcessor(ImageProcessingMixin):
    """Resize to S x S (aspect not kept, as in ALBEF) and normalise.

    Args:
        size: S, in pixels.
        interpolation: bicubic or bilinear.
        image_mean, image_std: by channel.
    """

    model_input_names = ["pixel_values"]

    def __init__(
        self,
        size: int = 224,
        interpolation: str = "bicubic",
        image_mean: Sequence[float] = (0.48145466, 0.4578275, 0.40821073),
        image_std: Sequence[float] = (0.26862954, 0.26130258, 0.27577711),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size, self.interpolation = size, interpolation
        self.image_mean, self.image_std = list(image_mean), list(image_std)

    def __call__(self, images: Pictures, **_: Any) -> BatchFeature:
        """Turn paths, opened images or arrays, one or several, into ``pixel_values`` (N, 3, S, S)."""
        values: dict[str, Any] = {
            "size": self.size,
            "interpolation": self.interpolation,
            "mean": tuple(self.image_mean),
            "std": tuple(self.image_std),
        }
        transform = EvalTransform(TransformSpec(**values))
        pixels = [transform.image(opened(picture)) for picture in pictures(images)]
        return BatchFeature({"pixel_values": stack_images(pixels, self.size)})
