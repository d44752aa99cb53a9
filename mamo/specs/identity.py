"""A run's identity: a readable name and a digest of everything that changes its numbers.

The digest covers the resolved spec, the identities of the run's inputs and the revision of the method that the run's kind
executes. It is part of the run's path, so an existing result is the result of exactly that spec.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mamo.specs.pretrain import ADDED_LATER

SpecValues = Mapping[str, Any]
"""A spec, or a part of one, as plain JSON values; or overrides by dotted names."""
Kind = Literal["data", "weights", "pretrain", "finetune"]

# Raise a kind's revision with every change of code that changes its numbers; the golden-number test fails until then.
REVISIONS: dict[Kind, int] = {"data": 2, "weights": 3, "pretrain": 2, "finetune": 3}

# Settings added after results already existed. At the value given here a setting is left out of the digest, so earlier runs
# keep their identity.
NEUTRAL: Mapping[Kind, SpecValues] = {
    "weights": {"teacher": None, "model.stem": None},
    "pretrain": ADDED_LATER,
}

DIGEST_LENGTH = 10


def digest(value: Any) -> str:
    """Compute a short hexadecimal digest of any JSON value, independent of the order of keys."""
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
        """Name and digest, which name the run's directory."""
        return f"{self.name}-{self.digest}"

    @property
    def key(self) -> str:
        """Kind and id: unique within a scale's results, and the path below them."""
        return f"{self.kind}/{self.id}"

    def directory(self, results: Path) -> Path:
        """Return the path of the run below ``results`` (one scale's results)."""
        return results / self.kind / self.id

    def record(self, results: Path) -> Path:
        """Return the path of the run's record, which is written last: if it exists, the run is done."""
        return self.directory(results) / "record.json"


def _without(spec: SpecValues, neutral: SpecValues, prefix: str = "") -> dict[str, Any]:
    """Return the spec without the settings, named by dotted keys, that have their neutral value."""
    left = {}
    for key, value in spec.items():
        dotted = f"{prefix}{key}"
        if dotted in neutral and neutral[dotted] == value:
            continue
        left[key] = _without(value, neutral, f"{dotted}.") if isinstance(value, Mapping) else value
    return left


def difference_name(stem: str, changes: SpecValues) -> str:
    """Return ``stem`` followed by the leaves of dotted ``changes``, e.g. ``mamo-epochs_10-no_mrm``, as a file name."""
    words = [stem]
    for dotted, value in sorted(changes.items()):
        leaf = dotted.rsplit(".", 1)[-1]
        if isinstance(value, Mapping):  # a section that is switched off in the base
            value = "_".join(map(str, flatten(value).values()))
        words.append(
            f"no_{leaf}" if value is None or value is False else leaf if value is True else f"{leaf}_{value}"
        )
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(words))[:80]


def flatten(values: SpecValues, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def changes(base: SpecValues, other: SpecValues, prefix: str = "") -> dict[str, Any]:
    """Compare two specs: dotted keys that differ, with ``other``'s values; a section that is switched off is one key."""
    differing: dict[str, Any] = {}
    for key in [*base, *(k for k in other if k not in base)]:
        ours, theirs = base.get(key), other.get(key)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            differing |= changes(ours, theirs, f"{prefix}{key}.")
        elif ours != theirs:
            differing[f"{prefix}{key}"] = theirs
    return differing
