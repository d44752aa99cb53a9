"""``mamo dvc``: write the stages of ``dvc.yaml``, run them, and record what Snakemake made on its own.

A stage decides nothing itself: what is up to date is decided by the digests in the runs' paths. It makes its page through
Snakemake, in parallel; then it writes the page once more from the runs' records, so that nothing else can be recorded under
their specs, and puts the finished runs into DVC's cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mamo.cli import options
from mamo.cli.children import call
from mamo.cli.dvc_artifacts import (
    DvcError,
    artifact,
    check_repository,
    dvc,
    record_runs,
    replace_if_other,
    share_results,
    write_tracked_json,
)
from mamo.cli.dvc_stages import DATA, REPORT, data_file, datasets_of, dvc_yaml
from mamo.cli.snakemakes import config_word
from mamo.files.stored import read_object
from mamo.reporting.figure_pages import maps_path
from mamo.reporting.pages import INDEX, OVERVIEW, Page, pages_of
from mamo.specs.plan import Plan

FILE = Path("dvc.yaml")
ACTIONS = {
    "write": "write dvc.yaml from the ablation files",
    "check": "status 1 if dvc.yaml is out of date",
    "run": "make a stage's pages through Snakemake and record its runs; the stages call it",
    "record": "record what is already made, however it was made, so that dvc repro agrees",
}


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "dvc",
        help="write dvc.yaml, run its stages, record finished runs",
        description="; ".join(f"{name}: {words}" for name, words in ACTIONS.items()) + ".",
    )
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="write", help="default: write")
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", help="run, record: e.g. table5 data-coco report"
    )
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    plan = options.read_plan(args, others=True)
    if args.action in ("write", "check"):
        return _write_stages(plan, check=args.action == "check")
    stages = _stages(plan)
    for name in args.stages:
        options.check_name(name, stages, f"scale '{plan.scale.name}' has no stage")
    try:
        check_repository()
        if args.action == "record":
            return _record_finished(plan, args.stages or stages, args)
        for name in args.stages:
            _make_stage(plan, name, args)
    except DvcError as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 1
    return 0


def _write_stages(plan: Plan, check: bool) -> int:
    text = dvc_yaml(plan, options.ABLATIONS)
    if not check:
        FILE.write_text(text, encoding="utf-8")
        return 0
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{FILE} is not what the ablation files make: call `mamo dvc write`", file=sys.stderr)
    return 1


def _stages(plan: Plan) -> list[str]:
    data = [f"{DATA}{name}" for name in datasets_of(plan)]
    return [*data, *(page.name for page in _collected(plan)), REPORT]


def _collected(plan: Plan) -> list[Page]:
    """Return the pages that show runs: tables, figures and the claims."""
    return [page for page in pages_of(plan, options.ABLATIONS).values() if page.inputs]


def _pages(plan: Plan, stage: str) -> list[Page]:
    """List the pages that a stage makes or shows again."""
    return [page for page in _collected(plan) if stage == page.name or (stage == REPORT and page.listed)]


def _runs_of_stage(plan: Plan, stage: str) -> set[str]:
    """Return the runs behind a stage."""
    if stage.startswith(DATA):
        return plan.closure([datasets_of(plan)[stage.removeprefix(DATA)]])
    return plan.closure(key for page in _pages(plan, stage) for key in page.inputs)


def _values_path(plan: Plan, page: Page, results: Path) -> Path:
    """Return the path of the values that a page is drawn from, as the workflow keeps them."""
    if page.name in plan.figures:
        return maps_path(plan, page.name, results)
    return results / "tables" / f"{page.id}.json"


def _make_stage(plan: Plan, stage: str, args: argparse.Namespace) -> None:
    """Make what a stage is missing, write its small files from the records, and record its runs."""
    temporary = share_results(Path(options.setting(args, "results")))
    results = options.results_of(args)
    if stage.startswith(DATA):
        record = plan.runs[datasets_of(plan)[stage.removeprefix(DATA)]].record(results)
        if not record.is_file():
            _run_command(
                "snakemake",
                *_snakemake_profile(),
                "--no-hooks",
                "--config",
                config_word("scale", plan.scale.name),
                "--",
                str(record),
            )
    else:
        for page in _pages(plan, stage):
            if _lacking(plan, page, results):
                # Snakemake does not rebuild a missing run if the values computed from it exist.
                _values_path(plan, page, results).unlink(missing_ok=True)
        try:
            _run_command("mamo", "reproduce", "--no-record", *[] if stage == REPORT else [stage])
        except DvcError:
            _check_unchanged(plan, stage, args)  # the likelier reason, and the one to name
            raise
    _check_unchanged(plan, stage, args)
    lacking = [key for page in _pages(plan, stage) for key in _lacking(plan, page, results)]
    if lacking:
        raise DvcError(f"{stage} lacks {', '.join(lacking)}: `mamo explain {lacking[0]}` says more")
    _publish(plan, [stage], args)
    if temporary:
        print(
            "A temporary experiment: its runs are in the project's results; record them with `mamo dvc record` there."
        )
        return
    new = record_runs(plan, _runs_of_stage(plan, stage), results)
    print(f"{len(new)} runs recorded, {len(_runs_of_stage(plan, stage)) - len(new)} recorded before")


def _check_unchanged(plan: Plan, stage: str, args: argparse.Namespace) -> None:
    """Check that the files still plan what the stage was made for.

    Raises:
        DvcError: they were edited meanwhile.
    """
    after = options.read_plan(args, others=True)
    if _identity(after, stage) != _identity(plan, stage):
        raise DvcError(
            f"the files of {options.ABLATIONS} changed while {stage} was made: call the same command again"
        )


def _lacking(plan: Plan, page: Page, results: Path) -> list[str]:
    """Return the runs that a page reads and that have no record."""
    return [key for key in page.inputs if not plan.runs[key].record(results).is_file()]


def _identity(plan: Plan, stage: str) -> set[str]:
    """Identity of everything that a stage's small files show."""
    return _runs_of_stage(plan, stage) | {page.id for page in _pages(plan, stage)}


