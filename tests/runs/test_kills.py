"""Runs that are killed at any moment, again and again, end with the bits of a run that nothing interrupted.

Moments are drawn by a seed from all changes that a run makes to the disk, from within the files that it writes, and from the
time that it takes. What a killed run leaves is never taken for a result.
"""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from killable import Project, contents

from mamo.runs.execute import KEPT

pytestmark = pytest.mark.slow

TALLY: dict[str, list[int]] = {}  # what was killed -> kills survived, kills
LOST = "a page is written last and says what it shows, so a half-written one is known"


@pytest.fixture(autouse=True)
def everything_is_made(killable: Project) -> Iterator[None]:
    """Make what a failed test has left out, so that the others do not fail."""
    yield
    if not all(record.is_file() for record in killable.runs):
        killable.killer.run("finetune", "retrieval_coco", "--needs")


def moments(rng: random.Random, changes: int, seconds: float, largest: int) -> Iterator[dict[str, Any]]:
    """Ways to kill a command, each kind of moment in turn; every second round soon, so that a run dies often on its way."""
    for share in itertools.cycle((1, 3)):
        yield {"at": rng.randint(1, max(2, changes // share))}
        yield {"at": rng.randint(1, max(2, changes // share)), "signal": signal.SIGTERM}
        yield {"largest": rng.randint(1, largest)}
        yield {"after": rng.uniform(0, seconds / share)}
        yield {"after": rng.uniform(0, seconds / share), "signal": signal.SIGTERM}


@pytest.mark.parametrize(
    ("kind", "name", "lives", "deaths"),
    [
        ("data", "coco", 3, 5),
        ("weights", "vision", 2, 5),
        ("weights", "text", 2, 5),
        ("pretrain", "mamo", 5, 8),
        ("finetune", "retrieval_coco", 4, 8),
    ],
)
def test_a_killed_run_ends_as_one_that_was_not(
    killable: Project, kind: str, name: str, lives: int, deaths: int
) -> None:
    key = killable.find(kind, name)
    expected = killable.bits(key)
    largest = max(path.stat().st_size for path in (killable.results / key).rglob("*") if path.is_file())
    killable.forget(key)
    began = time.monotonic()
    alone = killable.make(key)
    seconds = time.monotonic() - began
    assert alone.status == 0 and killable.bits(key) == expected, (
        "alone, and with all that it needs: the same bits"
    )

    rng, tally = random.Random(f"{kind}/{name}"), TALLY.setdefault(f"{kind}/{name}", [0, 0])
    ways = moments(rng, alone.changes, seconds, 2 * largest)
    for _ in range(lives):
        killable.forget(key)
        killed = 0
        while killed < deaths:
            ended = killable.make(key, **next(ways))
            if ended.status == 0:  # it was done before its moment came
                break
            assert ended.status in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGXFSZ, 75), ended.output
            killed += 1
        ended = killable.make(key)
        assert ended.status == 0, ended.output
        tally[1] += killed
        assert killable.bits(key) == expected
        tally[0] += killed


def test_a_kill_between_the_weights_and_the_record_costs_no_training(killable: Project) -> None:
    """The moment before the record's copy and the record itself. The checkpoint must still be there."""
    key = killable.find("pretrain", "mamo")
    expected = killable.bits(key)
    killable.forget(key)
    ended = killable.make(key, file=KEPT)
    assert ended.status == -signal.SIGKILL and not killable.done(key)
    assert (killable.results / key / "model.safetensors").is_file()
    again = killable.make(key)
    assert again.status == 0 and "resuming at step 8/8" in again.output, again.output
    assert killable.bits(key) == expected


@pytest.mark.parametrize("damage", ["a bit flipped", "cut off"])
def test_a_damaged_checkpoint_costs_only_the_step_since_the_one_before(
    killable: Project, damage: str
) -> None:
    key = killable.find("pretrain", "mamo")
    expected = killable.bits(key)
    killable.forget(key)
    opened = 0
    while not opened:  # the first moment at which two checkpoints are there
        ended = killable.make(key, after=0.0) if killable.done(key) else killable.make(key, at=30)
        assert ended.status == -signal.SIGKILL, ended.output
        opened = len(list((killable.results / key / "checkpoints").glob("step-*.pt"))) == 2
    newest = max((killable.results / key / "checkpoints").glob("step-*.pt"))
    content = bytearray(newest.read_bytes())
    if damage == "cut off":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 3] ^= 1
    newest.write_bytes(content)
    ended = killable.make(key)
    assert ended.status == 0 and "is damaged" in ended.output and "resuming at step" in ended.output
    assert killable.bits(key) == expected


def test_what_killed_processes_were_writing_is_not_kept(killable: Project) -> None:
    key = killable.find("pretrain", "mamo")
    killable.forget(key)
    for limit in (1000, 2000):
        assert killable.make(key, largest=limit).status == -signal.SIGXFSZ
    assert killable.make(key).status == 0
    left = [path.name for path in (killable.results / key).rglob(".*") if path.is_file()]
    assert sorted(left) == [".lock", ".owner.json", ".record.json"]


def test_a_killed_report_is_old_or_new_and_never_between(killable: Project) -> None:
    reports = killable.folder / "reports" / "tiny"
    new = contents(reports)
    names = sorted(new)
    page = Path("tiny.md")
    assert names == [Path("metrics/tiny.json"), Path("tiny.csv"), page, Path("tiny.tex")]
    whole = killable.killer.run("report", "tiny")
    assert whole.status == 0
    tally = TALLY.setdefault("report", [0, 0])
    for at in range(1, whole.changes + 1):
        for name in names:
            (reports / name).write_bytes(b"old")
        assert killable.killer.run("report", "tiny", at=at).status == -signal.SIGKILL
        tally[1] += 1
        actual = {name: (reports / name).read_bytes() for name in names}
        assert all(actual[name] in (b"old", new[name]) for name in names)
        assert actual[page] == b"old" or actual == new, LOST
        tally[0] += 1
    assert killable.killer.run("report", "tiny").status == 0
    assert contents(reports) == new, "and nothing is left beside"


def test_a_record_that_a_crash_of_the_machine_emptied_is_named(killable: Project) -> None:
    key = killable.find("pretrain", "mamo")
    record = killable.results / key / "record.json"
    text = record.read_text()
    record.write_text("")
    refused = killable.make(key)
    assert refused.status == 1 and "record.json is damaged" in refused.output, refused.output
    record.unlink()
    assert killable.make(key).status == 0 and record.read_text() == text


def test_kills_survived_of_kills(capsys: pytest.CaptureFixture[str]) -> None:
    survived, tried = (sum(counts[i] for counts in TALLY.values()) for i in (0, 1))
    with capsys.disabled():
        each = ", ".join(f"{name} {counts[0]}/{counts[1]}" for name, counts in TALLY.items())
        print(f"\nkills survived / tried: {survived} / {tried} ({each})")
    assert survived == tried
