"""``mamo explain``: say why a run or table would be made or not, and where a row's numbers come from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mamo.cli import options
from mamo.cli.explain_values import run_values, table_values
from mamo.cli.plan import KINDS
from mamo.cli.status import log_of, state_of
from mamo.files.record import Record
from mamo.files.stored import StoredError, read_record_file
from mamo.reporting.pages import Page, page_inputs, pages_of
from mamo.reporting.provenance import check_lines, row_lines, row_provenance
from mamo.runs.unpacked import marked_site, unpacked
from mamo.specs.identity import REVISIONS, Run, changes, flatten
from mamo.specs.origin import origin
from mamo.specs.plan import Plan

REVISIONS_FILE = "mamo/specs/identity.py"


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain",
        help="say why a run or a table would be made, or where a row's numbers come from",
        description="Say why a run or a table would be made: which key of which file differs from what was made before, from "
        "what to what. Or why there is nothing to do. With a table's row: the runs behind each of its numbers, with their "
        "resolved specs, seeds, data, code, packages, machine, time and outcome.",
    )
    parser.add_argument("what", metavar="RUN|TABLE", help=f"a table, or {options.RUN}")
    parser.add_argument("row", nargs="?", metavar="ROW", help="a row of the table, by its key")
    options.add_json(parser)
    options.add_folders(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    plan = options.read_plan(args, others=True)
    tables = plan.tables | plan.others
    if args.row is not None:
        options.check_name(args.what, tables, f"scale '{plan.scale.name}' has no table")
        table = tables[args.what]
        options.check_name(args.row, [row.key for row in table.ablation.rows], f"{args.what} has no row")
        facts = row_provenance(plan, table, args.row, options.results_of(args))
        if args.json:
            options.print_json(asdict(facts))
        else:
            print("\n".join(row_lines(facts)))
        return 0
    explainer = Explainer(plan, options.results_of(args), options.logs_of(args), options.ABLATIONS)
    if args.what in tables:
        page, reports = pages_of(plan, options.ABLATIONS)[args.what], options.reports_of(args)
        if args.json:
            options.print_json(table_values(explainer, page, reports))
        else:
            print("\n".join(explainer.table(page, reports)))
        return 0
    run = plan.find(KINDS, args.what, also=tables)
    if args.json:
        options.print_json(run_values(explainer, run))
    else:
        print("\n".join(explainer.run(run)))
    return 0


class Explainer:
    """Compare what is planned with what is recorded.

    Attributes:
        results: the scale's results.
        logs: the scale's logs.
    """

    def __init__(self, plan: Plan, results: Path, logs: Path, ablations: Path) -> None:
        self.plan, self.results, self.logs, self.ablations = plan, results, logs, ablations

    def run(self, run: Run) -> list[str]:
        """Explain why a run would be executed or not, and the same for each input that is missing."""
        lines = self._one(run)
        needed = self.plan.closure([run.key]) - {run.key}
        return lines + self._all(
            [other for key, other in self.plan.runs.items() if key in needed and not self._is_done(other)]
        )

    def _is_done(self, run: Run) -> bool:
        return run.record(self.results).is_file()

    def _all(self, runs: list[Run]) -> list[str]:
        """Explain why each run would be executed; runs that only follow their inputs share one list."""
        lines: list[str] = []
        following, new = [], []
        for run in runs:
            near = self.nearest(run)
            if state_of(run, self.results, self.logs) != "to do":
                lines += ["", *self._one(run)]
            elif near is None:
                new.append(run)
            elif not near[2] and _revision(near[1], run) == REVISIONS[run.kind]:
                following.append(run)
            else:
                lines += ["", *self._one(run)]
        for words, listed in (("only since their inputs do", following), ("never made here before", new)):
            if listed:
                lines += ["", f"to do, {words}:", *(f"  {run.key}" for run in listed)]
        return lines

    def _one(self, run: Run) -> list[str]:
        state = state_of(run, self.results, self.logs)
        lines = [f"{run.key}: {state}"]
        if self._is_done(run):
            return lines + self._done(run)
        if state == "running":
            lines.append("  a process is making it (it holds the lock); a second one waits or refuses")
        if state == "failed":
            lines.append(f"  it was started and did not finish; its log: {log_of(run, self.logs)}")
        checkpoints = sorted((run.directory(self.results) / "checkpoints").glob("step-*.pt"))
        if checkpoints:
            step = int(checkpoints[-1].name.split("-")[1])
            lines.append(f"  it resumes from its checkpoint after step {step}")
        return lines + list(self._cause(run))

    def _done(self, run: Run) -> list[str]:
        record = read_record_file(run.record(self.results))
        made = record.provenance
        when = f", {made.started}, code {made.code}" if made.started else ""
        lines = [
            f"  nothing to do: {run.record(self.results)} is the record of exactly this spec, these inputs and revision "
            f"{REVISIONS[run.kind]} of {run.kind}{when}"
        ]
        directory = run.directory(self.results)
        if site := marked_site(directory):
            machine = made.machine.get("gpu") or made.machine.get("cpu") or "an unknown machine"
            lines.append(f"  from a pack: made by {site} on {machine}")
            if unpacked(directory):
                lines[-1] += "; its files are not here"
        lines += [f"  {line}" for line in check_lines(record)]
        if record.outcome.status == "diverged":
            lines.append(f"  diverged is a result, and is not tried again: {record.outcome.reason}")
        return lines

    def _cause(self, run: Run) -> Iterator[str]:
        """Say how the nearest recorded run differs from this one."""
        near = self.nearest(run)
        if near is None:
            yield f"  no {run.kind} run has been recorded in {self.results / run.kind}"
            return
        key, record, spec = near
        planned = " (itself planned)" if key in self.plan.runs else ""
        yield f"  nothing is recorded under this identity; nearest is {key}{planned}, which differs in"
        before = flatten(record.spec)
        for dotted, value in spec.items():
            place = origin(self.plan, run, dotted, self.ablations)
            old = before.get(dotted, value_at(record.spec, dotted))
            yield f"    {dotted}: {_show(old)} -> {_show(value)} ({place})"
        if _revision(record, run) != REVISIONS[run.kind]:
            yield (
                f"    revision of {run.kind}: {record.revision} -> {REVISIONS[run.kind]} "
                f"({REVISIONS_FILE}: code that changes numbers)"
            )
        for role, old, new in differing_inputs(record, run):
            yield f"    input {role}: {old} -> {new}"
            if new in self.plan.runs and new != old:
                other = self.plan.runs[new]
                if self._is_done(other) and old is not None:
                    yield from (f"  {line}" for line in self._between(old, other))

    def _between(self, old: str, new: Run) -> Iterator[str]:
        """Say how a recorded input differs from the one that is planned and made."""
        record = _recorded(self.results / old / "record.json")
        if record is None:
            return
        before = flatten(record.spec)
        for dotted, value in changes(record.spec, new.spec).items():
            old_value = before.get(dotted, value_at(record.spec, dotted))
            yield f"    {dotted}: {_show(old_value)} -> {_show(value)} ({origin(self.plan, new, dotted, self.ablations)})"

    def nearest(self, run: Run) -> tuple[str, Record, dict[str, Any]] | None:
        """Find the recorded run with the fewest differences; ties go to one no longer planned, then to the newest."""
        best: tuple[tuple[int, bool, float], str, Record, dict[str, Any]] | None = None
        for path in (self.results / run.kind).glob("*/record.json"):
            record = _recorded(path)
            if record is None or not record.spec or not _comparable(record, run):
                continue
            spec = changes(record.spec, run.spec)
            distance = len(spec) + len(differing_inputs(record, run)) + (record.name != run.name)
            key = f"{run.kind}/{path.parent.name}"
            rank = (distance, key in self.plan.runs, -path.stat().st_mtime)
            if best is None or rank < best[0]:
                best = rank, key, record, spec
        return best[1:] if best else None

    def table(self, page: Page, reports: Path) -> list[str]:
        """Explain why a table's page would be made or not, and which of its runs would be executed."""
        table = (self.plan.tables | self.plan.others)[page.name]
        closure = self.plan.closure(table.inputs)
        runs = [run for key, run in self.plan.runs.items() if key in closure]
        missing = [run for run in runs if not self._is_done(run)]
        lines = [
            f"{page.name}: {len(runs) - len(missing)} of its {len(runs)} runs are done, {len(missing)} to do"
        ]
        lines += [f"  {line}" for line in self._page(page, reports)]
        return lines + self._all(missing)

    def _page(self, page: Page, reports: Path) -> list[str]:
        path = reports / page.files[0]
        if not path.is_file():
            return [f"{path} is not there, so it is written"]
        missing = [file for file in page.files if not (reports / file).is_file()]
        if missing:
            return [f"{reports / missing[0]} is not there, so the page is written"]
        if not page.stale(reports):
            return [f"{path} is the planned page ({page.digest}): nothing to write"]
        shown = page.shown(reports)
        old = _read(self.results / "tables" / f"{shown}.json") if shown else None
        before = (old or {}).get("made_from")
        lines = [f"{path} is of {shown or 'an unknown plan'}, planned is {page.id}"]
        if before is None:
            return [
                *lines,
                "the values behind that page are not recorded here, so the difference is not known",
            ]
        now = page_inputs(self.plan, (self.plan.tables | self.plan.others)[page.name], self.ablations)
        was = flatten(before)
        return lines + [
            f"  {key}: {_show(was.get(key, value_at(before, key)))} -> {_show(value)}"
            for key, value in changes(before, now).items()
        ]


