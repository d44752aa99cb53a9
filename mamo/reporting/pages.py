"""List the published pages of a plan, and check whether a published page is the planned one.

A page depends on its runs, on the paper's numbers beside them and on the code that renders it. Its digest covers all three and
is in the page's first line, so a stale page is recognised without modification times.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from mamo.reporting.figure_pages import figure_digest
from mamo.reporting.tracked import curve_files, metrics_file
from mamo.specs.claims import read_claims
from mamo.specs.identity import digest
from mamo.specs.plan import Plan, TablePlan

OVERVIEW = "overview"
CLAIMS = "claims"
INDEX = "index"
_MARK = "<!-- mamo page "


@dataclass(frozen=True)
class Page:
    """One published page.

    Attributes:
        name: the ablation's name, ``claims`` or ``overview``.
        digest: digest of everything that the page shows.
        files: file names below ``reports/<scale>``; the first one is the Markdown page.
        inputs: keys of the runs whose records the page's values are collected from; none for the overview.
        listed: whether the scale makes it by default; the others are made when asked for by name.
    """

    name: str
    digest: str
    files: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    listed: bool = True

    @property
    def id(self) -> str:
        """Name and digest, as in the file name of the page's values."""
        return f"{self.name}-{self.digest}"

    @property
    def mark(self) -> str:
        """The first line of the Markdown page."""
        return f"{_MARK}{self.id} -->"

    def stale(self, reports: Path) -> bool:
        """Check whether ``reports`` (one scale's) holds this page with another digest or none; False if it holds no page."""
        path = reports / self.files[0]
        if not path.is_file():
            return False
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip("\n") != self.mark

    def shown(self, reports: Path) -> str | None:
        """Read the id (name and digest) of the page in ``reports``; None if it holds none with a mark."""
        path = reports / self.files[0]
        if not path.is_file():
            return None
        with path.open(encoding="utf-8") as file:
            line = file.readline().strip()
        return line.removeprefix(_MARK).removesuffix(" -->") if line.startswith(_MARK) else None


def pages_of(plan: Plan, ablations: Path = Path("ablations")) -> dict[str, Page]:
    """List the pages of a plan by name: one per ablation, the claims if the plan has one of their tables, one per drawn
    figure, the overview, and the page with everything.

    Ablations that are no part of the whole have pages too, where the plan has them.
    """
    pages = {name: _page(plan, table, ablations) for name, table in plan.tables.items()}
    pages |= _claims(plan, ablations, pages)
    for name, bound in plan.figures.items():
        if bound.figure.drawn:
            files: tuple[str, ...] = (f"{name}.md", f"{name}.png", f"{name}.svg")
            files += (f"{name}-small.png",) if bound.figure.small else ()
            pages[name] = Page(name, figure_digest(plan, name), files, bound.inputs)
    others = {
        name: replace(_page(plan, table, ablations), listed=False) for name, table in plan.others.items()
    }
    everything = digest({"pages": sorted(page.id for page in pages.values()), "scale": _scale_words(plan)})
    shown = {
        "overview": everything,
        "runs": sorted(plan.whole),
        "figures": {name: figure_digest(plan, name) for name in plan.figures},
        "code": _site_digest(),
    }
    return (
        pages
        | others
        | {
            OVERVIEW: Page(
                OVERVIEW,
                everything,
                ("README.md", "results.csv", "statistics.csv", *curve_files(plan).values()),
            ),
            INDEX: Page(INDEX, digest(shown), ("index.html",)),
        }
    )


def page_inputs(plan: Plan, table: TablePlan, ablations: Path) -> dict[str, Any]:
    """Collect everything that a page is made from as plain JSON values, so that a later plan can say what has changed."""
    paper = table.ablation.paper
    reported = sorted((ablations / "paper").rglob(f"{paper}.yaml")) if paper else []
    ablation = table.ablation.model_dump(mode="json")
    for lines in ("rows", "columns"):
        ablation[lines] = {line["key"]: line for line in ablation[lines]}
    return {
        "ablation": ablation,
        "inputs": dict(key.rsplit("-", 1) for key in sorted(table.inputs)),
        "paper": {str(path.relative_to(ablations)): _file_digest(path) for path in reported},
        "scale": dict(zip(("name", "title", "caveat", "protocol"), _scale_words(plan), strict=False)),
        "code of mamo/reporting": _rendering_code_digest(),
    }


def _page(plan: Plan, table: TablePlan, ablations: Path) -> Page:
    name, paper = table.ablation.name, table.ablation.paper
    # For every edition: a change of the paper's numbers changes the page.
    reported = sorted((ablations / "paper").rglob(f"{paper}.yaml")) if paper else []
    value = {
        "table": table.digest,
        "paper": [_file_digest(path) for path in reported],
        "scale": _scale_words(plan),
        "code": _rendering_code_digest(),
    }
    lenders = plan.lenders(table)
    if lenders:
        value["lenders"] = [other.digest for other in lenders]
    inputs = tuple(dict.fromkeys([*table.inputs, *(key for other in lenders for key in other.inputs)]))
    files = (*(f"{name}.{suffix}" for suffix in table.ablation.suffixes), metrics_file(name))
    return Page(name, digest(value), files, inputs)


def _claims(plan: Plan, ablations: Path, pages: dict[str, Page]) -> dict[str, Page]:
    claims = read_claims(ablations, plan.tables)
    named = dict.fromkeys(claim.test.table for claim in claims if claim.test.table in plan.tables)
    if not named:
        return {}
    value = {
        "claims": [claim.model_dump(mode="json") for claim in claims],
        "pages": [
            pages[name].id for name in named
        ],  # with their paper's numbers, the scale's words and the code
        "inputs": sorted(plan.tables[name].digest for name in named),
    }
    inputs = tuple(dict.fromkeys(key for name in named for key in plan.tables[name].inputs))
    return {CLAIMS: Page(CLAIMS, digest(value), ("claims.md", "claims.csv"), inputs)}


def _scale_words(plan: Plan) -> list[str | None]:
    scale = plan.scale
    return [scale.name, scale.title, scale.caveat, *([scale.protocol] if scale.protocol else [])]


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _rendering_code_digest() -> str:
    """Compute the digest of the modules beside this one: pages are rendered again when the rendering changes."""
    return digest({path.name: _file_digest(path) for path in sorted(Path(__file__).parent.glob("*.py"))})


@cache
def _site_digest() -> str:
    """Compute the digest of the files that make ``index.html``."""
    site = Path(__file__).parent / "site"
    return digest({path.name: _file_digest(path) for path in sorted(site.glob("*.*"))})
