"""Files that runs leave for others: readable by whom the umask says, and known by their checksums."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from killable import Project

from mamo.files.stored import StoredError, checksums, verify
from mamo.files.writing import as_new, atomic_write
from mamo.model.pretrained import read_state
from mamo.runs.save import load_network, save_network_config, save_tensors


@pytest.fixture(params=[0o022, 0o027, 0o002, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_weights_have_the_mode_of_any_new_file(tmp_path: Path, umask: int) -> None:
    save_tensors({"a": torch.zeros(3)}, tmp_path / "model.safetensors")
    assert mode(tmp_path / "model.safetensors") == 0o666 & ~umask


def test_a_library_that_writes_for_its_own_user_alone_does_not_decide_a_runs_modes(
    tmp_path: Path, umask: int
) -> None:
    (tmp_path / "codebook").mkdir(mode=0o755)
    for name in ("codebook/model.safetensors", "items.arrow"):
        (tmp_path / name).touch(mode=0o600)
    (tmp_path / "open").touch()
    (tmp_path / "open").chmod(0o666)
    as_new(tmp_path)
    assert mode(tmp_path / "codebook/model.safetensors") == mode(tmp_path / "items.arrow") == 0o666 & ~umask
    assert mode(tmp_path / "open") == 0o666, "none loses a right"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codebook", "items.arrow", "open"]


def test_a_file_that_could_not_be_written_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("before")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "x") as part:
        part.write_text("after")
        raise RuntimeError
    assert (tmp_path / "x").read_text() == "before" and list(tmp_path.iterdir()) == [tmp_path / "x"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_weights_that_may_not_be_read_are_not_called_missing(tmp_path: Path) -> None:
    save_tensors({"a": torch.zeros(3)}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").chmod(0)
    with pytest.raises(PermissionError):
        read_state(tmp_path)


def record(directory: Path, **more: object) -> None:
    values = {"run": directory.name, "outcome": {"status": "converged"}, "metrics": {}}
    (directory / "record.json").write_text(json.dumps(values | more))


def flip(path: Path) -> None:
    """Change one byte of a file's end, where weights are numbers."""
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_in_weights_is_noticed_when_they_are_loaded(tmp_path: Path) -> None:
    words = tiny.tokenizer(tmp_path)
    network = tiny.network(words)
    save_tensors(
        {f"online.network.{n}": t for n, t in network.state_dict().items()}, tmp_path / "model.safetensors"
    )
    save_network_config(network, tmp_path)
    record(tmp_path, files=checksums(tmp_path))
    load_network(tmp_path)
    flip(tmp_path / "model.safetensors")
    with pytest.raises(StoredError, match=r"model.safetensors: is damaged or was replaced"):
        load_network(tmp_path)
    record(tmp_path)
    load_network(tmp_path)  # a record of before there were checksums


def test_checksums_are_of_what_others_read(tmp_path: Path) -> None:
    for name in ("model.safetensors", "codebook/model.safetensors", "vocab.txt", ".owner.json", "record.json",
                 "tensorboard/events", "checkpoints/step-1.pt", "vqa_scores.json", "images/0.arrow"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert list(checksums(tmp_path)) == ["codebook/model.safetensors", "model.safetensors", "vocab.txt"]
    record(tmp_path, files=checksums(tmp_path))
    verify(tmp_path)
    (tmp_path / "vocab.txt").write_text("other.txt")
    with pytest.raises(StoredError, match=r"vocab.txt"):
        verify(tmp_path)
    verify(tmp_path, "model.safetensors")


@pytest.mark.slow
def test_no_run_starts_from_an_input_that_was_damaged(killable: Project) -> None:
    """Whatever the input: weights, the tokenizer's words, a data set's manifest."""
    following = killable.find("finetune", "retrieval_coco")
    pretraining, text = killable.find("pretrain", "mamo"), killable.find("weights", "text")
    with killable.aside(following) as expected:
        for path in (
            killable.results / pretraining / "model.safetensors",
            killable.results / text / "vocab.txt",
        ):
            before = path.read_bytes()
            flip(path)
            ended = killable.make(following)
            assert ended.status == 1 and f"{path.name}: is damaged or was replaced" in ended.output, (
                ended.output
            )
            assert "Traceback" not in ended.output and not killable.done(following)
            path.write_bytes(before)
        assert killable.make(following).status == 0 and killable.bits(following) == expected
    for file in killable.results.rglob("*"):
        if file.is_file():
            assert mode(file) == 0o666 & ~_umask(), file


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before
