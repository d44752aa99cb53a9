"""The five objectives: what enters each loss, and hand-computed values."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import tiny
import torch

from mamo.data.tokenizer import Tokenizer, train_wordpiece
from mamo.model.step_random import uniform
from mamo.model.vision import patch_pixels
from mamo.objectives.collapse import relative_error, std_within_items
from mamo.objectives.itc import itc_loss
from mamo.objectives.itm import hard_negatives, itm_loss
from mamo.objectives.masking import TextMasker, mask_patches
from mamo.objectives.mim import mim_loss
from mamo.objectives.mlm import MlmHead, mlm_loss
from mamo.objectives.mrm import mrm_loss
from mamo.objectives.visual_tokens import DiscreteVae, VisualTokenizer
from mamo.specs.masking import MaskingSpec
from mamo.specs.objectives import MimSpec, Normalise


def test_patches_are_removed_in_the_stated_share() -> None:
    mask = mask_patches(uniform(0, 0, "patches", 6, 16), 0.75)
    assert mask.keep.shape == (6, 4) and mask.masked.shape == (6, 12)
    both = torch.cat([mask.keep, mask.masked], 1).sort(1).values
    assert (both == torch.arange(16)).all()


def test_special_tokens_and_padding_are_never_masked_and_the_share_is_exact(tmp_path) -> None:
    words = tiny.tokenizer(tmp_path)
    ids, mask = words.encode(tiny.TEXTS, 16)
    masker = TextMasker(MaskingSpec(), words, 16)
    special = torch.isin(ids, torch.tensor([words.pad_id, words.cls_id, words.sep_id]))
    for step in range(50):
        masked = masker(ids, mask, 0, step)
        assert not (masked.chosen & special).any()
        assert (masked.ids[~masked.chosen] == ids[~masked.chosen]).all()
        counts = (~special).sum(1)
        expected = (counts * 0.25).round().clamp(min=1)
        assert (masked.chosen.sum(1) == expected).all()


def test_replacements_are_80_10_10(tmp_path) -> None:
    words = tiny.tokenizer(tmp_path)
    ids, mask = words.encode(tiny.TEXTS, 16)
    masker = TextMasker(MaskingSpec(), words, 16)
    kinds = {"mask": 0, "same": 0, "random": 0}
    for step in range(600):
        masked = masker(ids, mask, 0, step)
        new, old = masked.ids[masked.chosen], ids[masked.chosen]
        kinds["mask"] += int((new == words.mask_id).sum())
        kinds["same"] += int((new == old).sum())
        kinds["random"] += int(((new != words.mask_id) & (new != old)).sum())
        assert not torch.isin(new[new != words.mask_id], torch.arange(5)).any()
    total = sum(kinds.values())
    assert kinds["mask"] / total == pytest.approx(0.8, abs=0.02)
    assert kinds["random"] / total == pytest.approx(0.1, abs=0.02)


def test_masks_do_not_depend_on_padding(tmp_path) -> None:
    words = tiny.tokenizer(tmp_path)
    ids, mask = words.encode(tiny.TEXTS, 16)
    longer = torch.nn.functional.pad(ids, (0, 2)), torch.nn.functional.pad(mask, (0, 2))
    masker = TextMasker(MaskingSpec(), words, 18)
    assert (masker(ids, mask, 3, 4).chosen == masker(*longer, 3, 4).chosen[:, : ids.shape[1]]).all()


PIECES = ["abc defa bcd fa", "fed cab", "bead", "ace bad cafe dead beef face"]


def pieces(folder: Path) -> tuple[Tokenizer, torch.Tensor, torch.Tensor]:
    """Texts whose words fall into their letters."""
    words = train_wordpiece(["abcdef fedcba"], 18, folder)  # no room for more than letters
    return words, *words.encode(PIECES, 40)


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_whole_words_are_masked_as_a_whole(tmp_path: Path, ratio: float) -> None:
    words, ids, mask = pieces(tmp_path)
    assert (ids.shape[1] > 20) and words.unk_id not in ids
    masker = TextMasker(MaskingSpec(unit="whole_word", text_ratio=ratio), words, 40)
    partly = 0
    for step in range(40):
        chosen = masker(ids, mask, 0, step).chosen
        for row, text in enumerate(PIECES):
            sizes = [len(places) for _, places in words.words(text)]
            whole = [bool(chosen[row, places].all()) for _, places in words.words(text)]
            any_of = [bool(chosen[row, places].any()) for _, places in words.words(text)]
            assert whole == any_of, "a word is masked whole or not at all"
            count, asked = int(chosen[row].sum()), max(1, round(sum(sizes) * ratio))
            assert asked <= count < asked + max(sizes), "the last word alone may exceed the share"
            partly += 0 < sum(whole) < len(whole)
    assert partly > 60
    # Under the paper's own setting words do fall apart.
    single = TextMasker(MaskingSpec(text_ratio=ratio), words, 40)
    torn = [
        0 < int(single(ids, mask, 0, step).chosen[0, places].sum()) < len(places)
        for step in range(10)
        for _, places in words.words(PIECES[0])
    ]
    assert any(torn)


def test_spans_are_runs_of_whole_words_of_geometric_length(tmp_path: Path) -> None:
    words, _, _ = pieces(tmp_path)
    ids, mask = words.encode([" ".join("abcdef" * 6)] * 8, 40)
    actual = {}
    for mean in (1.0, 3.0):
        masker = TextMasker(MaskingSpec(unit="span", span_words=mean, text_ratio=0.25), words, 40)
        chosen = torch.cat([masker(ids, mask, 0, step).chosen for step in range(40)])
        assert not chosen[:, 0].any(), "[CLS] is never chosen"
        actual[mean] = float(chosen.sum() / (chosen[:, 1:] & ~chosen[:, :-1]).sum())
    # Independent words form runs of 1 / (1 - 0.25) by chance; spans are longer, up to what the text's ends cut off.
    assert actual[1.0] == pytest.approx(4 / 3, abs=0.15)
    assert 2.2 < actual[3.0] < 5.0


@pytest.mark.parametrize("unit", ["whole_word", "span"])
def test_units_do_not_depend_on_padding(tmp_path: Path, unit: str) -> None:
    words, ids, mask = pieces(tmp_path)
    masker = TextMasker(MaskingSpec(unit=unit), words, 60)
    longer = torch.nn.functional.pad(ids, (0, 9)), torch.nn.functional.pad(mask, (0, 9))
    assert (masker(ids, mask, 3, 4).chosen == masker(*longer, 3, 4).chosen[:, : ids.shape[1]]).all()


def test_itc_by_hand() -> None:
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    tau = 0.5
    i2t = -(math.log(math.exp(1 / tau) / (math.exp(1 / tau) + math.exp(0.6 / tau)))
            + math.log(math.exp(0.8 / tau) / (math.exp(0 / tau) + math.exp(0.8 / tau)))) / 2  # fmt: skip
    t2i = -(math.log(math.exp(1 / tau) / (math.exp(1 / tau) + math.exp(0 / tau)))
            + math.log(math.exp(0.8 / tau) / (math.exp(0.6 / tau) + math.exp(0.8 / tau)))) / 2  # fmt: skip
    torch.testing.assert_close(itc_loss(image, text, torch.tensor(tau)), torch.tensor((i2t + t2i) / 2))


def test_hard_negatives_are_never_the_pair_nor_its_image_and_stay_in_their_group() -> None:
    torch.manual_seed(0)
    image_ids = torch.tensor([0, 0, 1, 2, 3, 3, 4, 5])
    features = torch.nn.functional.normalize(torch.randn(8, 4), dim=-1)
    for step in range(200):
        draws = uniform(0, step, "itm", 8, 2).T
        negatives = hard_negatives(features, features, torch.tensor(0.05), image_ids, draws, group=4)
        for negative in negatives:
            assert (image_ids[negative] != image_ids).all()
            assert (negative // 4 == torch.arange(8) // 4).all()


def test_hard_negatives_follow_softmax_of_similarity() -> None:
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    tau = 0.3
    drawn = [int(hard_negatives(image, text, torch.tensor(tau), torch.arange(3), uniform(1, s, "itm", 3, 2).T, 3).text[0])
             for s in range(3000)]  # fmt: skip
    expected = math.exp(0.8 / tau) / (math.exp(0.8 / tau) + math.exp(0.6 / tau))
    assert drawn.count(0) == 0
    assert drawn.count(1) / 3000 == pytest.approx(expected, abs=0.03)


def test_a_batch_of_one_image_offers_no_negative() -> None:
    one = torch.ones(2, 4)
    with pytest.raises(ValueError, match="offers no negative"):
        hard_negatives(one, one, torch.tensor(0.1), torch.zeros(2), torch.rand(2, 2), 2)


def test_itm_has_one_positive_and_two_negatives_per_pair() -> None:
    sure = torch.tensor([[-20.0, 20.0]])
    assert itm_loss(sure, -sure, -sure) < 1e-6
    assert itm_loss(sure, sure, -sure) == pytest.approx(40 / 3, rel=1e-4)


def test_mlm_reads_the_chosen_positions_only() -> None:
    torch.manual_seed(0)
    words = torch.nn.Embedding(20, 8)
    head = MlmHead(words)
    fused = torch.randn(2, 5, 8, requires_grad=True)
    ids = torch.randint(0, 20, (2, 5))
    chosen = torch.zeros(2, 5, dtype=torch.bool)
    chosen[0, 2] = chosen[1, 4] = True
    loss = mlm_loss(head, fused[chosen], ids[chosen])
    loss.backward()
    touched = fused.grad.abs().sum(-1) > 0
    assert (touched == chosen).all()
    logits = fused.detach() @ words.weight.T
    by_hand = -(logits[0, 2].log_softmax(0)[ids[0, 2]] + logits[1, 4].log_softmax(0)[ids[1, 4]]) / 2
    torch.testing.assert_close(loss, by_hand)


def test_mim_is_l1_at_masked_patches_and_cross_entropy_on_tokens() -> None:
    target = torch.arange(24.0).reshape(1, 6, 4)
    masked = torch.tensor([[1, 4]])
    predicted = target[:, [1, 4]] + 2.0
    assert mim_loss(MimSpec(), predicted, target, masked) == pytest.approx(2.0)
    logits = torch.zeros(1, 2, 8)
    codes = torch.tensor([[0, 3, 0, 0, 5, 0]])
    assert mim_loss(MimSpec(target="visual_tokens"), logits, codes, masked) == pytest.approx(math.log(8))
    standard = mim_loss(MimSpec(normalise_target=True), torch.zeros(1, 2, 4), target, masked)
    assert 0.5 < float(standard) < 1.5


def test_patch_pixels_are_the_patches() -> None:
    image = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    patches = patch_pixels(image, 2)
    torch.testing.assert_close(patches[1, 1].reshape(3, 2, 2), image[1, :, :2, 2:])


def test_mrm_is_the_mean_squared_error_and_stops_the_targets_gradient() -> None:
    predicted = torch.zeros(3, 2, requires_grad=True)
    target = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 0.0]], requires_grad=True)
    loss = mrm_loss(predicted, target)
    loss.backward()
    assert loss.item() == pytest.approx((1 + 4 + 9) / 6)
    assert target.grad is None and predicted.grad is not None


def test_std_within_items_items_sees_a_collapse_that_differences_between_items_hide() -> None:
    item = torch.arange(20).repeat_interleave(50)
    alike = torch.randn(20, 4)[item]  # every item says something else, and the same at all of its positions
    assert std_within_items(alike, item, 20) < 1e-3
    assert std_within_items(1000 * torch.randn(1000, 4), item, 20) == pytest.approx(1.0, abs=0.05)
    # One position says nothing of its item's spread.
    assert std_within_items(torch.randn(3, 4), torch.arange(3), 3).isnan()


def test_relative_error_is_that_of_the_best_constant_whatever_the_scale() -> None:
    target = 1000 * torch.randn(500, 8)
    constant = target.mean(0)
    assert relative_error((target - constant).square().mean(), target, 2) == pytest.approx(1.0, rel=1e-5)
    middle = target.median(0).values
    assert relative_error((target - middle).abs().mean(), target, 1) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("how", ["l2", "layer"])
def test_normalised_mrm_is_two_minus_twice_the_cosine(how: Normalise) -> None:
    x, y = torch.randn(7, 16), 5 * torch.randn(7, 16)
    a, b = (x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)) if how == "layer" else (x, y)
    expected = (2 - 2 * torch.cosine_similarity(a, b)).mean()
    assert mrm_loss(x, y, normalise=how) == pytest.approx(expected.item(), rel=1e-3)
    assert mrm_loss(3 * x, y, normalise=how) == pytest.approx(expected.item(), rel=1e-3)


def test_visual_tokens_fall_one_on_each_patch() -> None:
    torch.manual_seed(0)
    tokenizer = VisualTokenizer(DiscreteVae(16), 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    codes = tokenizer(torch.randn(2, 3, 64, 64), grid=4)
    assert codes.shape == (2, 16) and codes.dtype == torch.long and int(codes.max()) < 16
    assert not any(p.requires_grad for p in tokenizer.parameters())


def test_dalle_codes_of_a_small_flava_codebook() -> None:
    transformers = pytest.importorskip("transformers")
    from mamo.objectives.visual_tokens import DallEncoder

    config = transformers.FlavaImageCodebookConfig(
        num_groups=4, num_blocks_per_group=1, hidden_size=8, vocab_size=32
    )
    encoder = DallEncoder(transformers.FlavaImageCodebook(config))
    codes = VisualTokenizer(encoder, 32, (0.5,) * 3, (0.25,) * 3)(torch.randn(2, 3, 224, 224), grid=14)
    assert codes.shape == (2, 196) and int(codes.max()) < 32
