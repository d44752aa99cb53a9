"""WordPiece: what is trained here is what transformers reads, and cut texts stay closed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from mamo.data.tokenizer import SPECIAL, Tokenizer, TokenizerError, train_wordpiece

TEXTS = [
    "Two dogs run on the grass.",
    "A man riding a wave on top of a surfboard!",
    "Ein Mädchen läuft über die Straße, naïvely",
    "the left-most giraffe's neck",
    "1,000 red apples / 3.5 kg",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tokenizer")
    train_wordpiece(TEXTS * 3, 120, out)
    return out


def test_special_tokens_come_first(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    ids = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
    assert ids == (0, 1, 2, 3, 4)
    assert (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:5] == list(SPECIAL)
    assert 50 < tokenizer.vocab_size <= 120


def test_transformers_reads_the_same_ids(folder: Path) -> None:
    from transformers import BertTokenizerFast

    theirs = BertTokenizerFast.from_pretrained(str(folder))
    ours = Tokenizer.load(folder)
    texts = [*TEXTS, "", "unseen ☃ zebra", "x" * 300]
    ids, mask = ours.encode(texts, max_length=12)
    expected = theirs(texts, max_length=12, truncation=True, padding="longest", return_tensors="pt")
    assert torch.equal(ids, expected["input_ids"]) and torch.equal(mask, expected["attention_mask"])


def test_a_cut_text_is_closed(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    ids, mask = tokenizer.encode(["word " * 100, "dogs"], max_length=10)
    assert ids.shape == mask.shape == (2, 10) and ids.dtype == mask.dtype == torch.int64
    assert ids[0, 0] == tokenizer.cls_id and ids[0, -1] == tokenizer.sep_id
    length = int(mask[1].sum())
    assert ids[1, length - 1] == tokenizer.sep_id and set(ids[1, length:].tolist()) == {tokenizer.pad_id}
    longer, _ = tokenizer.encode(["word " * 100], max_length=14)  # the length can change between calls
    assert longer.shape == (1, 14)


def test_padding_to_a_multiple(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    ids, mask = tokenizer.encode(["dogs", "the dogs run"], multiple=8)
    plain, plain_mask = tokenizer.encode(["dogs", "the dogs run"])
    assert ids.shape[1] == 8 and torch.equal(ids[:, : plain.shape[1]], plain)
    assert torch.equal(mask.sum(1), plain_mask.sum(1))
    assert tokenizer.encode([])[0].shape == (0, 0)


def test_vocab_txt_alone_gives_the_same(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "vocab.txt", tmp_path)
    ours, plain = Tokenizer.load(folder), Tokenizer.load(tmp_path)
    assert torch.equal(ours.encode(TEXTS)[0], plain.encode(TEXTS)[0])
    with pytest.raises(TokenizerError, match="neither"):
        Tokenizer.load(tmp_path / "nowhere")
    (tmp_path / "vocab.txt").write_text("a\nb\n[UNK]\n")
    with pytest.raises(TokenizerError, match="lacks"):
        Tokenizer.load(tmp_path)


def test_back_to_text_and_special_mask(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    ids, _ = tokenizer.encode(["Two dogs run on the grass.", "dogs"])
    assert tokenizer.decode(ids[0]) == "two dogs run on the grass."
    tokens = tokenizer.tokens(ids[1])
    assert tokens[0] == "[CLS]" and tokens[-1] == "[PAD]"
    special = [token in ("[CLS]", "[SEP]", "[PAD]") for token in tokens]
    assert tokenizer.special_mask(ids)[1].tolist() == special


def test_training_is_deterministic(folder: Path, tmp_path: Path) -> None:
    train_wordpiece(TEXTS * 3, 120, tmp_path)
    for name in ("vocab.txt", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
