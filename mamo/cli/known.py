"""``python -m mamo.cli.known``: print names for shell completion. Imports only what a list needs, so that it is fast."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

ABLATIONS = Path("ablations")
# Kind of run that a command takes; other commands take any run, including executed ones that are no longer planned.
KINDS = {
    "prepare": ("data",),
    "weights": ("weights",),
    "pretrain": ("pretrain",),
    "finetune": ("finetune",),
    "evaluate": ("finetune",),
    "export": ("pretrain", "finetune"),
}


def main(argv: list[str]) -> int:
    """Print a list of names.

    Args:
        argv: the kind of names (scales, tables, pages, runs or anything), then the words of the line being typed.
    """
    what, words = argv[0], argv[1:]
    names = {"scales": scales, "tables": table_names, "pages": pages}.get(what)
    listed: Iterable[str]
    if names is not None:
        listed = names()
    else:
        listed = runs(words) if what == "runs" else [*table_names(), *runs(words)]
    print("\n".join(dict.fromkeys(listed)))
    return 0


def scales() -> list[str]:
    """List the scales of this project."""
    return sorted(path.stem for path in (ABLATIONS / "scales").glob("*.yaml"))


def table_names() -> list[str]:
    """List tables, curves and figures."""
    return sorted(
        path.stem for folder in (ABLATIONS, ABLATIONS / "figures") for path in folder.glob("*.yaml")
    )


def pages() -> list[str]:
    """List the pages of a report."""
    return [*table_names(), "overview", "claims", "index"]


def runs(words: list[str]) -> Iterable[str]:
    """List ids of planned and executed runs, for the scale named in the line or else in ``params.yaml``."""
    scale = _option(words, "scale") or "smoke"
    executed = (Path(_option(words, "results") or "results") / scale).glob("*/*/record.json")
    keys = [*_planned_keys(scale), *(f"{path.parts[-3]}/{path.parts[-2]}" for path in executed)]
    command = next((word for word in words[1:] if not word.startswith("-")), "")
    kinds = KINDS.get(command)
    return [key.partition("/")[2] for key in keys if kinds is None or key.partition("/")[0] in kinds]


def _option(words: list[str], name: str) -> str | None:
    """Read an option from the line (``--scale demo``, ``--scale=demo``, as shells split it), else from ``params.yaml``."""
    text = " ".join(words)
    match = re.search(rf"--{name}(?: = |=| )(\S+)", text)
    if match is None:
        with suppress(OSError, UnicodeDecodeError):
            params = Path("params.yaml").read_text(encoding="utf-8")
            match = re.search(rf"^{name}:\s*['\"]?([^\s'\"#]+)", params, re.M)
    return match[1] if match and match[1] != "null" else None


def _planned_keys(scale: str) -> list[str]:
    """List the keys of a scale's planned runs.

    They are cached beside its logs until a settings file changes, since planning takes a second.
    """
    kept = Path("logs") / scale / "names.txt"
    files = [*ABLATIONS.rglob("*.yaml"), Path("params.yaml")]
    newest = max((path.stat().st_mtime for path in files if path.is_file()), default=0.0)
    with suppress(OSError, UnicodeDecodeError):
        if kept.stat().st_mtime > newest:
            return kept.read_text(encoding="utf-8").split()
    if scale not in scales():
        return []
    from mamo.specs.overrides import SpecError
    from mamo.specs.plan import make_plan

    try:
        keys = list(make_plan(scale, ABLATIONS, others=True).runs)
    except SpecError:
        return []
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text("\n".join(keys) + "\n", encoding="utf-8")
    return keys


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
