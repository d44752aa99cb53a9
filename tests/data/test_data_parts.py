"""Preparation in parts: the same bytes as in one piece, resumable, flat in memory."""

from __future__ import annotations

import json
import sys
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import caption_releases as captions
import flickr30k_release as releases
import pair_releases as pairs
import pytest
import vqa_release as questions
from workflow_bench import Bench

from mamo.cli.main import main
from mamo.data import archives
from mamo.data.datasets import DATASETS, part_count
from mamo.data.store import parts as module
from mamo.data.store.parts import FOLDER, join_parts, part_name, write_part
from mamo.data.store.prepare import MissingImages, prepare
from mamo.data.store.records import Prepared, PreparedError
from mamo.specs.plan import make_plan

two_photos, expressions, root = pairs.two_photos, pairs.expressions, questions.root


def scattered(dataset: str, release: Path, out: Path, parts: int, **settings) -> dict:
    for part in reversed(range(parts)):  # whatever the order in which a cluster makes them
        write_part(dataset, release, out, part, parts, store_size=settings["store_size"])
    return join_parts(dataset, release, out, parts, **settings)


def same_files(one: Path, other: Path) -> None:
    names = {str(p.relative_to(one)) for p in one.rglob("*") if p.is_file()}
    assert names == {str(p.relative_to(other)) for p in other.rglob("*") if p.is_file()}
    assert "manifest.json" in names
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("parts", [1, 3, 8])
def test_parts_give_the_bytes_of_one_piece(tmp_path: Path, parts: int) -> None:
    """With an image missing, another damaged, empty captions, and captions that take turns."""
    texts = {f"p{i}": [f"p{i} c{c}" for c in range(1 + i % 3)] for i in range(30)} | {"mute": [" "]}
    releases.write_flickr30k(tmp_path, texts)
    photos = tmp_path / "flickr30k/flickr30k-images"
    (photos / "p3.jpg").unlink()
    (photos / "p5.jpg").write_bytes(b"<html>")
    settings = {"store_size": 16, "missing_limit": 0.2, "interleave": 2}
    manifest = prepare("flickr30k", tmp_path, tmp_path / "one", **settings)
    assert scattered("flickr30k", tmp_path, tmp_path / "many", parts, **settings) == manifest
    assert manifest["left_out"] == {
        "empty captions": {"count": 1, "named": ["mute.jpg"]},
        "images without a caption": {"count": 1, "named": ["mute.jpg"]},
    }
    same_files(tmp_path / "one", tmp_path / "many")


def test_shards_of_the_web_are_cut_between_tars(tmp_path: Path) -> None:
    for shard in range(5):
        members = {}
        for i in range(3):
            members[f"{shard}{i}.jpg"] = captions.jpeg(shard * 40 + i)
            members[f"{shard}{i}.txt"] = f"text {shard} {i}".encode() if i != 1 else b""
        captions.write_shard(tmp_path / "sbu", f"{shard:05d}", members, 10, 3)
    settings = {"store_size": 384, "missing_limit": None}
    manifest = prepare("sbu", tmp_path, tmp_path / "one", **settings)
    assert manifest["left_out"]["links that could not be downloaded"]["count"] == 35
    assert manifest["left_out"]["empty captions"]["count"] == 5
    for parts in (2, 7):  # fewer parts than tars, and more
        out = tmp_path / f"in{parts}"
        assert scattered("sbu", tmp_path, out, parts, **settings) == manifest
        same_files(tmp_path / "one", out)


def test_a_photo_that_many_sentences_show_is_stored_once(two_photos: Path, tmp_path: Path) -> None:
    prepare("nlvr2", two_photos, tmp_path / "one", store_size=384)
    scattered("nlvr2", two_photos, tmp_path / "many", 3, store_size=384)
    same_files(tmp_path / "one", tmp_path / "many")


def test_expressions(expressions: Path, tmp_path: Path) -> None:
    prepare("refcoco_plus", expressions, tmp_path / "one", store_size=384)
    scattered("refcoco_plus", expressions, tmp_path / "many", 3, store_size=384)
    same_files(tmp_path / "one", tmp_path / "many")


def test_questions_and_their_candidates(root: Path, tmp_path: Path) -> None:
    prepare("vqa2", root, tmp_path / "one", store_size=384)
    scattered("vqa2", root, tmp_path / "many", 3, store_size=384)
    same_files(tmp_path / "one", tmp_path / "many")
    assert (tmp_path / "many/candidates.json").is_file()


