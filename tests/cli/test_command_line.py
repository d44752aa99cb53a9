"""The command line's conveniences: names, JSON for programs, completion, time left, the page on the commands."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mamo.cli import commands, dev, known
from mamo.cli.examples import EXAMPLES
from mamo.cli.main import main, parser
from mamo.cli.remaining import Remaining
from mamo.cost.sizes import PUBLISHED
from mamo.cost.work import Part, describe_work, work_of
from mamo.specs.names import find_key, nearest
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan, make_plan

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "pretrain/mamo-11": "mamo",
    "pretrain/mamo-22": "mamo",
    "pretrain/mamo-no_mrm-33": "mamo-no_mrm",
    "finetune/vqa-mamo-44": "vqa-mamo",
    "data/mamo-no_mrm-55": "mamo-no_mrm",
}


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan("smoke", ROOT / "ablations")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("pretrain/mamo-11", "pretrain/mamo-11"),
        ("mamo-22", "pretrain/mamo-22"),
        ("vqa-mamo", "finetune/vqa-mamo-44"),
        ("pretrain/mamo-no_mrm", "pretrain/mamo-no_mrm-33"),
        ("fine", "finetune/vqa-mamo-44"),
        ("data/m", "data/mamo-no_mrm-55"),
    ],
)
def test_a_run_goes_by_key_id_name_or_start(name: str, meant: str) -> None:
    assert find_key(name, KEYS, "run") == meant


def test_of_several_runs_the_planned_one_is_meant_and_else_they_are_listed() -> None:
    assert find_key("mamo", KEYS, "run", first=["pretrain/mamo-22"]) == "pretrain/mamo-22"
    with pytest.raises(
        SpecError, match="'mamo' is ambiguous; the runs are\n  pretrain/mamo-11\n  pretrain/mamo-22$"
    ):
        find_key("mamo", KEYS, "run")
    with pytest.raises(SpecError, match="'vqa-mamos' is not a run: did you mean 'finetune/vqa-mamo-44'"):
        find_key("vqa-mamos", {k: n for k, n in KEYS.items() if "vqa" in k or "data" in k}, "run")
    many = {f"pretrain/{letter}-1": letter for letter in "abcdefgh"}
    with pytest.raises(
        SpecError, match="is not a run; there are\n  a-1\n  b-1\n  c-1\n  d-1\n  e-1\n  and 3 more$"
    ):
        find_key("zzzz", many, "run")
    with pytest.raises(SpecError, match="did you mean 'table5'"):
        find_key("tabel5", many, "table or run", also=["table5", "table6"])


def test_a_long_list_of_known_names_is_cut() -> None:
    assert nearest("zz", "abcdefg") == ": known here are a, b, c, d, e, and 2 more"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("reprodce", "unknown name 'reprodce': did you mean 'reproduce'?"),
        ("dev lnit", "unknown name 'lnit': did you mean 'lint'?"),
        ("plan --scael smoke", "mamo plan: error: unknown option '--scael': did you mean '--scale'?"),
        ("completion bsh", "unknown name 'bsh': did you mean 'bash'?"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["explain tabel5", "export mamo-epoch_10x out", "explain table5 ful", "diff mamoo mamoo"]
)
def test_a_mistyped_name_is_answered_in_few_lines(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "--scale", "smoke", "--results", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert (
        "did you mean '" in said or "the nearest are\n" in said or "there are\nnone" in said
    ) or "none" in said
    assert len(said.splitlines()) <= 7


def test_what_is_not_made_yet_is_named_with_its_command_and_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: Plan
) -> None:
    run = plan.by_kind("pretrain")[0]
    for words in (["export", run.id, str(tmp_path / "out")], ["diff", run.key, run.key]):
        assert main([*words, "--scale", "smoke", "--results", str(tmp_path)]) == 1
        said = capsys.readouterr().err
        assert f"first run `mamo pretrain --scale smoke --needs {run.id}`\n  it makes " in said
        assert " operations, very roughly " in said


def test_a_bare_call_shows_the_help_and_a_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "reproduce" in shown and "deviations" not in shown, "maintainers' commands stand below dev"
    assert main(["dev"]) == 0
    assert "deviations" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("mamo ") and " torch " in line and " Python " in line


def test_old_spellings_work(capsys: pytest.CaptureFixture[str]) -> None:
    tree = parser()
    for module in dev.OLD:
        name = module.__name__.rpartition(".")[2]
        words = [name, "scale"] if name == "schema" else [name]
        assert tree.parse_args(words).command == tree.parse_args(["dev", *words]).command


def test_every_command_has_an_example_that_parses() -> None:
    tree, seen = parser(), set()

    def walk(words: list[str], inner: object) -> None:
        for action in inner._actions:  # type: ignore[attr-defined]
            for choice in getattr(action, "_choices_actions", ()):
                name = [*words, choice.dest]
                key = " ".join(name).removeprefix("dev ")
                seen.add(key)
                assert key in EXAMPLES, f"mamo/cli/examples.py has none of {key}"
                walk(name, action.choices[choice.dest])  # type: ignore[attr-defined]

    walk([], tree)
    assert set(EXAMPLES) == seen
    for key, lines in EXAMPLES.items():
        for line in lines:
            program, *words = shlex.split(line.partition(" > ")[0])
            assert program == "mamo" and hasattr(tree.parse_args(words), "command"), (key, line)


def test_outside_of_a_project_this_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (
        "plan",
        "status",
        "explain table5",
        "diff a b",
        "export a b",
        "dev licences",
        "dev lint",
        "reproduce",
    ):
        assert main(words.split()) == 2
        assert "is not a project folder" in capsys.readouterr().err, words


def test_the_page_on_the_commands_is_what_the_parser_makes() -> None:
    assert main(["dev", "commands", "--check"]) == 0, "docs/commands.md is stale: call `mamo dev commands`"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("plan", "plan table7"),
        ("status", "status table7"),
        ("explain RUN", "explain pretrain/mamo-epochs_10"),
        ("explain TABLE", "explain table7"),
        ("explain TABLE ROW", "explain table7 full"),
        ("compare", "compare table7"),
        ("compare", "compare table7 --reported"),
    ],
)
def test_json_has_the_documented_keys_and_nothing_else_is_printed(
    command: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "--scale", "smoke", "--results", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    documented = [key for keys in commands.JSON[command] for key in keys.split(", ")]
    assert sorted(printed) == sorted(documented)
    if command == "plan":
        assert len(printed["runs"]) <= printed["without_sharing"] and not any(
            run["done"] for run in printed["runs"]
        )
    if command == "status":
        assert sum(printed["counts"]["pretrain"].values()) == sum(
            run["kind"] == "pretrain" for run in printed["runs"]
        )


def test_doctor_prints_its_findings_as_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mamo.cli import doctor

    findings = [doctor.Diagnosis("ok", "a disk"), doctor.Diagnosis("wrong", "a clock", "set it")]
    for name in ("_packages", "_locks", "_check_gpus"):
        monkeypatch.setattr(doctor, name, lambda args: iter(()))
    monkeypatch.setattr(doctor, "_check_folders", lambda args: iter(findings))
    monkeypatch.setattr("mamo.cli.doctor_passing.check_batch_passing", lambda args: iter(()))
    assert main(["doctor", "--node", "--json", "--results", str(tmp_path)]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "wrong": 1,
        "findings": [
            {"state": "ok", "what": "a disk", "fix": None},
            {"state": "wrong", "what": "a clock", "fix": "set it"},
        ],
    }


def test_names_are_listed_for_shells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], plan: Plan
) -> None:
    (tmp_path / "ablations").symlink_to(ROOT / "ablations")
    (tmp_path / "results" / "smoke" / "pretrain" / "old-1").mkdir(parents=True)
    (tmp_path / "results" / "smoke" / "pretrain" / "old-1" / "record.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "logs" / "smoke" / "names.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("\n".join(plan.runs) + "\n")
    pretrainings = [run.id for run in plan.by_kind("pretrain")]
    assert list(known.runs(["mamo", "pretrain", "--scale", "smoke"])) == [*pretrainings, "old-1"]
    assert set(pretrainings) < set(known.runs(["mamo", "export", "--scale=smoke"]))
    assert not set(pretrainings) & set(known.runs(["mamo", "evaluate", "--scale", "=", "smoke"]))
    assert known.main(["scales"]) == 0
    assert {"demo", "flickr8k", "paper", "smoke"} <= set(capsys.readouterr().out.split())
    assert {"table5", "figure1"} <= set(known.table_names())


def test_listing_names_imports_nothing_heavy() -> None:
    code = "import sys, mamo.cli.known as k; k.main(['tables']); sys.exit('pydantic' in sys.modules or 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.returncode == 0


def test_bash_completes_commands_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "mamo.bash"
    script.write_text(capsys.readouterr().out)

    def completed(*words: str) -> set[str]:
        line = " ".join(shlex.quote(word) for word in words)
        asked = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shtab_mamo; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(
            ["bash", "-c", f"source {script}; {asked}"],
            capture_output=True, text=True, cwd=ROOT, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        return set(done.stdout.split())

    assert completed("mamo", "repr") == {"reproduce"}
    assert {"table5", "table6"} <= completed("mamo", "plan", "table") and "figure1" not in completed(
        "mamo", "plan", "table"
    )
    assert completed("mamo", "plan", "--scale", "sm") == {"smoke"}
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef mamo")


def test_a_pre_training_counts_for_more_than_a_data_set(plan: Plan, tmp_path: Path) -> None:
    demo = make_plan("demo", ROOT / "ablations", only=["table7"])
    work = work_of(demo, demo.runs.values(), tmp_path)
    longest = max(part.seconds for part in work.values() if part.kind == "data")
    assert min(part.seconds for part in work.values() if part.kind == "pretrain") > longest
    assert "operations" in describe_work(demo, demo.runs.values(), tmp_path)
    coco = next(run for run in plan.by_kind("data") if run.name == "coco")
    from mamo.cost.work import _Counted

    sizes = _Counted(plan, tmp_path)._sizes(coco)
    assert dict(sizes.records) == {"train": 120, "val": 40, "test": 40}, "of the world, not of the release"
    assert sizes.records != PUBLISHED["coco"].records


def test_the_time_left_is_judged_by_cost_and_ends_at_the_end() -> None:
    now = [0.0]
    parts = {"data/a": Part("data", 1.0), "pretrain/b": Part("pretrain", 100.0), "page": Part("page", 4.0)}
    left = Remaining(parts, 1, lambda: now[0])
    now[0] = 1.0
    left.done("data/a", 1.0)
    assert left.left() == pytest.approx(104.0), "one job of three is not a third of the work"
    now[0] = 11.0
    left.running({"pretrain/b": 0.02})
    now[0] = 21.0
    left.running({"pretrain/b": 0.06})
    assert 200 < left.left() < 330, "twice as slow as counted: 0.04 in ten seconds are 250 for all"
    now[0] = 251.0
    left.done("pretrain/b", 240.0)
    assert 3.0 < left.left() < 8.0, "pages count, too"
    left.done("page")
    assert left.left() == 0.0 and left.share() == 1.0
