"""Wrong results: what runs leave for one another, damaged or changed: prepared data, parts, records, weights, checkpoints."""

from __future__ import annotations

import functools
import hashlib
import json
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tiny
from bad_inputs import FIELD, IDENTICAL, JSON, LEFT_OUT, TEXT, Case, Silent, field_cases, snapshot, text_cases
from bad_release_texts import some

BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda c: b"",
    "cut in half": lambda c: c[: len(c) // 2],
    "without its last byte": lambda c: c[:-1],
    "a byte too long": lambda c: c + b"\0",
    "a flipped bit in the middle": lambda c: (
        c[: len(c) // 2] + bytes([c[len(c) // 2] ^ 1]) + c[len(c) // 2 + 1 :]
    ),
    "zeros": lambda c: bytes(len(c)),
    "a page of a server": lambda c: b"<html>404</html>",
    "a pickle": lambda c: pickle.dumps({"a": 1}),
}
READERS = ("prepared data", "parts", "answers", "record", "scores", "weights", "checkpoints", "tokenizer")
RECORD = "data/vqa2-0123456789/record.json"


def write_clean(root: Path, releases: Path) -> None:
    """One of each thing that runs leave, without a fault."""
    from mamo.data.store.parts import write_part
    from mamo.data.store.prepare import prepare
    from mamo.runs.save import save_network_config, save_tensors
    from mamo.training.checkpoints import Checkpoints

    prepare("vqa2", releases, root / "vqa2", store_size=32)
    for part in (0, 1):
        write_part("coco", releases, root / "coco", part, 2, store_size=32)
    record = {"run": "vqa2-0123456789", "kind": "data", "outcome": {"status": "converged", "reason": ""}}
    record |= {"metrics": {"accuracy": 61.5, "chance/accuracy": 30.0}, "spec": {}, "inputs": {}}
    (root / RECORD).parent.mkdir(parents=True)
    (root / RECORD).write_text(json.dumps(record))
    (root / "vqa_scores.json").write_text(json.dumps({"test-dev": 71.5, "test-std": None}))
    words = tiny.tokenizer(root / "words")
    network = tiny.network(words)
    (root / "network").mkdir()
    save_network_config(network, root / "network")
    save_tensors(
        {f"online.network.{n}": t for n, t in network.state_dict().items()},
        root / "network/model.safetensors",
    )
    checkpoints = Checkpoints(root / "checkpoints")
    for step in (1, 2):
        checkpoints.save(step, {"step": step})


def load(reader: str, root: Path) -> Any:
    """Read the results below ``root`` into something to compare."""
    from mamo.data.releases import candidates
    from mamo.data.releases.vqa_server import read_scores
    from mamo.data.store.parts import join_parts
    from mamo.data.tokenizer import Tokenizer
    from mamo.files.stored import read_record_file
    from mamo.runs.save import load_network
    from mamo.training.checkpoints import Checkpoints

    if reader == "prepared data":
        return snapshot(root / "vqa2")
    if reader == "parts":
        join_parts("coco", root, root / "coco", 2, store_size=32, missing_limit=0.0)
        return snapshot(root / "coco")
    if reader == "answers":
        return candidates.read(root / "vqa2", 1)
    if reader == "record":
        return read_record_file(root / RECORD)
    if reader == "scores":
        return read_scores(root)
    if reader == "weights":
        state = load_network(root / "network").state_dict()
        return {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in state.items()}
    if reader == "checkpoints":
        return Checkpoints(root / "checkpoints").load()
    return Tokenizer.load(root / "words").encode(["a small red cat"])[0].tolist()


class Results:
    """Reads wrong results, and compares what came of them with the clean ones."""

    def __init__(self, clean: Path, work: Path) -> None:
        self.clean, self.work = clean, work
        self._clean: dict[str, Any] = {}

    def _copy(self) -> Path:
        root = self.work / "results"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.clean, root)
        return root

    def verdict(self, case: Case) -> str:
        """Read the wrong file; its exceptions go on to the caller."""
        if case.reader not in self._clean:
            self._clean[case.reader] = load(case.reader, self._copy())
        root = self._copy()
        case.mutate(root)
        read = load(case.reader, root)
        if read == self._clean[case.reader]:
            return IDENTICAL
        if case.reader == "checkpoints" and read == {"step": 1}:
            return LEFT_OUT  # the newest is damaged: a warning says so, and the one before is used
        raise Silent(f"{case.id}: read as something else: {str(read)[:200]}")


