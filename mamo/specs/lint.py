"""Whether a row of an ablation differs from its base row in more than its label says.

A table that names one change and makes two shows nothing. A row's resolved spec is compared with the base row's, and each
setting that differs must be claimed: by a word of the label (the setting's own, one of ``WORDS``, or its value), by a list of
objectives, or by the row's ``besides``, which says why it changes too and which the table's page prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mamo.specs.ablation import RowSpec
from mamo.specs.identity import SpecValues, changes
from mamo.specs.plan import Plan, TablePlan

OBJECTIVES = ("itc", "itm", "mlm", "mim", "mrm")
# Words that claim a setting beside those of its own name.
WORDS: Mapping[str, tuple[str, ...]] = {
    "target.momentum": ("ema",),
    "target.horizon": ("ema",),
    "objectives.mrm.image": ("words",),
    "objectives.mrm.text": ("image", "patches"),
    "schedule.epochs": ("epoch",),
}


def findings(plan: Plan) -> list[str]:
    """What the lint has to say of a plan's tables, one line per finding; nothing if all labels say what their rows change."""
    return [line for table in plan.tables.values() for line in table_findings(plan, table)]


def table_findings(plan: Plan, table: TablePlan) -> Iterator[str]:
    """Findings on one table."""
    ablation = table.ablation
    if not ablation.rows:
        return
    base = plan.runs[table.pretrainings[ablation.base_row][0]]
    seen: dict[tuple[str, str | None], str] = {}
    rows = ablation.rows
    if (
        ablation.kind == "readings"
    ):  # what a reading sets is its own; what a model changes is compared under the first one
        rows = rows[: len(ablation.models)]
    for row in rows:
        where = f"ablations/{ablation.name}.yaml: row '{row.key}' ('{row.label}')"
        run = plan.runs[table.pretrainings[row.key][0]]
        twin = seen.setdefault((run.key, row.series), row.key)
        if twin != row.key:
            yield f"{where} is the same run as row '{twin}'"
        different = changes(base.spec, run.spec)
        named = _named_objectives(row.label)
        active = {name for name in OBJECTIVES if run.spec["objectives"][name]}
        if named is not None and named != active:
            yield f"{where} names the objectives {_listed(named)}, and trains {_listed(active)}"
        for setting in row.besides:
            if setting not in different:
                yield f"{where}: 'besides' names {setting}, which is the base row's"
        for setting, value in different.items():
            if setting in row.besides or _claimed(setting, value, row, named is not None):
                continue
            old = _at(base.spec, setting)
            yield (
                f"{where} also changes {setting} from {old} to {value}, which its label does not say; name it there, or say "
                "why in the row's 'besides'"
            )


def _claimed(setting: str, value: Any, row: RowSpec, lists_objectives: bool) -> bool:
    """Whether the label claims a setting."""
    leaf = setting.rsplit(".", 1)[-1]
    if lists_objectives and setting in {f"objectives.{name}" for name in OBJECTIVES}:
        return True
    label = row.label.lower()
    tokens = set(re.findall(r"[a-z]+|\d+(?:\.\d+)?", label))
    own = set(WORDS.get(setting, ()))
    if value or re.search(
        r"\bw/o\b|\bno\b|\bwithout\b", label
    ):  # what is switched off must be said to be off
        own |= {word for word in leaf.split("_") if len(word) > 2}
    numbers = {token for token in tokens if token[0].isdigit()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        said = {f"{value:g}", f"{100 * value:g}"}
        # A label with numbers must give this one: "image 25 %" does not claim a ratio of 0.5.
        return bool(said & numbers) or (bool(own & tokens) and not numbers)
    if isinstance(value, str) and value.replace("_", " ") in label:
        return True
    return bool(own & tokens)


def _named_objectives(label: str) -> set[str] | None:
    """The objectives that a label lists, if it lists several: ``ITC+ITM, MLM``."""
    name = rf"(?:{'|'.join(OBJECTIVES)})"
    found = re.search(rf"{name}(?:\s*[+,]\s*{name})+", label, re.IGNORECASE)
    return set(re.findall(name, found[0].lower())) if found else None


def _listed(names: set[str]) -> str:
    return "+".join(name.upper() for name in OBJECTIVES if name in names)


def _at(spec: SpecValues, dotted: str) -> Any:
    value: Any = spec
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
