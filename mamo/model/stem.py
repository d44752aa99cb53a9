"""A convolutional stem for the image encoder, as in the hybrid ViT of Dosovitskiy et al. (2021), from a trained network.

It turns an image into a map with one vector for each patch. Of a masked image it sees the visible patches alone: hidden
ones are blank before the first convolution, so that nothing of them can reach a visible patch's vector.

Shapes: B images, S side in pixels, g = S / 32 patches a side, N = g * g patches, C channels of the map.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from mamo.model.teacher import Teacher
from mamo.specs.model import STEM_STRIDE
from mamo.specs.transforms import TransformSpec

AT_ONCE = 16  # images in a processor's cache


class ConvStem(nn.Module):
    """The convolutions of an EfficientNet up to its last map, in evaluation mode and without gradients.

    Copies share it, since nothing changes it: a target network's stem is the online network's.

    Args:
        architecture: timm's name; the weights are random until they are loaded or taken from a teacher.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, architecture: str) -> None:
        super().__init__()
        import timm

        whole = Teacher(timm.create_model(architecture, pretrained=False))
        self.channels = whole.channels
        self.stem, self.blocks = nn.Sequential(whole.model.conv_stem, whole.model.bn1), whole.model.blocks
        images = TransformSpec()
        scale = torch.tensor(images.std) / torch.tensor(whole.std)
        shift = (torch.tensor(images.mean) - torch.tensor(whole.mean)) / torch.tensor(whole.std)
        # From the images' standardisation to that of the network's training.
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("shift", shift[:, None, None], persistent=False)
        self._last: tuple[weakref.ref[Tensor], int, Tensor] | None = None  # images, their version, their map
        self.train(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> ConvStem:
        return self

    def train(self, mode: bool = True) -> ConvStem:
        """Stay in evaluation mode."""
        return super().train(False)

    def take(self, teacher: Teacher) -> None:
        """Take over a teacher's weights.

        Raises:
            RuntimeError: it has another architecture.
        """
        self.stem[0].load_state_dict(teacher.model.conv_stem.state_dict())
        self.blocks.load_state_dict(teacher.model.blocks.state_dict())

    @torch.no_grad()
    def forward(self, image_B3SS: Tensor, visible_BN: Tensor | None = None) -> Tensor:
        """The map, (B, C, g, g), of images standardised as :class:`TransformSpec` says.

        Args:
            visible_BN: the visible patches; None: all are.
        """
        # The online network and its target encode the same unmasked images in a step.
        counted = not image_B3SS.is_inference()  # only such a tensor says whether it has changed
        if visible_BN is None and counted and self._last is not None:
            images, version, found = self._last
            if images() is image_B3SS and version == image_B3SS._version:
                return found
        x = image_B3SS * self.scale + self.shift
        if visible_BN is not None:
            grid = x.shape[-1] // STEM_STRIDE
            shown = visible_BN.view(-1, 1, grid, grid).to(x.dtype)
            x = x * shown.repeat_interleave(STEM_STRIDE, 2).repeat_interleave(STEM_STRIDE, 3)
        x = x.contiguous(memory_format=torch.channels_last)
        parts = x.split(len(x) if x.is_cuda else AT_ONCE)
        found = torch.cat([self.blocks(self.stem(part)) for part in parts])
        if visible_BN is None and counted:
            self._last = weakref.ref(image_B3SS), image_B3SS._version, found
        return found
