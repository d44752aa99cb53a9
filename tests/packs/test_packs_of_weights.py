"""Packs of starting weights: the same bytes are used elsewhere as if made there, and what is there already stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from packed import record_of, repack
from safetensors.torch import load_file, save_file

from mamo.cli.main import main
from mamo.files.record import Outcome
from mamo.files.stored import checksum, checksums
from mamo.packs.archive import PackError
from mamo.packs.forget import forget
from mamo.packs.merge import merge_pack, read_pack
from mamo.packs.pack import write_pack
from mamo.packs.weights import Restored, restore_weights, write_weights_pack
from mamo.runs.execute import execute
from mamo.runs.run import Context, Result
from mamo.runs.unpacked import MARK, WHOLE
from mamo.specs.identity import Run
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan, make_plan

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


@pytest.fixture
def plan() -> Plan:
    return make_plan("smoke", ABLATIONS, only=["table8"])


def finish(plan: Plan, key: str, results: Path, cpu: str = "Alpha", value: float = 1.0) -> None:
    """Leave what a finished run of data or starting weights leaves."""
    run = plan.runs[key]
    directory = run.directory(results)
    directory.mkdir(parents=True, exist_ok=True)
    if run.kind == "weights":
        save_file({"w": torch.full((4, 4), value)}, directory / "model.safetensors")
        if run.spec["role"] == "text":
            (directory / "tokenizer.json").write_text("{}")
            (directory / "vocab.txt").write_text("[PAD]\n")
        if run.spec["role"] == "visual_tokens":  # DALL-E's encoder has a folder of its own
            (directory / "codebook").mkdir(exist_ok=True)
            (directory / "config.json").write_text("{}")
            (directory / "model.safetensors").rename(directory / "codebook" / "model.safetensors")
        (directory / "checkpoints").mkdir(exist_ok=True)
    record = record_of(run, cpu, files=checksums(directory))
    for name in (".record.json", "record.json"):
        (directory / name).write_text(json.dumps(record, indent=1) + "\n")


def of_kind(plan: Plan, kind: str) -> list[str]:
    return [key for key, run in plan.runs.items() if run.kind == kind]


def make(plan: Plan, results: Path, cpu: str = "Alpha", value: float = 1.0) -> Path:
    for key in (*of_kind(plan, "data"), *of_kind(plan, "weights")):
        finish(plan, key, results, cpu, value)
    return results


@pytest.fixture
def made(plan: Plan, tmp_path: Path) -> Path:
    """Data and starting weights of Table 8, which needs all three kinds of weights, made at one site."""
    return make(plan, tmp_path / "here" / "smoke")


@pytest.fixture
def pack(made: Path, tmp_path: Path) -> Path:
    out = tmp_path / "smoke-weights.tar.xz"
    write_weights_pack("smoke", made, out, "lab")
    return out


def restored(pack: Path, results: Path, site: str | None = None) -> Restored:
    return restore_weights(read_pack(pack), results, site)


def contents(directory: Path) -> dict[str, bytes]:
    """Read the files that a workflow or a later run sees."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_restored_weights_are_those_that_were_packed(
    plan: Plan, made: Path, pack: Path, tmp_path: Path
) -> None:
    there, weights = tmp_path / "there" / "smoke", of_kind(plan, "weights")
    assert len(weights) == 3
    outcome = restored(pack, there)
    assert set(outcome.restored) == {f"lab/{key}" for key in weights} and not outcome.refused
    assert len(outcome.records) == len(of_kind(plan, "data"))
    for key in weights:
        assert contents(there / key) == contents(made / key)
        assert (there / key / WHOLE).is_file() and not (there / key / MARK).exists()
    again = restored(pack, there)
    assert again.there == outcome.restored and not again.restored and not again.refused and not again.records
    # The site that made them stays known, so packing them there gives the same bytes.
    out = tmp_path / "again.tar.xz"
    write_weights_pack("smoke", there, out, "another")
    assert out.read_bytes() == pack.read_bytes()


