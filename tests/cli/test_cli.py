"""The command line: light, and clear about what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mamo.cli.main import COMMANDS, main, parser
from mamo.specs.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_help_and_plan_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from mamo.cli.main import main\n"
        "assert main(['plan', '--scale', 'smoke', 'table5']) == 0\n"
        "heavy = {'torch', 'timm', 'transformers', 'pandas', 'matplotlib', 'pyarrow', 'numpy', 'snakemake'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in (
        "reproduce",
        "plan",
        "status",
        "explain",
        "diff",
        "compare",
        "lint",
        "licences",
        "prepare",
        "weights",
        "pretrain",
        "finetune",
        "evaluate",
        "report",
        "results",
        "figure",
        "site",
        "schema",
        "deviations",
        "dvc",
        "doctor",
        "bench",
    ):
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0
        assert f"mamo {name}" in capsys.readouterr().out
    assert len(COMMANDS) == 18 and parser().prog == "mamo"


def test_plan_counts_what_sharing_saves(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--scale", "paper", "table5", "table6", "table7", "table8", "table9"]) == 0
    text = capsys.readouterr().out
    assert "15 pre-trainings, 45 downstream" in text
    full = next(
        line
        for line in text.splitlines()
        if "pretrain  to do  mamo-epochs_10-" in line and "momentum" not in line
    )
    assert full.split()[-5:] == ["table5", "table6", "table7", "table8", "table9"]


def test_runs_that_only_figures_read_save_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--scale", "demo", "figure1"]) == 0
    counted = re.search(r"(\d+) distinct runs .* without sharing (\d+): 0 saved", capsys.readouterr().out)
    assert counted and counted[1] == counted[2]


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (("--processes", "3"), "batch_size 64 is not a multiple of 3 processes"),
        (
            ("--processes", "2", "--nodes", "2"),
            "each of 4 processes has 16 pairs, no multiple of objectives.itm_group 64",
        ),
    ],
)
def test_a_batch_that_ranks_cannot_share_is_refused_before_they_start(
    ranks: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_plan("demo").by_kind("pretrain")[0]
    assert main(["pretrain", "--scale", "demo", "--results", str(tmp_path), *ranks, run.id]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob(".lock"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "--scale", "smoek"], "no scale named 'smoek': did you mean 'smoke'?"),
        (
            ["plan", "--scale", "smoke", "table55"],
            "ablations/table55.yaml: no such file: did you mean 'table5'?",
        ),
        (["pretrain", "--scale", "smoke", "mamo-no"], "'mamo-no' is ambiguous; the runs are\n  mamo-no_"),
        (
            ["report", "--scale", "smoke", "table55"],
            "scale 'smoke' has no page 'table55': did you mean 'table5'?",
        ),
        (["reproduce", "--scale", "flickr8k", "table5"], "scale 'flickr8k' has no table or page 'table5'"),
        (
            ["reproduce", "--scale", "study", "table1", "--seed", "3"],
            "--seed 3: table1 has 3 seeds at scale 'study', counted from 0; --seeds table1=4 gives it more",
        ),
        (["reproduce", "--scale", "study", "--seed", "5"], "--seed 5: table1 has 3 seeds"),
        (["reproduce", "--scale", "study", "claims", "--seed", "0"], "--seed makes runs of tables"),
    ],
)
def test_a_wrong_name_ends_with_one_message(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    text = capsys.readouterr().err
    assert text.startswith("mamo: ") and message in text


def test_a_kinds_runs_are_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["pretrain", "--scale", "smoke", "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 24 and all(line.startswith("to do  mamo") for line in lines)


def test_status_tells_done_diverged_running_and_failed_apart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    from mamo.cli import options
    from mamo.specs.plan import make_plan

    logs = tmp_path / "logs"
    monkeypatch.setattr(options, "logs_of", lambda args: logs)
    runs = make_plan("smoke", only=["table7"]).by_kind("pretrain")
    results = tmp_path / "smoke"
    for run in runs:
        run.directory(results).mkdir(parents=True)
        (logs / "pretrain").mkdir(parents=True, exist_ok=True)
        (logs / "pretrain" / f"{run.id}.log").write_text("working\n")
    runs[0].record(results).write_text(json.dumps({"outcome": {"status": "diverged", "reason": "NaN"}}))
    with FileLock(runs[1].directory(results) / ".lock"):
        assert main(["status", "--scale", "smoke", "--results", str(tmp_path), "--runs", "table7"]) == 0
    text = capsys.readouterr().out
    for run, state in zip(runs, ("diverged", "running", "failed"), strict=True):
        assert any(line.split() == [state, run.key] for line in text.splitlines())
    assert f"failed: {runs[2].key}\n  log: {logs / 'pretrain' / runs[2].id}.log" in text


def test_a_run_that_is_not_done_is_not_evaluated(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["evaluate", "--scale", "smoke", "--results", str(tmp_path), "vqa-mamo-epochs_10"]
    assert main(words) == 1
    assert "first run `mamo finetune --scale smoke --needs vqa-mamo-epochs_10-" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "key"), [("scale", "pretrain"), ("ablation", "rows"), ("pretrain", "masking")]
)
def test_schemas_describe_the_files(what: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", what]) == 0
    assert key in json.loads(capsys.readouterr().out)["properties"]


def test_dvc_yaml_is_what_the_ablation_files_make(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dvc", "check"]) == 0, "dvc.yaml is stale: call `mamo dvc write`"


def test_a_stale_dvc_yaml_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mamo.cli import dvc

    stale = tmp_path / "dvc.yaml"
    stale.write_text((ROOT / "dvc.yaml").read_text().replace("table5", "table55"))
    monkeypatch.setattr(dvc, "FILE", stale)
    assert main(["dvc", "check"]) == 1
    assert "call `mamo dvc write`" in capsys.readouterr().err
    assert main(["dvc"]) == 0
    assert stale.read_text() == (ROOT / "dvc.yaml").read_text()


def test_reproduce_shows_the_failing_job_and_ends_what_is_left_later(tmp_path: Path) -> None:
    from workflow_bench import Bench

    bench = Bench.create(tmp_path)
    bench.variables["MAMO_TEST_FAILS"] = "mamo-image_ratio*"
    command = (sys.executable, "-m", "mamo.cli", "reproduce")
    done = bench.call(*command, "second")
    assert done.returncode == 1
    assert (
        "failed: pretrain/mamo-image_ratio_0.5" in done.stdout and "no space left on the disk" in done.stdout
    )
    bench.variables.clear()
    done = bench.call(*command, "second")
    assert done.returncode == 0 and "2 runs. See reports/small/second.md" in done.stdout
    done = bench.call(*command, "second")
    assert done.returncode == 0 and "Nothing to do" in done.stdout