def _comparable(record: Record, run: Run) -> bool:
    """Check whether a record and a run make the same kind of thing: same data set, role or downstream task."""
    keys = ("dataset", "role", "task")
    return all(record.spec.get(key) == run.spec.get(key) for key in keys)


def differing_inputs(record: Record, run: Run) -> list[tuple[str, str | None, str | None]]:
    """List the inputs whose digests differ: role, digest then, digest now."""
    then = record.inputs
    return [
        (role, then.get(role), run.inputs.get(role))
        for role in [*run.inputs, *(role for role in then if role not in run.inputs)]
        if _digest_of_key(then.get(role)) != _digest_of_key(run.inputs.get(role))
    ]


def _digest_of_key(key: str | None) -> str | None:
    return key.rsplit("-", 1)[1] if key else None


def value_at(values: Any, dotted: str) -> Any:
    """Return the value at a dotted key, a section included; None where there is none."""
    for part in dotted.split("."):
        if not isinstance(values, dict) or part not in values:
            return None
        values = values[part]
    return values


def _revision(record: Record, run: Run) -> int:
    """Return the recorded revision; records that are older than revisions count as today's."""
    return REVISIONS[run.kind] if record.revision is None else record.revision


def _recorded(path: Path) -> Record | None:
    """Read a record to compare with; None if it is missing or damaged."""
    try:
        return read_record_file(path)
    except (FileNotFoundError, StoredError):
        return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
