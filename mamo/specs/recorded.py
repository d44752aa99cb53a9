"""Check a recorded run against the current specs: do its settings still resolve to the digest in its name?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel

from mamo.files.record import Record
from mamo.specs.finetune import FinetuneSpec
from mamo.specs.identity import REVISIONS, Kind, Run, SpecValues
from mamo.specs.overrides import SpecError, build
from mamo.specs.pretrain import PretrainSpec
from mamo.specs.scale import DatasetSpec
from mamo.specs.weights import TextWeightsSpec, VisionWeightsSpec, VisualTokensSpec
from mamo.specs.world import WorldSpec

KINDS: tuple[Kind, ...] = get_args(Kind)
_WEIGHTS: Mapping[str, type[BaseModel]] = {
    "vision": VisionWeightsSpec,
    "text": TextWeightsSpec,
    "visual_tokens": VisualTokensSpec,
}
# Keys that the planner adds to a spec beside the settings of its schema.
_BESIDES = ("dataset", "role", "model")


def resolve(record: Record) -> Run:
    """Rebuild the run of a record, with its settings read by the current schemas.

    Raises:
        SpecError: it is not a current run: another revision of the method, a setting that is gone or has another meaning, an
            input whose name has no digest, or a name whose digest is not that of the settings. The message says which.
    """
    name = record.run[:200]
    kind = next((kind for kind in KINDS if kind == record.kind), None)
    if kind is None:
        raise SpecError(f"{name}: kind {record.kind[:60]!r} is none of {', '.join(KINDS)}")
    where = f"{kind}/{name}"
    if record.revision != REVISIONS[kind]:
        raise SpecError(
            f"{where}: made by revision {record.revision} of {kind}; this code has revision {REVISIONS[kind]}"
        )
    if not record.spec:
        raise SpecError(f"{where}: says no spec")
    for role, key in record.inputs.items():
        if "/" not in key or "-" not in key:
            raise SpecError(f"{where}: input {role} is {key[:60]!r}, not the key of a run")
    run = Run(kind, record.name, _today(kind, record.spec, where), record.inputs)
    if run.id != name:
        raise SpecError(
            f"{where}: its settings resolve to {run.id} today, so it is not the result that its name says"
        )
    return run


def _today(kind: Kind, spec: SpecValues, where: str) -> dict[str, Any]:
    """Complete the recorded settings with the defaults of the current schema."""
    besides = {key: spec[key] for key in _BESIDES if key in spec and kind in ("data", "weights")}
    own = {key: value for key, value in spec.items() if key not in besides}
    schema: Any
    if kind == "pretrain":
        schema = PretrainSpec
    elif kind == "finetune":
        schema = FinetuneSpec
    elif kind == "weights":
        role = str(besides.get("role"))[:60]
        if role not in _WEIGHTS:
            raise SpecError(f"{where}: no starting weights have the role {role!r}")
        schema = _WEIGHTS[role]
    elif "dataset" in besides:
        schema, besides["source"] = DatasetSpec, own.pop("source", None)
    else:
        schema = WorldSpec
    values = build(schema, own, where).model_dump(mode="json")
    return {**besides, **values}
