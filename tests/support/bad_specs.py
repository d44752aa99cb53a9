"""Wrong files of settings: scales, ablations, figures, the paper's numbers, claims and ``params.yaml``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from bad_inputs import FIELD, IDENTICAL, TEXT, Case, Silent, field_cases, text_cases

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "scale": "ablations/scales/demo.yaml",
    "ablation": "ablations/table5.yaml",
    "figure": "ablations/figures/figure1.yaml",
    "paper's numbers": "ablations/paper/arxiv/table5.yaml",
    "claims": "ablations/paper/arxiv/claims.yaml",
    "params": "params.yaml",
}


def _bomb() -> bytes:
    """Nine levels of nine aliases each: 387 million values out of half a kilobyte."""
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]".encode() for i in range(1, 9)]
    return b"\n".join(levels)


def _appended(piece: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content + b"\n" + piece + b"\n"


def _twice(content: bytes) -> bytes:
    return content + f"\n{next(iter(yaml.safe_load(content)))}: again\n".encode()


YAML: dict[str, Callable[[bytes], bytes]] = TEXT | {
    "a list": lambda c: b"[]",
    "a number": lambda c: b"3",
    "null": lambda c: b"null",
    "a key twice": _twice,
    "an unknown key": _appended(b"unknwon: 3"),
    "in a circle": _appended(b"loop: &loop\n  again: *loop"),
    "a list in itself": _appended(b"loop: &loop [*loop]"),
    "a bomb of aliases": _appended(_bomb()),
    "an alias of nothing": _appended(b"x: *nowhere"),
    "a Python object": _appended(b"x: !!python/object/apply:os.system ['touch owned']"),
    "a Python name": _appended(b"x: !!python/name:os.system"),
    "an unknown tag": _appended(b"x: !Thing 3"),
    "a merge key": _appended(b"<<: {a: 1}"),
    "a date that is none": _appended(b"x: 2024-13-45"),
    "a number of 5,000 digits": _appended(b"x: " + b"9" * 5000),
    "a tab": _appended(b"\tx: 1"),
    "two documents": _appended(b"---\na: 1"),
    "a list as key": _appended(b"? [a]\n: 1"),
    "a number as key": _appended(b"3: 1"),
    "broken base64": _appended(b"x: !!binary '%%%'"),
    "nested 5,000 deep": _appended(b"x: " + b"[" * 5000 + b"]" * 5000),
    "ten megabytes": _appended(b"x: " + b"a" * 10_000_000),
}


def read(reader: str, root: Path) -> Any:
    """Read the files below ``root``."""
    from mamo.reporting.paper import load_paper
    from mamo.specs.ablation import read_ablation
    from mamo.specs.claims import read_claims
    from mamo.specs.figure import read_figure
    from mamo.specs.params import read_params
    from mamo.specs.scale import read_scale

    ablations = root / "ablations"
    readers: dict[str, Callable[[], Any]] = {
        "scale": lambda: read_scale("demo", ablations),
        "ablation": lambda: read_ablation("table5", ablations),
        "figure": lambda: read_figure("figure1", ablations),
        "paper's numbers": lambda: load_paper("table5", ablations),
        "claims": lambda: read_claims(ablations),
        "params": lambda: read_params(root / "params.yaml"),
    }
    return readers[reader]()


class Specs:
    """Reads wrong files of settings, and compares what came of them with the clean ones."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._clean: dict[str, Any] = {}

    def verdict(self, case: Case) -> str:
        """Read the wrong file; its exceptions go on to the caller."""
        root = self.work / "specs"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        shutil.copytree(ROOT / "ablations", root / "ablations")
        shutil.copy(ROOT / "params.yaml", root / "params.yaml")
        case.mutate(root)
        if case.reader not in self._clean:
            self._clean[case.reader] = read(case.reader, ROOT)
        if read(case.reader, root) != self._clean[case.reader]:
            raise Silent(f"{case.id}: read as something else")
        return IDENTICAL


def _dump(value: Any) -> bytes:
    def plain(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("\ue000"):
            return float(value[1:].replace("1e999", "inf"))
        if isinstance(value, list):
            return [plain(v) for v in value]
        return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value

    return yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=False).encode()


def _some(*without: str) -> dict[str, Any]:
    return {name: value for name, value in FIELD.items() if name not in without}


WHOLE = _some("a whole number", "a long number")
SHARE = _some("a whole number", "a long number", "a number", "ten megabytes")
WORD = _some(
    "another text",
    "half a character",
    "a NUL character",
    "an empty text",
    "a path upwards",
    "an absolute path",
)
CHOICE = _some()
SETTINGS: tuple[tuple[str, tuple[str | int, ...], Mapping[str, Any], bool], ...] = (
    ("scale", ("title",), WORD, False),
    ("scale", ("ablations",), _some("a list"), False),
    ("scale", ("data", "world", "seed"), _some("a whole number", "a long number", "minus one"), False),
    ("scale", ("data", "datasets", "coco", "store_size"), WHOLE, False),
    ("scale", ("pretrain", "batch_size"), WHOLE, False),
    ("scale", ("jobs", "vqa"), _some("null", "an object"), False),
    ("ablation", ("question",), WORD, True),
    ("ablation", ("rows",), CHOICE, True),
    ("ablation", ("rows", 1, "key"), WORD, True),
    ("ablation", ("columns", 0, "job"), WORD, True),
    ("figure", ("method",), CHOICE, True),
    ("figure", ("models",), CHOICE, True),
    ("figure", ("caption",), WORD, True),
    ("paper's numbers", ("unit",), CHOICE, False),
    ("paper's numbers", ("rows", 0, "values"), CHOICE, True),
    ("claims", ("claims", 2, "test"), CHOICE, True),
    ("claims", ("claims", 2, "claim"), WORD, True),
    ("params", ("scale",), _some(*(set(FIELD) - set(WORD)), "null"), False),
    ("params", ("micro_batch",), _some("null", "a whole number", "a long number", "minus one"), False),
    ("params", ("compile",), _some("null", "true"), False),
)


def cases() -> Iterator[Case]:
    """All wrong files of settings."""
    for reader, file in FILES.items():
        for case in text_cases(reader, file, YAML):
            # Nothing has to be set in params.yaml, and an edition need not give numbers or claims.
            if not (reader in ("params", "claims", "paper's numbers") and case.name == "missing"):
                if not (reader == "params" and case.name == "cut in half"):  # what is left is whole
                    yield case
    for reader, path, ways, required in SETTINGS:
        record = str(path[-1]) if isinstance(path[-1], str) else ""
        for case in field_cases(reader, FILES[reader], path, record, ways, yaml.safe_load, _dump):
            name = case.name.split(" ", 1)[1]
            if (required or name != "missing") and "ten megabytes" not in name:
                yield case
    for name, job in {
        "a command": "vqa; touch owned",
        "a path": "../../vqa",
        "braces": "{vqa}",
        "a space": "v q a",
    }.items():

        def rename(root: Path, job: str = job) -> None:
            path = root / FILES["scale"]
            values = yaml.safe_load(path.read_bytes())
            values["jobs"][job] = values["jobs"]["vqa"]
            path.write_bytes(_dump(values))

        yield Case("scale", f"a job is called like {name}", FILES["scale"], rename, "jobs")

    def circle(root: Path) -> None:
        path = root / FILES["scale"]
        path.write_bytes(path.read_bytes() + b"\nextends: demo\n")

    yield Case("scale", "extends itself", FILES["scale"], circle)
