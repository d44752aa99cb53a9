"""Runs that trained a model, by name."""

from __future__ import annotations

import difflib

from mamo.specs.identity import Run
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan


def find_trained(plan: Plan, name: str) -> Run:
    """The pre-training of this name or identity, else the fine-tuning; also by a start that only one of them has.

    Raises:
        SpecError: none, or several; the message lists those that come near.
    """
    name = name.rstrip("/").rsplit("/", 1)[-1]
    runs = [*plan.by_kind("pretrain"), *plan.by_kind("finetune")]
    for fits in (lambda run: name in (run.id, run.name), lambda run: run.id.startswith(name)):
        found = [run for run in runs if fits(run)]
        if len(found) == 1:
            return found[0]
        if found:
            listed = "\n  ".join(run.id for run in found)
            raise SpecError(f"'{name}' is ambiguous; the runs are\n  {listed}")
    near = difflib.get_close_matches(name, dict.fromkeys(run.name for run in runs), 3, 0.5)
    raise SpecError(
        f"'{name}' is no pre-training and no fine-tuning of scale '{plan.scale.name}'"
        + (f"; near it are {', '.join(near)}" if near else "; `mamo status --runs` lists them")
    )
