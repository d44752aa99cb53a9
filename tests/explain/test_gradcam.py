"""Grad-CAM: the library's maps, our own and a computation by hand are the same."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from tiny import TEXTS, network, tokenizer
from torch import Tensor

from mamo.explain.attention_gradcam import AttentionGradCam
from mamo.explain.scores import itm_score
from mamo.model.fusion import Fused
from mamo.model.mamo import Mamo
from mamo.tasks.relevance import attention_relevance, fusion_attention, split_relevance

Features = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mamo, Features]:
    """Three fusion layers, three pairs with texts of unlike length."""
    words = tokenizer(tmp_path_factory.mktemp("tokenizer"))
    net = network(words, fusion_layers=3).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
        ids, mask = words.encode(TEXTS[:4], 16)
        return net, (net.encode_image(torch.randn(4, 3, 32, 32)), net.encode_text(ids, mask), mask)


def by_hand(net: Mamo, features: Features, layer: int, sample: int) -> Tensor:
    """One sample's attention x positive gradient of "matched", from the formulas of attention, without hooks: (T, T)."""
    visual, text, mask = (part[sample : sample + 1] for part in features)
    x = torch.cat([visual + net.fusion.positions, text], 1)[0]
    hidden = torch.cat([torch.ones(visual.shape[1]), mask[0].float()]) == 0
    kept = None
    layers: Any = net.fusion.layers
    for number, part in enumerate(layers, 1):
        attention = part.attention
        q, k, v = (
            torch.stack(side(x).chunk(attention.heads, -1))
            for side in (attention.query, attention.key, attention.value)
        )
        shares = ((q @ k.mT) / q.shape[-1] ** 0.5).masked_fill(hidden, float("-inf")).softmax(-1)
        kept = shares if number == layer else kept
        x = part.norm_attention(x + attention.out(torch.cat(list(shares @ v), -1)))
        x = part.norm_mlp(x + part.mlp(x))
    matched = net.itm_head(x[visual.shape[1]])[1]
    assert kept is not None
    (gradient,) = torch.autograd.grad(matched, kept)
    return (kept * gradient.clamp(min=0)).mean(0).detach()


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_both_ways_equal_the_computation_by_hand(case: tuple[Mamo, Features], layer: int) -> None:
    net, features = case
    expected = torch.stack([by_hand(net, features, layer, sample) for sample in range(4)])
    light = attention_relevance(fusion_attention(net, layer), lambda: itm_score(net)(net.fuse(*features)))
    torch.testing.assert_close(light, expected, rtol=1e-4, atol=1e-9)
    library = AttentionGradCam(net, layer)(*features, itm_score(net))
    words = expected[:, 17:, 1:17].reshape(4, -1, 4, 4)
    torch.testing.assert_close(library.words_on_patches, words, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(library.patches_on_words, expected[:, 1:17, 17:], rtol=1e-4, atol=1e-9)
    assert expected.max() > 1e-5


@pytest.mark.parametrize("layer", [1, 2])
def test_the_path_of_grounding_gives_the_librarys_maps(case: tuple[Mamo, Features], layer: int) -> None:
    net, features = case
    light = attention_relevance(fusion_attention(net, layer), lambda: net.matching_logits(*features)[:, 1])
    ours, theirs = split_relevance(light, 4), AttentionGradCam(net, layer)(*features, itm_score(net))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-9)
        assert one.max() > 0


def test_in_the_last_layer_only_cls_looks(case: tuple[Mamo, Features]) -> None:
    net, features = case
    maps = AttentionGradCam(net, 3)(*features, itm_score(net)).words_on_patches
    assert maps[:, 0].max() > 0 and not maps[:, 1:].any()


def test_padding_neither_looks_nor_is_looked_at(case: tuple[Mamo, Features]) -> None:
    net, features = case
    maps = AttentionGradCam(net, 2)(*features, itm_score(net))
    padding = features[2] == 0
    assert padding.any()
    assert not maps.patches_on_words.transpose(1, 2)[padding].any()
    assert not maps.words_on_patches[padding].any()


def test_any_score_and_a_frozen_network(case: tuple[Mamo, Features]) -> None:
    """A regression loss on one patch is explained too; a frozen copy gives the same map; the library leaves no trace."""
    net, features = case

    def score(fused: Fused) -> Tensor:
        return -(fused.image[:, 3] - 1).pow(2).mean(1)

    net.train()
    maps = AttentionGradCam(net, 2)(*features, score)
    assert net.training and all(p.grad is None for p in net.parameters())
    assert not fusion_attention(net, 2).probabilities._forward_hooks
    net.eval().requires_grad_(False)
    frozen = AttentionGradCam(net, 2)(*features, score)
    net.requires_grad_(True)
    torch.testing.assert_close(frozen.patches_on_words, maps.patches_on_words)
    light = attention_relevance(fusion_attention(net, 2), lambda: score(net.fuse(*features)))
    torch.testing.assert_close(
        split_relevance(light, 4).patches_on_words, maps.patches_on_words, rtol=1e-4, atol=1e-9
    )
    assert maps.patches_on_words[:, 2].max() > 0


def test_wrong_use_is_refused(case: tuple[Mamo, Features]) -> None:
    net, features = case
    with pytest.raises(ValueError, match="layer 4.*layers 1 to 3"):
        AttentionGradCam(net, 4)
    with pytest.raises(ValueError, match="0 times"):
        attention_relevance(fusion_attention(net, 1), lambda: features[0].sum((1, 2)))


def test_grounding_and_retrieval_import_nothing_heavy() -> None:
    """Jobs are many and short; these libraries take seconds to import."""
    heavy = ("pytorch_grad_cam", "torchvision", "timm", "transformers", "cv2", "matplotlib", "pandas")
    code = f"import mamo.tasks.grounding, mamo.tasks.retrieval, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
