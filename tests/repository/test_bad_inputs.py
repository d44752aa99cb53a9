"""A corpus of wrong inputs over every reader: each loads as the clean one, is refused by name, or is left out and counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator

import bad_releases
import bad_results
import bad_specs
import bad_twins
import pytest
from bad_inputs import OUTCOMES, REFUSED, Case, bounded_memory, refusal

LEAST = 300
CASES = [*bad_releases.cases(), *bad_twins.cases(), *bad_specs.cases(), *bad_results.cases()]


def refusals() -> tuple[type[Exception], ...]:
    """The project's own exceptions about what it reads."""
    from mamo.data.examples import FormatError
    from mamo.data.store.images import ImageError
    from mamo.data.store.prepare import MissingImages
    from mamo.data.store.records import PreparedError
    from mamo.data.tokenizer import TokenizerError
    from mamo.files.stored import StoredError
    from mamo.specs.overrides import SpecError

    return FormatError, MissingImages, PreparedError, ImageError, SpecError, StoredError, TokenizerError


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Case], str]]:
    """The verdict on a case, reached once."""
    folder = tmp_path_factory.mktemp("bad")
    bad_releases.write_clean(folder / "clean")
    (folder / "work").mkdir()
    releases = bad_releases.Releases(folder / "clean", folder / "work")
    specs = bad_specs.Specs(folder / "work")
    judges = dict.fromkeys(bad_releases.FOLDERS, releases.verdict)
    bad_results.write_clean(folder / "results", folder / "clean")
    judges |= dict.fromkeys(
        bad_results.READERS, bad_results.Results(folder / "results", folder / "work").verdict
    )
    judges |= dict.fromkeys(bad_specs.FILES, specs.verdict)
    messages: dict[str, str] = {}

    def verdict(case: Case) -> str:
        if case.id not in messages:
            try:
                with bounded_memory():
                    messages[case.id] = judges[case.reader](case)
            except refusals() as error:
                messages[case.id] = refusal(case, error)
        return messages[case.id]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)  # these data sets need not outlive a power cut
        yield verdict


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_wrong_input(case: Case, judge: Callable[[Case], str]) -> None:
    assert judge(case) in OUTCOMES


def test_every_case_is_another_one() -> None:
    twice = [name for name, count in Counter(case.id for case in CASES).items() if count > 1]
    assert not twice and len(CASES) >= LEAST


@pytest.mark.timeout(600)
def test_the_corpus_in_figures(judge: Callable[[Case], str], capsys: pytest.CaptureFixture[str]) -> None:
    """Prints how many wrong inputs each reader met, and how they ended."""
    counts = Counter((case.reader, judge(case)) for case in CASES)
    readers = list(dict.fromkeys(case.reader for case in CASES))
    lines = [f"{'wrong inputs':<20}" + "".join(f"{outcome:>20}" for outcome in OUTCOMES)]
    lines += [
        f"{reader:<20}" + "".join(f"{counts[reader, outcome]:>20}" for outcome in OUTCOMES)
        for reader in readers
    ]
    sums = [sum(counts[reader, outcome] for reader in readers) for outcome in OUTCOMES]
    lines.append(f"{sum(sums):<20}" + "".join(f"{number:>20}" for number in sums))
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    assert sum(sums) == len(CASES) >= LEAST
    assert counts[readers[0], REFUSED] > 50  # a corpus that is read without complaint is none
