"""A run's identity: a readable name and a digest of all that changes its numbers.

The digest covers the resolved spec, the identities of the run's inputs and the revision of the method that the run's kind
executes. It stands in the run's path, so a result that exists is the result of exactly that spec.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

SpecValues = Mapping[str, Any]
"""A spec, or a part of one, as plain JSON values; or overrides by dotted names."""
Kind = Literal["data", "weights", "pretrain", "finetune"]

# Raise a kind's revision with every change of code that changes its numbers; the golden-number test fails until then.
REVISIONS: dict[Kind, int] = {"data": 2, "weights": 3, "pretrain": 2, "finetune": 3}

# Settings that came after runs existed, each with the value at which a run is what it was without it: there it stays out of the
# digest.
NEUTRAL: Mapping[Kind, SpecValues] = {
    "pretrain": {"masking.unit": "subword", "masking.span_words": 3.8, "objectives.distillation": None}
}

DIGEST_LENGTH = 10


def digest(value: Any) -> str:
    """A short hexadecimal digest of any JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


@dataclass(frozen=True)
class Run:
    """One execution of a spec.

    Attributes:
        kind: what is executed.
        name: readable, made from the spec's differences to the scale's own.
        spec: the resolved spec as plain JSON values.
        inputs: role -> the input run's ``kind/id``.
    """

    kind: Kind
    name: str
    spec: SpecValues
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The digest of spec, inputs' digests and method revision; names do not enter."""
        inputs = {role: key.rsplit("-", 1)[1] for role, key in self.inputs.items()}
        spec = _without(self.spec, NEUTRAL.get(self.kind, {}))
        return digest({"kind": self.kind, "revision": REVISIONS[self.kind], "spec": spec, "inputs": inputs})

    @property
    def id(self) -> str:
        """Name and digest: the run's directory."""
        return f"{self.name}-{self.digest}"

    @property
    def key(self) -> str:
        """Kind and id: unique within a scale's results, and the path below them."""
        return f"{self.kind}/{self.id}"

    def directory(self, results: Path) -> Path:
        """Where the run lives below ``results`` (one scale's results)."""
        return results / self.kind / self.id

    def record(self, results: Path) -> Path:
        """The run's record, written last: where it exists, the run is done."""
        return self.directory(results) / "record.json"


def _without(spec: SpecValues, neutral: SpecValues, prefix: str = "") -> dict[str, Any]:
    """The spec without the settings, named by dotted keys, that hold their neutral value."""
    left = {}
    for key, value in spec.items():
        dotted = f"{prefix}{key}"
        if dotted in neutral and neutral[dotted] == value:
            continue
        left[key] = _without(value, neutral, f"{dotted}.") if isinstance(value, Mapping) else value
    return left


def difference_name(stem: str, changes: SpecValues) -> str:
    """``stem`` followed by the leaves of dotted ``changes``, e.g. ``mamo-epochs_10-no_mrm``, as a file name."""
    words = [stem]
    for dotted, value in sorted(changes.items()):
        leaf = dotted.rsplit(".", 1)[-1]
        if isinstance(value, Mapping):  # a section that the base has switched off
            value = "_".join(map(str, flatten(value).values()))
        words.append(
            f"no_{leaf}" if value is None or value is False else leaf if value is True else f"{leaf}_{value}"
        )
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(words))[:80]


def flatten(values: SpecValues, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def changes(base: SpecValues, other: SpecValues, prefix: str = "") -> dict[str, Any]:
    """What differs from ``base`` in ``other``, as dotted keys with ``other``'s values; a section switched off is one."""
    found: dict[str, Any] = {}
    for key in [*base, *(k for k in other if k not in base)]:
        ours, theirs = base.get(key), other.get(key)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            found |= changes(ours, theirs, f"{prefix}{key}.")
        elif ours != theirs:
            found[f"{prefix}{key}"] = theirs
    return found
