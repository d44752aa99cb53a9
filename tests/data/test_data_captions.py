"""Readers of caption data sets, to the letter of each official format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import caption_releases
import pytest
from caption_releases import jpeg, karpathy, texts, write_coco_splits, write_flickr8k, write_shard

from mamo.data.examples import Findings, FormatError
from mamo.data.releases import flickr8k, visual_genome
from mamo.data.releases.img2dataset import read_cc3m, read_sbu
from mamo.data.releases.karpathy import read_coco, read_flickr30k

genome = caption_releases.genome


def test_coco_restval_is_training_and_folders_come_from_filepath(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    content = karpathy(
        [
            ("COCO_val2014_000000000042.jpg", "test", ["A  dog.", "two\ndogs"]),
            ("COCO_train2014_000000000009.jpg", "train", ["Ünïcödé 猫"]),
            ("COCO_val2014_000000000073.jpg", "restval", ["c", "", " "]),
            ("COCO_val2014_000000000074.jpg", "val", [" "]),
        ],
        filepath=["val2014", "train2014", "val2014", "val2014"],
        cocoid=[42, 9, 73, 74],
    )
    (tmp_path / "coco" / "dataset_coco.json").write_text(json.dumps(content))
    findings = Findings()
    examples = list(read_coco(tmp_path, findings))
    assert [(e.split, e.images[0].key, texts(e)) for e in examples] == [
        ("test", "COCO_val2014_000000000042.jpg", ["A dog.", "two dogs"]),
        ("train", "COCO_train2014_000000000009.jpg", ["Ünïcödé 猫"]),
        ("train", "COCO_val2014_000000000073.jpg", ["c"]),
    ]
    assert examples[0].images[0].content == tmp_path / "coco/val2014/COCO_val2014_000000000042.jpg"
    assert findings.counts == {"empty captions": 3, "images without a caption": 1}


def test_one_file_name_in_two_folders_is_two_images(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    entries = [("1.jpg", "train", ["a dog"]), ("1.jpg", "val", ["a cat"]), ("1.jpg", "val", ["a cat"])]
    content = karpathy(entries, filepath=["train2014", "val2014", "val2014"], cocoid=[1, 2, 3])
    (tmp_path / "coco/dataset_coco.json").write_text(json.dumps(content))
    findings = Findings()
    actual = [(e.images[0].key, e.images[0].content, texts(e)) for e in read_coco(tmp_path, findings)]
    assert actual == [
        ("1.jpg", tmp_path / "coco/train2014/1.jpg", ["a dog"]),
        ("val2014/1.jpg", tmp_path / "coco/val2014/1.jpg", ["a cat"]),
    ]
    assert findings.counts == {"images listed twice": 1}


def test_karpathy_files_that_are_not_are_named(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    path = tmp_path / "coco" / "dataset_coco.json"
    with pytest.raises(FormatError, match="dataset_coco.json: no such file; it comes in"):
        list(read_coco(tmp_path, Findings()))
    for content, message in [
        ("{", "not JSON"),
        ("[]", "dataset_coco.json: is list .*, not an object"),
        ('{"images": 3}', "no list 'images'"),
        ('{"images": [{"filename": "a.jpg"}]}', r"images\[0\]: lacks 'split'"),
        ('{"images": [{"filename": "a.jpg", "split": "dev", "sentences": []}]}', "split 'dev'"),
    ]:
        path.write_text(content)
        with pytest.raises(FormatError, match=message):
            list(read_coco(tmp_path, Findings()))


def test_flickr30k(tmp_path: Path) -> None:
    (tmp_path / "flickr30k").mkdir()
    content = karpathy([("1.jpg", "train", ["a", "b"]), ("2.jpg", "val", ["c"]), ("3.jpg", "test", ["d"])])
    (tmp_path / "flickr30k" / "dataset_flickr30k.json").write_text(json.dumps(content))
    examples = list(read_flickr30k(tmp_path, Findings()))
    assert [e.split for e in examples] == ["train", "val", "test"]
    assert examples[0].images[0].content == tmp_path / "flickr30k/flickr30k-images/1.jpg"


def test_flickr8k_with_its_quirks(tmp_path: Path) -> None:
    tokens = (
        "a.jpg#0\tA child .\na.jpg#1\tTwo children .\nb.jpg#0\tDog .\nb.jpg#1\t\nstray.jpg.1#0\tNobody .\n"
    )
    tokens += "loose.jpg#0\tIn no list .\n"
    write_flickr8k(tmp_path, tokens, train=["a.jpg", "mute.jpg"], val=["b.jpg"], test=["gone.jpg", "a.jpg"])
    for name in ("a", "b", "mute", "loose"):
        (tmp_path / f"flickr8k/Flicker8k_Dataset/{name}.jpg").write_bytes(jpeg())
    findings = Findings()
    examples = list(flickr8k.read(tmp_path, findings))
    assert [(e.split, e.images[0].key, texts(e)) for e in examples] == [
        ("train", "a.jpg", ["A child .", "Two children ."]),
        ("val", "b.jpg", ["Dog ."]),
    ]
    assert findings.as_dict() == {
        "empty captions": {"count": 1, "named": ["b.jpg#1"]},
        "photos in no split": {"count": 1, "named": ["loose.jpg"]},
        "captions of a photo that does not exist": {"count": 1, "named": ["stray.jpg.1"]},
        "photos without a caption": {"count": 2, "named": ["mute.jpg", "gone.jpg"]},
        "photos listed twice": {"count": 1, "named": ["a.jpg"]},
    }


@pytest.mark.parametrize("mark", ["\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_caption_is_not_split_at_what_ends_no_line(tmp_path: Path, mark: str) -> None:
    tokens = f"a.jpg#0\tA dog{mark}and a cat .\r\na.jpg#1\tTwo .\n"
    write_flickr8k(tmp_path, tokens, train=["a.jpg"], dev=[], test=[])
    (example,) = flickr8k.read(tmp_path, Findings())
    assert texts(example) == ["A dog and a cat .", "Two ."]  # white space of any kind becomes a space


def test_flickr8k_broken_token_file(tmp_path: Path) -> None:
    write_flickr8k(tmp_path, "a.jpg#0\tfine\na.jpg no mark\n")
    with pytest.raises(FormatError, match="token.txt:2"):
        list(flickr8k.read(tmp_path, Findings()))


@pytest.mark.parametrize(("name", "read"), [("sbu", read_sbu), ("cc3m", read_cc3m)])
def test_img2dataset_shards(tmp_path: Path, name: str, read: Any) -> None:
    meta = json.dumps({"caption": "from json", "url": "http://x", "status": "success"}).encode()
    first = {
        "000000000.jpg": jpeg(1),
        "000000000.json": meta,
        "000000000.txt": "a café\n by night".encode(),
        "000000003.json": meta,
        "000000003.jpg": jpeg(2),
        "000000007.jpg": jpeg(3),
        "000000007.txt": b" ",
        "000000008.txt": b"no picture",
    }
    write_shard(tmp_path / name, "00001", {"000010001.png": jpeg(9), "000010001.txt": b"second"}, 1, 1)
    write_shard(tmp_path / name, "00000", first, 10, 4)
    findings = Findings()
    examples = list(read(tmp_path, findings))
    assert [(e.split, e.images[0].key, texts(e), e.images[0].content) for e in examples] == [
        ("train", "00000/000000000", ["a café by night"], jpeg(1)),
        ("train", "00000/000000003", ["from json"], jpeg(2)),
        ("train", "00001/000010001", ["second"], jpeg(9)),
    ]
    assert findings.counts == {
        "links that could not be downloaded": 6,
        "empty captions": 1,
        "samples without an image": 1,
    }


def test_img2dataset_interrupted_downloads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no \\*.tar"):
        list(read_sbu(tmp_path, Findings()))
    write_shard(tmp_path / "sbu", "00000", {"0.jpg": jpeg(), "0.txt": b"x"}, 1, 1)
    tar = tmp_path / "sbu/00000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:700])
    with pytest.raises(FormatError, match="00000.tar: damaged"):
        list(read_sbu(tmp_path, Findings()))
    tar.write_bytes(whole)
    (tmp_path / "sbu/00000_stats.json").unlink()
    with pytest.raises(FormatError, match="interrupted"):
        list(read_sbu(tmp_path, Findings()))


def test_visual_genome_keeps_large_regions_and_leaves_out_evaluation_images(genome: Path) -> None:
    write_coco_splits(genome)
    findings = Findings()
    examples = list(visual_genome.read(genome, findings))
    assert [(e.split, e.images[0].key, texts(e)) for e in examples] == [
        ("train", "1", ["A tree", "small dog"]),
        ("train", "2", [f"thing {n}" for n in range(11, 3, -1)]),
    ]
    assert examples[0].images[0].content == genome / "visual_genome/VG_100K/1.jpg"
    assert examples[1].images[0].content == genome / "visual_genome/VG_100K_2/2.jpg"
    assert findings.counts == {
        "sentences given twice for an image": 1,
        "descriptions of smaller regions": 3,
        "images of evaluation sets": 2,
        "images that image_data.json does not list": 1,
    }
    assert len(texts(list(visual_genome.read(genome, Findings(), regions=None))[1])) == 11


def test_visual_genome_questions_leave_out_only_what_vqa_validates_on(genome: Path) -> None:
    write_coco_splits(genome)
    findings = Findings()
    examples = list(visual_genome.read_qa(genome, findings))
    assert [e.images[0].key for e in examples] == ["1", "2", "4"]
    assert examples[0].records == (
        {
            "question_id": 11,
            "question": "What is it?",
            "answers": ["dog"],
            "weights": [1.0],
            "type": "visual genome",
        },
    )
    assert findings.counts == {"questions without text or answer": 1, "images of evaluation sets": 1}


def test_visual_genome_without_coco_splits_is_refused(genome: Path) -> None:
    with pytest.raises(FormatError, match="dataset_coco.json"):
        list(visual_genome.read(genome, Findings()))
