"""List what a call of the workflow should make and what of it is missing, counted from the files on disk."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mamo.cli import options
from mamo.reporting.figure_pages import FOLDER as FIGURES
from mamo.reporting.notebooks import unexecuted
from mamo.reporting.pages import INDEX, OVERVIEW, Page
from mamo.specs.identity import Run
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan


class Missing(NamedTuple):
    """The parts of a request that are not made yet."""

    runs: list[Run]
    pages: list[str]
    notebooks: list[str]

    def __bool__(self) -> bool:
        return any(self)

    def __str__(self) -> str:
        counts = [f"{len(part)} {what}" for what, part in self._asdict().items() if part]
        return " and ".join([", ".join(counts[:-1]), counts[-1]] if counts[1:] else counts) or "nothing"

    def names(self) -> list[str]:
        """Return the names of everything that is missing."""
        return [
            *(run.key for run in self.runs),
            *self.pages,
            *(f"notebook {name}" for name in self.notebooks),
        ]


class Request:
    """A request: pages, and all runs behind them.

    Args:
        pages: all pages of the plan, by name.
        read: the runs that are asked for themselves, without a page; None: those behind the pages that ``args`` names.

    Attributes:
        whole: whether it is the whole scale, with its notebooks and the maps that they draw.
    """

    def __init__(
        self, args: argparse.Namespace, plan: Plan, pages: dict[str, Page], read: list[str] | None = None
    ) -> None:
        self.plan, self.whole = plan, not args.tables and read is None
        self.results, self.reports = options.results_of(args), options.reports_of(args)
        self.pages: list[Page] = []
        if read is None:
            read = self._behind_pages(args, pages)
        needed = plan.closure(read)
        self.runs = [run for key, run in plan.runs.items() if key in needed]

    def _behind_pages(self, args: argparse.Namespace, pages: dict[str, Page]) -> list[str]:
        """Choose the pages, and return the runs that they read."""
        listed = [page for page in pages.values() if page.listed]
        self.pages = [pages[name] for name in args.tables] or listed
        everything = self.whole or bool({OVERVIEW, INDEX} & set(args.tables))
        keys = [key for page in ([*listed, *self.pages] if everything else self.pages) for key in page.inputs]
        if everything:
            keys += [key for figure in self.plan.figures.values() for key in figure.inputs]
        return keys

    def missing(self) -> Missing:
        """Return what is missing now."""
        return Missing(
            [run for run in self.runs if not run.record(self.results).is_file()],
            [page.name for page in self.pages if not published(page, self.results, self.reports)],
            unexecuted(self.plan, self.reports) if self.whole else [],
        )

    def unpublished(self, missing: Missing) -> dict[str, Callable[[], bool]]:
        """Map each missing page or notebook -> whether it has been made by now."""
        pages = {page.name: page for page in self.pages}

        def made(page: Page) -> Callable[[], bool]:
            return lambda: published(page, self.results, self.reports)

        checks = {name: made(pages[name]) for name in missing.pages}
        return checks | {f"notebook {name}": self._executed(name) for name in missing.notebooks}

    def _executed(self, name: str) -> Callable[[], bool]:
        shown = self.reports / "notebooks" / f"{name}.html"
        return lambda: shown.is_file() and name not in unexecuted(self.plan, self.reports)


def one_seed(args: argparse.Namespace, plan: Plan) -> Request:
    """List the runs of one seed of the tables that a call names, or of all of the scale that have it.

    Raises:
        SpecError: a name that is no table of runs, or a seed that the table, or every table, does not have.
    """
    tables = plan.tables | plan.others
    known = {name: table for name, table in tables.items() if table.pretrainings}
    scale = f"scale '{plan.scale.name}'"
    for name in args.tables:
        options.check_name(name, known, f"--seed makes runs of tables: {scale} has no such table")
    asked = {name: known[name] for name in args.tables or plan.tables if name in known}
    lacking = [name for name, table in asked.items() if not 0 <= args.seed < table.ablation.seeds]
    if lacking and (args.tables or len(lacking) == len(asked)):
        name, seeds = lacking[0], asked[lacking[0]].ablation.seeds
        raise SpecError(
            f"--seed {args.seed}: {name} has {seeds} seed{'s' if seeds > 1 else ''} at {scale}, counted from 0"
            + (f"; --seeds {name}={args.seed + 1} gives it more" if args.seed >= 0 else "")
        )
    read: dict[str, None] = {}
    for table in (table for name, table in asked.items() if name not in lacking):
        read |= dict.fromkeys(keys[args.seed] for keys in table.pretrainings.values())
        read |= dict.fromkeys(cell.runs[args.seed] for cell in table.cells)
    return Request(args, plan, {}, list(read))


def published(page: Page, results: Path, reports: Path) -> bool:
    """Check that a page exists as planned, with the values that it shows."""
    stored = [results / folder / f"{page.id}.json" for folder in ("tables", FIGURES)]
    values = page.name in (OVERVIEW, INDEX) or any(path.is_file() for path in stored)
    return values and not page.stale(reports) and all((reports / file).is_file() for file in page.files)