def _bytes_cases(reader: str, file: str, ways: dict[str, Callable[[bytes], bytes]] = BYTES) -> Iterator[Case]:
    return text_cases(reader, file, ways)


def _newest(root: Path, change: Callable[[bytes], bytes], named: bool) -> None:
    """The newest checkpoint changed, under a name that bears its old checksum or the new one."""
    path = sorted((root / "checkpoints").glob("step-*.pt"))[-1]
    content = change(path.read_bytes())
    path.write_bytes(content)
    if named:
        path.rename(path.with_name(f"step-000000002-{hashlib.sha256(content).hexdigest()[:16]}.pt"))


def cases() -> Iterator[Case]:
    """All wrong results."""
    manifest = "vqa2/manifest.json"
    yield from text_cases("prepared data", manifest, JSON)
    for path in (("images",), ("kind",), ("files",), ("files", 0, "file"), ("files", 0, "bytes"), ("files", 0, "sha256"),
                 ("splits",), ("splits", "train", "records"), ("splits", "train", "images")):  # fmt: skip
        yield from field_cases("prepared data", manifest, path, "", some(FIELD, "ten megabytes"))
    for file in ("vqa2/images/00000.arrow", "vqa2/records/train.arrow"):
        yield from _bytes_cases("prepared data", file)
    account, part = (f"coco/parts/00001-of-00002.{suffix}" for suffix in ("json", "arrow"))
    yield from text_cases("parts", account, TEXT)
    for path in (
        ("store_size",),
        ("counts",),
        ("file",),
        ("file", "file"),
        ("file", "sha256"),
        ("examples",),
    ):
        yield from field_cases("parts", account, path, "", some(FIELD, "ten megabytes", "an object"))
    yield from _bytes_cases("parts", part)
    yield from text_cases("answers", "vqa2/candidates.json", TEXT)
    yield from field_cases(
        "answers", "vqa2/candidates.json", ("counts",), "", some(FIELD, "an object", "ten megabytes")
    )
    yield from (case for case in text_cases("record", RECORD, TEXT) if case.name != "missing")
    for path in (("outcome",), ("outcome", "status"), ("metrics", "accuracy"), ("run",)):
        ways = some(
            FIELD,
            "ten megabytes",
            "a number",
            "a whole number",
            "minus one",
            "a long number",
            "NaN",
            "infinity",
        )
        for case in field_cases("record", RECORD, path, "", ways):
            if case.name not in ("metrics/accuracy missing", "run missing"):
                yield case
    for case in text_cases("scores", "vqa_scores.json", TEXT):
        if case.name != "missing":
            yield case
    yield from field_cases(
        "scores", "vqa_scores.json", ("test-std",), "", some(FIELD, "null", "a number", "a whole number")
    )
    weights, config = "network/model.safetensors", "network/config.json"
    no_checksum = {name: change for name, change in BYTES.items() if "flipped" not in name}
    for case in _bytes_cases("weights", weights, no_checksum):
        if case.name not in ("missing", "a folder"):  # a folder may hold them under another name
            yield case
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    for name, content in {
        "a header of 8 exabytes": struct.pack("<Q", 1 << 62) + b"{}",
        "a tensor of 4 TiB": struct.pack("<Q", len(header)) + header,
        "tensors of another model": struct.pack("<Q", 2) + b"{}",
    }.items():
        yield Case(
            "weights",
            name,
            weights,
            functools.partial(lambda root, c: (root / weights).write_bytes(c), c=content),
        )  # type: ignore[misc]
    for case in text_cases("weights", config, TEXT):
        if case.name != "missing":
            yield case
    for path in (("vocab_size",), ("model",), ("model", "width")):
        for case in field_cases("weights", config, path, "", some(FIELD, "ten megabytes", "a whole number")):
            if case.name != "model/width missing":
                yield case
    for name, change in BYTES.items():
        yield Case("checkpoints", name, "checkpoints", functools.partial(_newest, change=change, named=False))
    owned = b"\x80\x02cos\nsystem\nX\x0b\x00\x00\x00touch owned\x85R."
    yield Case("checkpoints", "a call under a true checksum", "checkpoints",
               functools.partial(_newest, change=lambda c: owned, named=True))  # fmt: skip
    for file in ("words/tokenizer.json",):
        for case in text_cases("tokenizer", file, TEXT):
            if case.name != "missing":  # vocab.txt holds the same
                yield case
