"""``mamo plan``: show what a scale trains, and what its tables share."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any

from mamo.cli import options
from mamo.specs.identity import Kind
from mamo.specs.names import nearest
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan
from mamo.specs.recorded import KINDS

if TYPE_CHECKING:
    from mamo.cost.runs import Hardware


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plan",
        help="show the runs that tables need, and what sharing saves",
        description="Show the distinct runs of a scale, or of some of its tables, and which tables read each of them.",
    )
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help="e.g. table5 figure6; none: all of the scale"
    )
    parser.add_argument(
        "--gpu",
        metavar="NAME",
        help="count operations, GPU-hours, disk and the critical path for this GPU; always counted for scales that read "
        "official releases (default: a100)",
    )
    parser.add_argument(
        "--gpus", type=int, default=16, metavar="N", help="GPUs of one training run (default: 16)"
    )
    parser.add_argument(
        "--mfu",
        type=float,
        default=0.45,
        metavar="SHARE",
        help="share of the GPU's peak that training reaches (default: 0.45)",
    )
    parser.add_argument(
        "--data-cores", type=int, default=64, metavar="N", help="cores that prepare data (default: 64)"
    )
    options.add_json(parser)
    options.add_scale(parser)
    options.add_results(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    plan = options.read_plan(args, args.tables)
    results = options.results_of(args)
    readers = readers_of(plan)
    if args.json:
        options.print_json(_values(plan, readers, args))
        return 0
    print(f"Scale {plan.scale.name}: {plan.scale.title}\nCost of the whole scale: {plan.scale.cost}\n")
    for kind in KINDS:
        for run in plan.by_kind(kind):
            state = "done" if run.record(results).is_file() else "to do"
            print(f"{kind:9} {state:6} {run.id:72} {' '.join(readers[run.key])}".rstrip())
    print()
    for name, table in plan.tables.items():
        print(f"{name}: {' '.join(table.ablation.cost.split())}")
    print(f"\n{sharing_sentence(plan)}")
    if args.gpu or plan.scale.data.source == "release":
        _cost(plan, args)
    return 0


def _values(plan: Plan, readers: dict[str, list[str]], args: argparse.Namespace) -> dict[str, Any]:
    """Return the plan as plain values."""
    from mamo.cost.runs import Costs

    results = options.results_of(args)
    costs = Costs(plan, results)
    counted = {} if costs.unknown else costs.runs
    hardware = _hardware(args)
    runs = [
        {
            "run": run.key,
            "kind": run.kind,
            "id": run.id,
            "name": run.name,
            "done": run.record(results).is_file(),
            "inputs": sorted(set(run.inputs.values())),
            "tables": readers[run.key],
            "operations": counted[run.key].flops if run.key in counted else None,
            "steps": counted[run.key].steps if run.key in counted else None,
            "hours": hardware.hours(counted[run.key]) if run.key in counted else None,
        }
        for run in plan.runs.values()
    ]
    return {
        "scale": plan.scale.name,
        "title": plan.scale.title,
        "cost": " ".join(plan.scale.cost.split()),
        "hardware": {"gpu": hardware.gpu, "gpus": hardware.gpus, "mfu": hardware.mfu},
        "tables": {
            name: {"cost": " ".join(table.ablation.cost.split()), "runs": sorted(plan.closure(table.inputs))}
            for name, table in plan.tables.items()
        },
        "figures": {name: sorted(plan.closure(figure.inputs)) for name, figure in plan.figures.items()},
        "runs": runs,
        "without_sharing": plan.requested,
        "unknown_until_prepared": costs.unknown,
    }


def _cost(plan: Plan, args: argparse.Namespace) -> None:
    from mamo.cost.report import cost_lines
    from mamo.cost.runs import Costs

    hardware = _hardware(args)
    costs = Costs(plan, options.results_of(args))
    print()
    if costs.unknown:
        print(f"The cost can be counted once these data sets are prepared: {' '.join(costs.unknown)}")
        return
    for line in cost_lines(plan, costs, hardware):
        print(line)


def _hardware(args: argparse.Namespace) -> Hardware:
    """Read the hardware to count costs for.

    Raises:
        SpecError: no such GPU, or a number out of its range.
    """
    from mamo.cost.runs import GPUS, Hardware

    name = args.gpu or "a100"
    if name not in GPUS:
        raise SpecError(f"unknown --gpu {name}{nearest(name, GPUS)}")
    if not 0 < args.mfu <= 1 or args.gpus < 1 or args.data_cores < 1:
        raise SpecError("--mfu is a share above 0 and up to 1; --gpus and --data-cores are at least 1")
    return Hardware(name, args.gpus, args.mfu, args.data_cores)


def readers_of(plan: Plan) -> dict[str, list[str]]:
    """Run key -> the tables that read it, directly or through other runs."""
    readers: dict[str, list[str]] = {key: [] for key in plan.runs}
    for name, table in plan.tables.items():
        for key in plan.closure(table.inputs):
            readers[key].append(name)
    return readers


def sharing_sentence(plan: Plan) -> str:
    """Return one sentence on the distinct runs and on what sharing saves."""
    count = Counter(run.kind for run in plan.runs.values())
    parts = [f"{count[kind]} {words}" for kind, words in _WORDS.items() if count[kind]]
    saved = plan.requested - len(plan.runs)
    return f"{len(plan.runs)} distinct runs ({', '.join(parts)}); without sharing {plan.requested}: {saved} saved."


_WORDS: dict[Kind, str] = {
    "data": "data",
    "weights": "starting weights",
    "pretrain": "pre-trainings",
    "finetune": "downstream",
}
