"""The committed pages of a scale are those that its one command makes: every digest is the planned one.

A page of an earlier recipe of its scale has a mark in its second line, which disappears when the page is made again. It is
excused as long as the scale's overview has the mark, too; after that no page is.
"""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest

from mamo.reporting.pages import OVERVIEW, Page, pages_of
from mamo.specs.params import read_params
from mamo.specs.plan import Plan, make_plan

ROOT = Path(__file__).resolve().parents[2]
EARLIER = "<!-- mamo earlier recipe -->"
WORDS = "Of an earlier recipe."


def committed() -> dict[str, set[str]]:
    """Map each scale with committed pages -> its files below ``reports/SCALE``; an unpacked archive has what lies there."""
    done = subprocess.run(["git", "ls-files", "reports"], cwd=ROOT, capture_output=True, text=True)
    files = [Path(line) for line in done.stdout.splitlines()]
    found: dict[str, set[str]] = {}
    for path in files or [path.relative_to(ROOT) for path in (ROOT / "reports/demo").rglob("*.*")]:
        found.setdefault(path.parts[1], set()).add(Path(*path.parts[2:]).as_posix())
    return found


COMMITTED = committed()


@cache
def planned(scale: str) -> Plan:
    """Plan as `make reproduce SCALE=scale` does: with the seeds of the files, and none of a call."""
    assert read_params(ROOT / "params.yaml").seeds is None, (
        "params.yaml sets seeds: they belong in the scale's file"
    )
    return make_plan(scale, ROOT / "ablations", others=True)


def is_earlier(path: Path) -> bool:
    """Check that a page bears the mark, and says in words what the mark says to programs."""
    lines = path.read_text(encoding="utf-8").split("\n", 2)
    return lines[1] == EARLIER and WORDS in lines[2]


def differences(pages: dict[str, Page], reports: Path, files: set[str]) -> list[str]:
    """Name each page that is not the planned one, with both ids and what to do."""
    made = {name: page for name, page in pages.items() if page.files[0] in files}
    earlier = {name for name, page in made.items() if is_earlier(reports / page.files[0])}
    excused = earlier if OVERVIEW in earlier else set()
    found = []
    for name, page in pages.items():
        if name in excused:
            continue
        if name not in made:
            # While the overview is an earlier one, so is its choice of pages.
            if page.listed and not excused:
                found.append(f"{name}: is not committed, and {page.id} is planned")
        elif page.shown(reports) != page.id:
            found.append(f"{name}: shows {page.shown(reports)}, and {page.id} is planned")
        else:
            lacking = [file for file in page.files if file not in files]
            found += [f"{name}: lacks {', '.join(lacking)}"] if lacking else []
    known = {page.files[0] for page in pages.values()}
    strays = sorted(file for file in files if file.endswith(".md") and file not in known)
    return found + [f"{file}: no page of the scale" for file in strays]


@pytest.mark.parametrize("scale", sorted(COMMITTED))
def test_one_command_makes_the_committed_pages(scale: str) -> None:
    plan = planned(scale)
    pages = pages_of(plan, ROOT / "ablations")
    found = differences(pages, ROOT / "reports" / scale, COMMITTED[scale])
    assert found == [], f"make them again (make reproduce SCALE={scale}) and commit them:\n  " + "\n  ".join(
        found
    )


@pytest.mark.parametrize("scale", sorted(COMMITTED))
def test_a_scale_with_committed_pages_is_published(scale: str) -> None:
    """Its pages refuse runs of code that the repository cannot name."""
    assert planned(scale).scale.published


def write(reports: Path, page: Page, mark: str | None = None, earlier: bool = False) -> None:
    """Write a page's files with its mark, or with another one."""
    for file in page.files:
        (reports / file).parent.mkdir(parents=True, exist_ok=True)
        (reports / file).write_text("")
    lines = [mark or page.mark, *([EARLIER, f"**{WORDS}**"] if earlier else []), "", "text"]
    (reports / page.files[0]).write_text("\n".join(lines))


def test_differing_pages_are_named_and_only_earlier_ones_excused(tmp_path: Path) -> None:
    plan = make_plan("smoke", ROOT / "ablations")
    pages = pages_of(plan, ROOT / "ablations")
    table, other, overview = pages["table5"], pages["table6"], pages[OVERVIEW]
    chosen = {page.name: page for page in (table, other, overview)}

    def found() -> list[str]:
        files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
        return differences(chosen, tmp_path, files)

    old = "<!-- mamo page table5-0123456789 -->"
    for page in chosen.values():
        write(tmp_path, page)
    assert found() == []
    write(tmp_path, table, old)
    assert found() == [f"table5: shows table5-0123456789, and {table.id} is planned"]
    write(tmp_path, table, old, earlier=True)
    assert len(found()) == 1, "the overview is made again, so nothing is excused"
    write(tmp_path, overview, "<!-- mamo page overview-0123456789 -->", earlier=True)
    assert found() == []
    write(tmp_path, other, "<!-- mamo page table6-0123456789 -->")
    assert found() == [f"table6: shows table6-0123456789, and {other.id} is planned"], (
        "it does not say that it is earlier"
    )
    write(tmp_path, other)
    (tmp_path / "metrics/table6.json").unlink()
    (tmp_path / "table99.md").write_text("")
    assert found() == ["table6: lacks metrics/table6.json", "table99.md: no page of the scale"]
    (tmp_path / "table99.md").unlink()
    write(tmp_path, overview)
    (tmp_path / table.files[0]).unlink()
    assert "table5: is not committed" in found()[0]