@pytest.mark.parametrize("dataset", ["vqa2", "nlvr2"])
def test_a_release_is_read_once_for_all_parts(
    dataset: str, root: Path, two_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    read_bytes = archives.read_bytes

    def counted(path: Path, *rest: Path) -> bytes:
        read.append(path.name)
        return read_bytes(path, *rest)

    monkeypatch.setattr(archives, "read_bytes", counted)
    scattered(dataset, root, tmp_path / "many", 3, store_size=384)
    assert read and len(read) == len(set(read))


def test_a_damaged_share_is_refused(root: Path, tmp_path: Path) -> None:
    write_part("vqa2", root, tmp_path / "out", 0, 2, store_size=16)
    share = tmp_path / "out" / FOLDER / "shared/00001-of-00002.jsonl"
    share.write_bytes(share.read_bytes()[:-20])
    with pytest.raises(
        PreparedError, match="00001-of-00002.jsonl: is not the share that of-00002.json describes"
    ):
        write_part("vqa2", root, tmp_path / "out", 1, 2, store_size=16)


def test_what_is_prepared_is_not_prepared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    releases.toy(tmp_path, 12)
    out = tmp_path / "out"
    first = write_part("flickr30k", tmp_path, out, 0, 2, store_size=16)
    (out / FOLDER / f"{part_name(1, 2)}.arrow").write_bytes(b"cut off")  # no account: it was interrupted
    with pytest.raises(PreparedError, match="part 2 of 2 is not prepared"):
        join_parts("flickr30k", tmp_path, out, 2, store_size=16)
    decoded: list[str] = []
    load = module.load_images

    def counted(examples, *rest):
        def named():
            for example in examples:
                decoded.append(example.images[0].key)
                yield example

        return load(named(), *rest)

    monkeypatch.setattr(module, "load_images", counted)
    assert write_part("flickr30k", tmp_path, out, 0, 2, store_size=16) == first and decoded == []
    second = write_part("flickr30k", tmp_path, out, 1, 2, store_size=16)
    assert len(decoded) == second["images"] == 12 - first["images"]
    assert join_parts("flickr30k", tmp_path, out, 2, store_size=16)["images"] == 12
    assert not (out / FOLDER).exists()


def test_parts_that_do_not_fit_are_refused_and_kept(tmp_path: Path) -> None:
    releases.toy(tmp_path, 8)
    out = tmp_path / "out"
    for part in range(2):
        write_part("flickr30k", tmp_path, out, part, 2, store_size=16)
    with pytest.raises(PreparedError, match="prepare it again"):
        join_parts("flickr30k", tmp_path, out, 2, store_size=32)
    (tmp_path / "flickr30k/flickr30k-images/p1.jpg").unlink()
    for part in range(2):
        write_part("flickr30k", tmp_path, tmp_path / "gone", part, 2, store_size=16)
    with pytest.raises(MissingImages):
        join_parts("flickr30k", tmp_path, tmp_path / "gone", 2, store_size=16)
    assert (tmp_path / "gone" / FOLDER / f"{part_name(0, 2)}.json").is_file()
    file = out / FOLDER / f"{part_name(1, 2)}.arrow"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(PreparedError, match="00001-of-00002.arrow"):
        join_parts("flickr30k", tmp_path, out, 2, store_size=16)
    with pytest.raises(ValueError, match="part 3 of 2 does not exist"):
        write_part("flickr30k", tmp_path, out, 2, 2, store_size=16)


def test_only_whole_releases_are_cut() -> None:
    for scale in ("smoke", "demo", "flickr8k"):
        runs = make_plan(scale).by_kind("data")
        assert {part_count(run.spec) for run in runs if "dataset" in run.spec} == {1}
    runs = {run.spec["dataset"]: run for run in make_plan("paper").by_kind("data")}
    assert part_count(runs["cc3m"].spec) == DATASETS["cc3m"].parts > 1
    assert part_count({**runs["cc3m"].spec, "limits": {"train": 10}}) == 1


def peak(count: int, folder: Path) -> int:
    """Most memory that Python held while ``count`` pairs were prepared in two parts and read once, in bytes."""
    folder.mkdir()
    for shard in range(4):
        members = {}
        for i in range(count // 4):
            members[f"{shard}{i:06d}.jpg"] = captions.jpeg(i % 200) + bytes(2000)
            members[f"{shard}{i:06d}.txt"] = b"a text"
        captions.write_shard(folder / "sbu", f"{shard:05d}", members, count // 4, count // 4)
    tracemalloc.start()
    scattered("sbu", folder, folder / "out", 2, store_size=384, missing_limit=None)
    prepared = Prepared(folder / "out")
    assert sum(len(prepared.images.jpeg(row)) for row in range(count)) > 2000 * count
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pairs(tmp_path: Path) -> None:
    """Five times the pairs, 3 MB more of images on disk per thousand: the peak stays where it was."""
    # In a process of its own: threads that other tests have left would be counted too.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        few = alone.submit(peak, 1200, tmp_path / "few").result()
        many = alone.submit(peak, 6000, tmp_path / "many").result()
    assert many < 1.5 * few + 1e6, (few, many)


def test_accounts_are_plain_json(tmp_path: Path) -> None:
    releases.toy(tmp_path, 6)
    write_part("flickr30k", tmp_path, tmp_path / "out", 0, 2, store_size=16)
    account = json.loads((tmp_path / "out" / FOLDER / f"{part_name(0, 2)}.json").read_text())
    assert account["file"]["rows"] == account["examples"] > 0
    assert set(account) >= {"images", "counts", "named", "store_size", "dataset"}


def test_the_command_prepares_parts_and_puts_them_together(
    two_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_plan("paper").find("data", "nlvr2")
    words = ["prepare", "--scale", "paper", "--results", str(tmp_path / "r"), "--releases", str(two_photos)]
    assert main([*words, "--part", "2/4", "--threads", "2", "nlvr2"]) == 0
    directory = run.directory(tmp_path / "r" / "paper")
    assert [path.name for path in directory.glob("parts/*.json")] == ["00001-of-00004.json"]
    assert main([*words, "--part", "2/5", "nlvr2"]) == 1
    assert "in 4 parts, not in 5" in capsys.readouterr().err
    assert main([*words, "--part", "5/4", "nlvr2"]) == 2
    assert main([*words, "nlvr2"]) == 0
    record = json.loads(run.record(tmp_path / "r" / "paper").read_text())
    assert record["details"]["splits"]["train"]["records"] > 0
    assert not (directory / "parts").exists()
    prepare("nlvr2", two_photos, tmp_path / "one", store_size=384)
    assert (directory / "manifest.json").read_bytes() == (tmp_path / "one/manifest.json").read_bytes()


def test_several_data_sets_in_one_call(
    two_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, results = make_plan("paper"), tmp_path / "r"
    words = ["prepare", "--scale", "paper", "--results", str(results), "--releases", str(two_photos)]
    assert main([*words, "nlvr2", "nosuch"]) == 2  # before anything is made
    assert "'nosuch' is not a data run of scale 'paper'" in capsys.readouterr().err
    assert not results.exists()
    assert main([*words, "--part", "1/4", "nlvr2", "coco"]) == 2
    assert "--part 1/4: name one data set, not 2" in capsys.readouterr().err
    assert main([*words, "coco", "nlvr2"]) == 1  # there is no COCO here, and NLVR2 is prepared all the same
    assert "dataset_coco.json: no such file" in capsys.readouterr().err
    assert plan.find("data", "nlvr2").record(results / "paper").is_file()


@pytest.mark.slow
def test_a_workflow_prepares_the_parts_and_puts_them_together(two_photos: Path, tmp_path: Path) -> None:
    """Through Snakemake, where a first call fails: the next one goes on, and nothing is left to do in the end."""
    bench = Bench.create(tmp_path / "project")
    (bench.folder / "bin/mamo").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mamo.cli "$@"\n')
    scales = bench.folder / "ablations/scales"
    (scales / "small.yaml").write_text("extends: paper\nablations: [counted]\nfigures: []\n")
    table = "title: t\nquestion: q\nhypothesis: h\ncost: c\nkind: statistics\ndatasets: [nlvr2]\n"
    (bench.folder / "ablations/counted.yaml").write_text(table)
    config = ("--config", "scale=small", f"releases={two_photos}")
    listed = (two_photos / "nlvr2/data/test1.json").rename(two_photos / "test1.json")
    done = bench.snakemake(*config, "--", "counted")
    assert done.returncode != 0 and "test1.json: no such file" in done.stdout
    listed.rename(two_photos / "nlvr2/data/test1.json")
    done = bench.snakemake(*config, "--", "counted")
    assert done.returncode == 0, done.stdout
    (record,) = bench.folder.glob("results/small/data/nlvr2-*/record.json")
    assert not (record.parent / "parts").exists()
    prepare("nlvr2", two_photos, tmp_path / "one", store_size=384)
    assert (record.parent / "manifest.json").read_bytes() == (tmp_path / "one/manifest.json").read_bytes()
    assert "Nothing to be done" in bench.snakemake(*config, "--", "counted").stdout
