"""A convolutional patch embedding for the image encoder: frozen layers of a network that photographs have trained.

Each patch goes through them by itself, as if it were the whole image, so a patch's vector depends on that patch alone: hidden
patches can be left out before or after it, and the encoder that follows is the paper's (section 3.1). Between pixels and the
linear embedding it only adds what the early layers of a network trained on ImageNet's labels see in the pixels of one patch.

Shapes: B images, S side in pixels, s side of a patch, N = (S / s) ** 2 patches, P patches that are asked for, C numbers of a
patch.
"""

from __future__ import annotations

import weakref
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from mamo.model.teacher import Teacher
from mamo.model.vision import patch_pixels
from mamo.specs.model import STEM_STRIDE, STEMS
from mamo.specs.transforms import TransformSpec

AT_ONCE = 196  # patches of 32 pixels whose maps fit a processor's cache
CLIP = 6.0  # deviations; channels that hardly ever fire would reach hundreds
LEAST_DEVIATION = 1e-3
MEMORY_BYTES = 2 * 2**30  # 24,000 images of 7 x 7 patches


class PatchStem(nn.Module):
    """What an EfficientNet sees in each patch: its map at stride 16, standardised.

    In evaluation mode and without gradients. Copies share it, since nothing changes it: a target network's stem is the online
    network's.

    Args:
        architecture: timm's name; the weights are random until they are loaded or taken from a teacher.
        patch_size: a multiple of 16 pixels; a patch of 32 has a map of 2 x 2 places.
    """

    scale: Tensor
    shift: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, architecture: str, patch_size: int) -> None:
        super().__init__()
        import timm

        network = Teacher(timm.create_model(architecture, pretrained=False))
        self.patch_size = patch_size
        self.layers = early_layers(network)
        self.channels = (patch_size // STEM_STRIDE) ** 2 * STEMS[architecture].channels
        images = TransformSpec()
        scale = torch.tensor(images.std) / torch.tensor(network.std)
        shift = (torch.tensor(images.mean) - torch.tensor(network.mean)) / torch.tensor(network.std)
        # From the images' standardisation to that of the network's training.
        self.register_buffer("scale", scale[:, None, None], persistent=False)
        self.register_buffer("shift", shift[:, None, None], persistent=False)
        self.register_buffer("mean", torch.zeros(self.channels))
        self.register_buffer("deviation", torch.ones(self.channels))
        self._seen: dict[bytes, Tensor] | None = None  # digest of an image's pixels -> its vectors
        self._last: tuple[weakref.ref[Tensor], int, Tensor] | None = (
            None  # images, their version, their vectors
        )
        self.train(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> PatchStem:
        return self

    def train(self, mode: bool = True) -> PatchStem:
        """Stay in evaluation mode."""
        return super().train(False)

    def remember(self, images_repeat: bool) -> None:
        """Keep the vectors of images that were seen, where the same pixels come again: without crops, in every epoch.

        Changes numbers by rounding alone. Up to 2 GB are kept, and nothing on a GPU, where it would save little.
        """
        self._seen = {} if images_repeat else None

    def take(self, teacher: Teacher, sample_B3SS: Tensor) -> None:
        """Take over a teacher's weights, and standardise by what it sees in the patches of sample images.

        Raises:
            RuntimeError: it has another architecture.
        """
        self.layers.load_state_dict(early_layers(teacher).state_dict())
        self.mean.zero_()
        self.deviation.fill_(1.0)
        seen = self._vectors(self._cut(sample_B3SS).flatten(0, 1))
        self.mean.copy_(seen.mean(0))
        self.deviation.copy_(seen.std(0).clamp_min(LEAST_DEVIATION))

    @torch.no_grad()
    def forward(self, image_B3SS: Tensor, keep_BP: Tensor | None = None) -> Tensor:
        """Describe patches of images that are standardised as :class:`TransformSpec` says.

        Args:
            keep_BP: indices of the patches that are asked for; None: all.

        Returns:
            (B, P, C) vectors, about standardised.
        """
        vectors = self._all_patches(image_B3SS)
        return vectors if keep_BP is None else _pick(vectors, keep_BP)

    def _all_patches(self, image_B3SS: Tensor) -> Tensor:
        # The online network encodes a batch whole and masked, and its target whole: one pass serves all three.
        counted = not image_B3SS.is_inference()  # only such a tensor says whether it has changed
        if counted and self._last is not None:
            images, version, vectors = self._last
            if images() is image_B3SS and version == image_B3SS._version:
                return vectors
        with torch.autocast(image_B3SS.device.type, enabled=False):
            if self._seen is not None and not image_B3SS.is_cuda:
                vectors = self._remembered(image_B3SS)
            else:
                patches = self._cut(image_B3SS.float())
                vectors = self._standardise(self._vectors(patches.flatten(0, 1))).unflatten(
                    0, patches.shape[:2]
                )
        self._last = (weakref.ref(image_B3SS), image_B3SS._version, vectors) if counted else None
        return vectors

    @torch.compiler.disable
    def _remembered(self, image_B3SS: Tensor) -> Tensor:
        assert self._seen is not None
        found: list[Tensor] = []
        for image in image_B3SS.float():
            key = blake2b(image.contiguous().numpy(), digest_size=16).digest()
            vectors = self._seen.get(key)
            if vectors is None:
                vectors = self._standardise(self._vectors(self._cut(image[None])[0]))
                if (len(self._seen) + 1) * vectors.nbytes <= MEMORY_BYTES:
                    self._seen[key] = vectors
            found.append(vectors)
        return torch.stack(found)

    def _cut(self, image_B3SS: Tensor) -> Tensor:
        """Cut images into patches: (B, 3, S, S) -> (B, N, 3, s, s)."""
        side = self.patch_size
        return patch_pixels(image_B3SS, side).unflatten(2, (3, side, side))

    def _vectors(self, patches: Tensor) -> Tensor:
        """Describe patches, not yet standardised: (patches, 3, s, s) -> (patches, C)."""
        found = []
        for part in patches.split(len(patches) if patches.is_cuda else AT_ONCE):
            x = (part * self.scale + self.shift).contiguous(memory_format=torch.channels_last)
            found.append(self.layers(x).flatten(1))
        return torch.cat(found)

    def _standardise(self, vectors: Tensor) -> Tensor:
        return ((vectors - self.mean) / self.deviation).clamp_(-CLIP, CLIP)


def early_layers(network: Teacher) -> nn.Sequential:
    """Return the layers of an EfficientNet up to its last map at stride 16, with batch norms folded."""
    model = network.model
    info = [stage for stage in model.feature_info if stage["reduction"] == STEM_STRIDE][-1]
    blocks = int(info["module"].removeprefix("blocks.")) + 1
    return nn.Sequential(model.conv_stem, model.bn1, *model.blocks[:blocks])


def _pick(items: Tensor, keep_BP: Tensor) -> Tensor:
    """Pick items of each image by their indices: (B, N, ...), (B, P) -> (B, P, ...)."""
    return items[torch.arange(len(items), device=items.device)[:, None], keep_BP]