def test_a_pretraining_uses_restored_weights_and_nothing_makes_them_again(
    plan: Plan,
    pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = tmp_path / "there" / "smoke"
    restored(pack, there)
    before = {key: contents(there / key) for key in of_kind(plan, "weights")}
    new = next(key for key in of_kind(plan, "pretrain") if "visual_tokens" in plan.runs[key].inputs)
    executed: list[str] = []

    def executor(run: Run) -> Callable[[Context], Result]:
        def make(context: Context) -> Result:
            for role in run.inputs:
                context.input(role)  # refuses what has no files
            if run.kind == "pretrain":
                assert load_file(context.input("vision") / "model.safetensors")["w"].sum() == 16
            executed.append(run.key)
            return Result(Outcome("converged", ""), {}, {})

        return make

    monkeypatch.setattr("mamo.runs.execute._executor", executor)
    execute(plan, plan.runs[new], there)
    assert executed[-1] == new and {key.split("/")[0] for key in executed[:-1]} == {"data"}
    assert {key: contents(there / key) for key in before} == before
    monkeypatch.chdir(ABLATIONS.parent)
    assert main(["plan", "table8", "--scale", "smoke", "--results", str(there.parent)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("weights ")]
    assert [line[1] for line in lines] == ["done"] * 3
    vision = next(key for key in before if "vision" in key).split("/")[1]
    assert main(["explain", vision, "--scale", "smoke", "--results", str(there.parent)]) == 0
    assert "from a pack: made by lab on Alpha" in capsys.readouterr().out
    with pytest.raises(SpecError, match="all of its files are here"):
        forget(plan.runs[f"weights/{vision}"], there)


def test_other_weights_stay_and_are_named(plan: Plan, made: Path, pack: Path, tmp_path: Path) -> None:
    there = make(plan, tmp_path / "there" / "smoke", cpu="Beta", value=2.0)
    before = {key: contents(there / key) for key in plan.runs if (there / key).is_dir()}
    outcome = restored(pack, there)
    assert set(outcome.refused) == {f"lab/{key}" for key in of_kind(plan, "weights")}
    assert all("holds other weights, made by beta" in why for why in outcome.refused.values())
    assert not outcome.restored and not outcome.there and not outcome.records
    assert {key: contents(there / key) for key in before} == before
    # The same bits from another machine are no conflict, whatever else their records say.
    same = make(plan, tmp_path / "same" / "smoke", cpu="Beta")
    assert len(restored(pack, same).there) == 3


def test_weights_that_lack_files_are_filled_in(plan: Plan, made: Path, pack: Path, tmp_path: Path) -> None:
    """A file was lost; an ordinary pack brought the record alone; a workflow removed the record."""
    text = next(key for key in of_kind(plan, "weights") if "text" in key)
    (made / text / "vocab.txt").unlink()
    assert restored(pack, made).restored == [f"lab/{text}"]
    assert not (made / text / WHOLE).exists(), "it was made here, and still is"
    ordinary, there = tmp_path / "ordinary.tar.xz", tmp_path / "there" / "smoke"
    write_pack("smoke", made, ordinary, "lab")
    merge_pack(read_pack(ordinary), there)
    assert (there / text / MARK).is_file() and not (there / text / "vocab.txt").exists()
    assert len(restored(pack, there).restored) == 3
    assert contents(there / text) == contents(made / text)
    assert (there / text / WHOLE).is_file() and not (there / text / MARK).exists()
    assert len(merge_pack(read_pack(ordinary), there).there) == 3 + len(of_kind(plan, "data"))
    (there / text / "record.json").unlink()
    assert len(restored(pack, there).there) == 3 and (there / text / "record.json").is_file()
    # The record alone of other weights: they can be put aside.
    other, beta = tmp_path / "other.tar.xz", tmp_path / "beta" / "smoke"
    write_pack("smoke", make(plan, tmp_path / "b" / "smoke", "Beta", 2.0), other)
    merge_pack(read_pack(other), beta)
    assert "mamo results forget" in restored(pack, beta).refused[f"lab/{text}"]
    forget(plan.runs[text], beta)
    assert restored(pack, beta).restored == [f"lab/{text}"]


@pytest.mark.parametrize(
    ("file", "content", "sign", "why"),
    [
        ("model.safetensors", b"other bytes", False, "its checksum is"),
        ("model.safetensors", b"other bytes", True, "model.safetensors: cannot be read"),
        ("model.safetensors", None, False, "lacks model.safetensors"),
        ("tokenizer.json", b"[" * 100_000, True, "tokenizer.json: cannot be read"),
        ("vocab.txt", b"\xff", True, "vocab.txt: cannot be read"),
        ("pytorch_model.bin", b"pickle", True, "not a file that starting weights have"),
        ("tokenizer.py", b"import os", False, "not a file that the record lists"),
        ("codebook/config.json", b"{}", False, "not a file that the record lists"),
    ],
)
def test_a_tampered_run_is_refused_and_the_others_are_restored(
    plan: Plan, pack: Path, tmp_path: Path, file: str, content: bytes | None, sign: bool, why: str
) -> None:
    text = next(key for key in of_kind(plan, "weights") if "text" in key)

    def tamper(files: dict[str, bytes]) -> None:
        if content is None:
            del files[f"lab/{text}/{file}"]
            return
        files[f"lab/{text}/{file}"] = content
        if sign:  # by somebody who changes the record, too
            record = json.loads(files[f"lab/{text}/record.json"])
            record["files"][file] = checksum(content)
            files[f"lab/{text}/record.json"] = json.dumps(record).encode()

    repack(pack, tamper)
    there = tmp_path / "there" / "smoke"
    outcome = restored(pack, there)
    assert why in outcome.refused[f"lab/{text}"] and len(outcome.refused) == 1
    assert len(outcome.restored) == 2 and not (there / text).exists()


def test_what_is_no_pack_of_weights_is_refused(plan: Plan, made: Path, pack: Path, tmp_path: Path) -> None:
    there = tmp_path / "there" / "smoke"
    whole = pack.read_bytes()
    world = next(key for key in of_kind(plan, "data") if "world" in key)

    def other_settings(files: dict[str, bytes]) -> None:
        record = json.loads(files[f"lab/{world}/record.json"])
        record["spec"]["seed"] = 12345
        files[f"lab/{world}/record.json"] = json.dumps(record).encode()

    repack(pack, other_settings)
    assert len(restored(pack, there).refused) == len(of_kind(plan, "data")) + 3, (
        "and everything that needs it"
    )
    assert not there.exists() or not list(there.rglob("record.json"))
    for name in ("lab/weights/x-1/../record.json", "lab/weights/x-1/other/a.json"):
        pack.write_bytes(whole)
        repack(pack, lambda files, name=name: files.update({name: b"{}"}))  # type: ignore[misc]
        with pytest.raises(PackError, match="not a file of a pack"):
            read_pack(pack)
    # An ordinary pack that holds weights: they are refused, and never written.
    pack.write_bytes(whole)

    def ordinary(files: dict[str, bytes]) -> None:
        values: dict[str, Any] = json.loads(files["pack.json"])
        del values["weights"]
        files["pack.json"] = json.dumps(values).encode()

    repack(pack, ordinary)
    merged = merge_pack(read_pack(pack), there)
    assert (
        all("not a file that a pack holds" in why for why in merged.refused.values())
        and len(merged.refused) == 3
    )
    pack.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PackError, match=r"cut off|cannot be read"):
        read_pack(pack)


def test_what_cannot_be_packed_is_named(
    plan: Plan, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, (text, vision, tokens) = tmp_path / "a.tar.xz", sorted(of_kind(plan, "weights"))
    save_file({"w": torch.zeros(4, 4)}, made / text / "model.safetensors")
    tokens_file = made / tokens / "codebook" / "model.safetensors"
    tokens_file.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("mamo.packs.weights.LIMIT", 100)
        with pytest.raises(SpecError, match=r"packed only with --large.*can be fetched again"):
            write_weights_pack("smoke", made, out)
        assert not out.exists()
        packed = write_weights_pack("smoke", made, out, large=True)
    assert "damaged" in packed.left_out[text] and "is missing" in packed.left_out[tokens]
    assert [name for name in packed.runs if "/weights/" in name] == [f"alpha/{vision}"]
    make(plan, made)
    monkeypatch.setattr("mamo.packs.archive.LARGEST_TENSORS", 10)
    with pytest.raises(SpecError, match="more than a pack can hold"):
        write_weights_pack("smoke", made, out, large=True)
    with pytest.raises(SpecError, match=r"no starting weights.*mamo weights vision"):
        write_weights_pack("smoke", tmp_path / "empty", out)


def test_the_command_packs_and_restores(
    plan: Plan,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ABLATIONS.parent)
    out, here, there = tmp_path / "a.tar.xz", str(made.parent), tmp_path / "there"
    command = ["results", "pack", "--scale", "smoke", "--results", here, "--out", str(out)]
    assert main([*command, "--weights", "--site", "lab"]) == 0
    assert "starting weights of lab with all of their files (3 runs)" in capsys.readouterr().out
    assert main([*command, "--large"]) == 2 and main([*command, "--weights", "--figures"]) == 2
    unpack = ["results", "unpack", str(out), "--results", str(there)]
    assert main(unpack) == 0
    assert "3 starting weights, 0 there already, 0 refused" in capsys.readouterr().out
    assert main(unpack) == 0, "unlike an ordinary pack, it goes into results that have runs"
    assert "0 starting weights, 3 there already" in capsys.readouterr().out
    make(plan, there / "smoke", "Beta", 3.0)
    assert main(unpack) == 1
    assert "holds other weights, made by" in capsys.readouterr().err


def test_weights_go_to_a_scale_that_begins_from_the_same(
    made: Path,
    pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ABLATIONS.parent)
    there, shared = tmp_path / "there", ABLATIONS.parent / "packs" / "demo-weights.tar.xz"
    unpack = ["results", "unpack", "--results", str(there)]
    assert main([*unpack, str(shared), "--scale", "study"]) == 0
    plan = make_plan("study", ABLATIONS)
    assert all((run.directory(there / "study") / "record.json").is_file() for run in plan.by_kind("weights"))
    assert not (there / "demo").exists()
    results = tmp_path / "study.tar.xz"
    packed = write_pack("study", there / "study", results)
    other = tmp_path / "other" / "study"
    assert not merge_pack(read_pack(results), other).refused and len(packed.runs) == 13
    capsys.readouterr()
    assert main([*unpack, str(pack), "--scale", "study"]) == 2
    assert "scale 'study' does not begin from" in capsys.readouterr().err
    ordinary = tmp_path / "smoke.tar.xz"
    write_pack("smoke", made, ordinary)
    assert main([*unpack, str(ordinary), "--scale", "study"]) == 2
    assert "--scale is for starting weights" in capsys.readouterr().err
