"""WordPiece as in BERT: train a small vocabulary, turn texts into padded ids."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from mamo.files.stored import StoredError, read_object

# Texts are short and every worker process tokenises its own; extra threads would only break forks.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tokenizers import Tokenizer as Backend  # noqa: E402
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_LENGTH = 40


class TokenizerError(StoredError):
    """A tokenizer directory cannot be used; the message says which and why."""


def _bert(model: models.WordPiece, lowercase: bool = True) -> Backend:
    backend = Backend(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def _close(backend: Backend) -> None:
    """Put [CLS] before and [SEP] after every text, also after a text that is cut."""
    cls, sep = (backend.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )


def train_wordpiece(texts: Iterable[str], vocab_size: int, out: Path) -> Tokenizer:
    """Train a lower-case WordPiece vocabulary and save it.

    The directory holds ``tokenizer.json``, ``vocab.txt`` and ``tokenizer_config.json``, which transformers'
    ``BertTokenizerFast.from_pretrained`` reads too. The special tokens have ids 0 to 4 in the order of
    ``SPECIAL``.

    Args:
        texts: what to learn from.
        vocab_size: largest number of entries, special tokens included.
        out: the directory.
    """
    texts = list(texts)
    learner = _bert(models.WordPiece(unk_token="[UNK]"))
    # The trainer numbers continuing letters (##a) in the order of a hash map and breaks ties between merges
    # by number, so that two trainings differ. Naming those letters beforehand fixes their numbers.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL, *_continuing_letters(learner, texts)],
        show_progress=False,
        continuing_subword_prefix="##",
    )
    learner.train_from_iterator(texts, trainer)
    vocabulary = learner.get_vocab()
    backend = _bert(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.add_special_tokens(list(SPECIAL))
    _close(backend)
    out.mkdir(parents=True, exist_ok=True)
    lines = sorted(vocabulary, key=vocabulary.__getitem__)
    (out / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": 512,
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True)),
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    backend.save(str(out / "tokenizer.json"))
    return Tokenizer(backend)


def _continuing_letters(backend: Backend, texts: Iterable[str]) -> list[str]:
    assert backend.normalizer is not None and backend.pre_tokenizer is not None
    letters: set[str] = set()
    for text in texts:
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text)):
            letters.update(word[1:])
    return [f"##{letter}" for letter in sorted(letters)]


class Tokenizer:
    """Texts to ids and back.

    Attributes:
        vocab_size: number of entries.
        pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens.

    Raises:
        TokenizerError: a special token is not in the vocabulary.
    """

    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int

    def __init__(self, backend: Backend) -> None:
        ids = {token: backend.token_to_id(token) for token in SPECIAL}
        lacking = [token for token in SPECIAL if ids[token] is None]
        if lacking:
            raise TokenizerError(f"the vocabulary lacks {', '.join(lacking)}; it is not one of BERT's kind")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            ids[token] or 0 for token in SPECIAL
        )
        self.vocab_size = backend.get_vocab_size()
        _close(backend)
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self._max_length: int | None = None

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read ``tokenizer.json``, or else ``vocab.txt`` (with ``do_lower_case`` of
        ``tokenizer_config.json``).

        Raises:
            TokenizerError: neither file is there, or it cannot be read.
        """
        folder = Path(folder)
        fix = "take the original files, or make the run of text weights again"
        if (path := folder / "tokenizer.json").is_file():
            try:
                return cls(Backend.from_file(str(path)))
            except Exception as error:  # the library raises plain Exception
                raise TokenizerError(f"{path}: is not a tokenizer ({str(error)[:300]}); {fix}") from error
        if not (folder / "vocab.txt").is_file():
            raise TokenizerError(
                f"{folder}: holds neither tokenizer.json nor vocab.txt; point to a BERT tokenizer"
            )
        config = folder / "tokenizer_config.json"
        try:
            lowercase = read_object(config).get("do_lower_case", True) if config.is_file() else True
        except StoredError as error:
            raise TokenizerError(str(error)) from error
        if not isinstance(lowercase, bool):
            raise TokenizerError(f"{config}: 'do_lower_case' is {str(lowercase)[:60]!r}; {fix}")
        try:
            vocabulary = models.WordPiece.read_file(str(folder / "vocab.txt"))
        except Exception as error:
            raise TokenizerError(
                f"{folder / 'vocab.txt'}: is not a vocabulary ({str(error)[:300]}); {fix}"
            ) from error
        backend = _bert(models.WordPiece(vocabulary, unk_token="[UNK]"), lowercase)
        backend.add_special_tokens([token for token in SPECIAL if token in vocabulary])
        return cls(backend)

    def encode(
        self, texts: Sequence[str], max_length: int = MAX_LENGTH, multiple: int = 1
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn texts into ids, padded to the longest.

        Args:
            texts: B texts.
            max_length: largest number of tokens, [CLS] and [SEP] included; longer texts are cut and still
                closed by [SEP].
            multiple: L is rounded up to a multiple of it (never beyond ``max_length`` rounded up).

        Returns:
            ids int64 (B, L) and mask int64 (B, L), 1 where a token stands and 0 at padding.
        """
        if max_length != self._max_length:
            self._backend.enable_truncation(max_length)
            self._max_length = max_length
        rows = [encoding.ids for encoding in self._backend.encode_batch(list(texts))]
        length = -(-max(map(len, rows), default=0) // multiple) * multiple
        ids = torch.tensor([row + [self.pad_id] * (length - len(row)) for row in rows], dtype=torch.int64)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        mask = (torch.arange(length)[None, :] < lengths[:, None]).to(torch.int64)
        return ids.reshape(len(rows), length), mask

    def words(self, text: str, max_length: int = MAX_LENGTH) -> list[tuple[str, list[int]]]:
        """Split a text into words, each with the places of its sub-words in what ``encode`` gives for it.

        Punctuation marks are words of their own; what ``encode`` cuts off is left out.

        Returns:
            each word as it is written, with the places of its sub-words, [CLS] being place 0.
        """
        if max_length != self._max_length:
            self._backend.enable_truncation(max_length)
            self._max_length = max_length
        encoding = self._backend.encode(text)
        places_of: dict[int, list[int]] = {}
        for place, word in enumerate(encoding.word_ids):
            if word is not None:
                places_of.setdefault(word, []).append(place)
        spans = [
            (encoding.offsets[places[0]][0], encoding.offsets[places[-1]][1]) for places in places_of.values()
        ]
        return [(text[a:b], places) for (a, b), places in zip(spans, places_of.values(), strict=True)]

    def decode(self, ids: Sequence[int] | torch.Tensor) -> str:
        """Turn ids (L,) into a text, without special tokens."""
        return self._backend.decode([int(i) for i in ids], skip_special_tokens=True)

    def tokens(self, ids: Sequence[int] | torch.Tensor) -> list[str]:
        """Turn ids (L,) into sub-words, special tokens included."""
        return [self._backend.id_to_token(int(i)) or SPECIAL[1] for i in ids]

    def special_mask(self, ids: torch.Tensor) -> torch.Tensor:
        """True at [CLS], [SEP] and padding (which masking never chooses), bool of the shape of ``ids``."""
        closing = torch.tensor([self.pad_id, self.cls_id, self.sep_id], device=ids.device)
        return torch.isin(ids, closing)