def _record_finished(plan: Plan, stages: Iterable[str], args: argparse.Namespace) -> int:
    """Record every finished run behind the stages, and each stage that is complete and as planned."""
    results = options.results_of(args)
    stages = list(stages)
    new = record_runs(plan, set().union(*(_runs_of_stage(plan, stage) for stage in stages)), results)
    print(f"{len(new)} runs recorded")
    whole = [
        stage
        for stage in stages
        if all(plan.runs[key].record(results).is_file() for key in _runs_of_stage(plan, stage))
        and _drawn(plan, stage, args)
    ]
    changed = json.loads(dvc("status", "--json", *whole) or "{}") if whole else {}
    changed_stages = [stage for stage in whole if stage in changed]
    if changed_stages:  # the others were recorded with the same inputs
        _publish(plan, changed_stages, args)
        dvc("commit", "--force", *changed_stages)
    for stage in stages:
        state = (
            "recorded" if stage in changed_stages else "recorded before" if stage in whole else "not made yet"
        )
        print(f"{stage}: {state}")
    return 0


def _drawn(plan: Plan, stage: str, args: argparse.Namespace) -> bool:
    """Check that drawn figures and ``index.html`` are there as planned: records alone do not suffice to write them."""
    results, reports = options.results_of(args), options.reports_of(args)
    if stage == REPORT:
        page = pages_of(plan, options.ABLATIONS)[INDEX]
        return not page.stale(reports) and (reports / page.files[0]).is_file()
    return stage not in plan.figures or all(
        _values_path(plan, page, results).is_file() for page in _pages(plan, stage)
    )


def _publish(plan: Plan, stages: Iterable[str], args: argparse.Namespace) -> None:
    """Write the stages' small files from the records: pages and the data sets' manifests."""
    results, reports = options.results_of(args), options.reports_of(args)
    pages = pages_of(plan, options.ABLATIONS)
    requested = [
        pages[name] for name in (OVERVIEW if stage == REPORT else stage for stage in stages) if name in pages
    ]
    drawn = [page for page in requested if page.name in plan.figures]
    with tempfile.TemporaryDirectory() as folder:
        if len(requested) > len(drawn):
            others = [page.name for page in requested if page not in drawn]
            _run_command("mamo", "report", *others, "--reports", folder, quiet=True)
        for page in drawn:
            maps = str(_values_path(plan, page, results))
            _run_command("mamo", "figure", page.name, "--values", maps, "--reports", folder, quiet=True)
        for page in requested:
            for file in page.files:
                replace_if_other((Path(folder) / plan.scale.name / file).read_bytes(), reports / file)
    for stage in stages:
        if stage.startswith(DATA):
            run = plan.runs[datasets_of(plan)[stage.removeprefix(DATA)]]
            manifest = read_object(run.directory(results) / "manifest.json")
            made = {"run": run.key, "artifact": str(artifact(run, plan.scale.name)), "manifest": manifest}
            write_tracked_json(made, reports / data_file(run.name))


def _snakemake_profile() -> list[str]:
    profile = options.profile_of(None)
    return ["--profile", profile] if profile else []


def _run_command(program: str, *words: str, quiet: bool = False) -> None:
    """Call a command of this environment and show its output as it comes; with ``quiet`` show only its errors."""
    module = {"mamo": "mamo.cli"}.get(program, program)
    shown = subprocess.DEVNULL if quiet else None
    if call([sys.executable, "-m", module, *words], shown):
        raise DvcError(
            f"`{program} {' '.join(words)}` failed; finished work is kept, and the same command resumes from there"
        )
