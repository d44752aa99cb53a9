"""Grad-CAM of every score that figures explain, against finite differences: attention is nudged and the score recomputed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import TEXTS, network, pretrain_spec, tokenizer
from torch import Tensor

from mamo.data.tokenizer import Tokenizer
from mamo.explain.attention_gradcam import AttentionGradCam
from mamo.explain.scores import ScoreFunction, answer_score, itm_score, mrm_score
from mamo.model.decoder import AnswerDecoder
from mamo.model.mamo import Mamo
from mamo.tasks.pretrain import PretrainTask
from mamo.tasks.relevance import fusion_attention

Pair = tuple[Tensor, Tensor, Tensor]
FIRST_WORD = 1 + 16  # class token and 4 x 4 patches


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def task(words: Tokenizer) -> PretrainTask:
    """A pre-training task whose online and target network differ, in double precision."""
    torch.manual_seed(1)
    made = PretrainTask(network(words), pretrain_spec(), words)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.double().eval()


@pytest.fixture(scope="module")
def inputs(words: Tokenizer) -> tuple[Tensor, Tensor, Tensor]:
    """Two images of noise and two texts of unlike length."""
    ids, mask = words.encode(TEXTS[2:4], 16)
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double(), ids, mask


def plain(net: Mamo, inputs: Pair) -> Pair:
    image, ids, mask = inputs
    with torch.no_grad():
        return net.encode_image(image), net.encode_text(ids, mask), mask


def nudged(
    net: Mamo, pair: Pair, score: ScoreFunction, layer: int, entry: tuple[int, ...], by: float
) -> float:
    """A sample's score when one attention probability (sample, head, query, key) is another one."""

    def nudge(module: Any, given: Any, output: Tensor) -> Tensor:
        changed = output.clone()
        changed[entry] += by
        return changed

    handle = fusion_attention(net, layer).probabilities.register_forward_hook(nudge)
    try:
        with torch.no_grad():
            return float(score(net.fuse(*pair))[entry[0]])
    finally:
        handle.remove()


def attention(net: Mamo, pair: Pair, layer: int) -> Tensor:
    """The probabilities (B, H, T, T)."""
    seen: list[Tensor] = []
    handle = fusion_attention(net, layer).probabilities.register_forward_hook(
        lambda module, given, output: seen.append(output)
    )
    with torch.no_grad():
        net.fuse(*pair)
    handle.remove()
    return seen[0]


def by_differences(
    net: Mamo, pair: Pair, score: ScoreFunction, layer: int, sample: int, query: int, step: float
) -> Tensor:
    """Mean over heads of A x max(0, dS/dA) for one query token, over all keys: (T,)."""
    shares = attention(net, pair, layer)
    heads, tokens = shares.shape[1], shares.shape[-1]
    relevance = torch.zeros(heads, tokens, dtype=torch.double)
    for head in range(heads):
        for key in range(tokens):
            entry = (sample, head, query, key)
            up, down = (nudged(net, pair, score, layer, entry, by) for by in (step, -step))
            relevance[head, key] = shares[entry] * max(0.0, (up - down) / (2 * step))
    return relevance.mean(0)


def check(
    net: Mamo,
    pair: Pair,
    score: ScoreFunction,
    layer: int,
    sample: int,
    query: int,
    step: float = 1e-6,
    atol: float = 1e-8,
) -> None:
    """The library's maps of one query are those of finite differences."""
    expected = by_differences(net, pair, score, layer, sample, query, step)
    maps = AttentionGradCam(net, layer)(*pair, score)
    if query >= FIRST_WORD:
        actual, reference = (
            maps.words_on_patches[sample, query - FIRST_WORD].flatten(),
            expected[1:FIRST_WORD],
        )
    else:
        actual, reference = maps.patches_on_words[sample, query - 1], expected[FIRST_WORD:]
    torch.testing.assert_close(actual.double(), reference, rtol=1e-2, atol=atol)
    assert reference.max() > 10 * atol, "an empty map would prove nothing"


def test_the_matching_score(task: PretrainTask, inputs: Pair) -> None:
    check(task.network, plain(task.network, inputs), itm_score(task.network), 1, 0, FIRST_WORD + 3)


def masked_text(
    task: PretrainTask, words: Tokenizer, inputs: Pair
) -> tuple[Pair, Callable[..., ScoreFunction], Tensor]:
    """The pair with the fourth sub-word masked in both texts, the score's maker, and where it is masked."""
    image, ids, mask = inputs
    chosen = torch.zeros_like(ids, dtype=torch.bool)
    chosen[0, 4], chosen[1, 2] = True, True
    target = task.target.fused(task.target.vision(image), ids, mask)
    assert target is not None
    pair = plain(task.network, (image, ids.masked_fill(chosen, words.mask_id), mask))
    return pair, lambda **masked: mrm_score(task, target, **masked), chosen


def test_the_mrm_loss_of_masked_words(task: PretrainTask, words: Tokenizer, inputs: Pair) -> None:
    pair, score, chosen = masked_text(task, words, inputs)
    for layer in (1, 2):
        check(task.network, pair, score(words_BL=chosen), layer, 0, FIRST_WORD + 4)


def test_the_mrm_loss_of_masked_patches(task: PretrainTask, inputs: Pair) -> None:
    image, ids, mask = inputs
    hidden = torch.zeros(2, 16, dtype=torch.bool)
    hidden[:, [5, 6]] = True
    keep = (~hidden).nonzero()[:, 1].view(2, 14)
    target = task.target.fused(task.target.vision(image), ids, mask)
    assert target is not None
    with torch.no_grad():
        pair = (task.network.encode_image(image, keep), task.network.encode_text(ids, mask), mask)
    score = mrm_score(task, target, patches_BN=hidden)
    check(task.network, pair, score, 1, 1, 1 + 5)


def test_the_mrm_score_is_the_loss_of_the_masked_positions_alone(
    task: PretrainTask, words: Tokenizer, inputs: Pair
) -> None:
    """Worked out one position at a time, from the projected vectors."""
    pair, score, chosen = masked_text(task, words, inputs)
    image, ids, mask = inputs
    with torch.no_grad():
        fused, target = task.network.fuse(*pair), task.target.fused(task.target.vision(image), ids, mask)
        assert target is not None and task.target is not None and task.predictor is not None
        assert task.online.projector is not None and task.target.projector is not None
        ours = task.predictor(task.online.projector(fused.text[0, 4]))
        theirs = task.target.projector(target.text[0, 4])
        by_hand = -sum(float(a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) / len(ours)
        assert float(score(words_BL=chosen)(fused)[0]) == pytest.approx(by_hand)
    with pytest.raises(ValueError, match="one at a time"):
        score(words_BL=chosen, patches_BN=chosen)


def test_the_answers_log_probability_also_in_the_last_layer(
    task: PretrainTask, words: Tokenizer, inputs: Pair
) -> None:
    torch.manual_seed(2)
    decoder = AnswerDecoder(task.network, 1, words.cls_id).double().eval()
    ids, mask = words.encode(["red cat", "dog"], 16)
    pair = plain(task.network, inputs)
    score = answer_score(decoder, ids[:, 1:], mask[:, 1:], pair[2])
    # The decoder's log-softmax is in single precision, so smaller steps would drown in rounding.
    check(task.network, pair, score, 2, 1, FIRST_WORD + 1, step=1e-2, atol=3e-6)
    with torch.no_grad():
        value = score(task.network.fuse(*pair))
    assert (value < 0).all() and (value.exp() <= 1).all()
