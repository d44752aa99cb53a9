"""Releases with everything odd that real ones hold, and still packed as their owners ship them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import caption_releases as captions
import numpy as np
import pair_releases as pairs
import pytest
import vqa_release as questions
from PIL import Image

from mamo.data import archives
from mamo.data.examples import HALF, Findings, FormatError, clean
from mamo.data.releases import visual_genome, vqa2
from mamo.data.releases.img2dataset import read_sbu
from mamo.data.releases.karpathy import read_coco
from mamo.data.releases.overlap import counts, overlap
from mamo.data.store.prepare import prepare
from mamo.data.store.records import Prepared

expressions, genome, root = pairs.expressions, captions.genome, questions.root


def photo(mode: str = "RGB", size: tuple[int, int] = (40, 20), **options: Any) -> bytes:
    """A JPEG that is bright on its left half."""
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[:, : size[0] // 2] = 220
    out = io.BytesIO()
    image = Image.fromarray(pixels).convert("RGB").convert(mode)
    image.save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def turned() -> bytes:
    """The same as a camera writes it that was held upright: pixels on their side, and a note in EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 8
    return photo(exif=exif)


ODD = {
    "COCO_train2014_000000000001.jpg": (photo("L"), ["grey"]),
    "COCO_train2014_000000000002.jpg": (photo("CMYK"), ["printed"]),
    "COCO_train2014_000000000003.jpg": (turned(), ["upright"]),
    "COCO_train2014_000000000004.jpg": (photo()[:300], ["cut off"]),
    "COCO_train2014_000000000005.jpg": (b"<html>404</html>", ["no image"]),
    "COCO_train2014_000000000006.jpg": (None, ["a stray caption: there is no such image"]),
    "COCO_train2014_000000000007.jpg": (photo(progressive=True), ["Zwölf Boxkämpfer 猫 🐈", "half of a cat \ud83d"]),
    "COCO_train2014_000000000008.jpg": (photo(), [" ", "", "\u00a0\n", None]),
}  # fmt: skip


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / "release/coco"
    (folder / "train2014").mkdir(parents=True)
    images = []
    for number, (name, (content, texts)) in enumerate(ODD.items(), 1):
        if content is not None:
            (folder / "train2014" / name).write_bytes(content)
        sentences = [{"raw": text} for text in texts]
        entry = {"filename": name, "filepath": "train2014", "split": "train", "cocoid": number}
        images.append(entry | {"sentences": sentences})
    (folder / "dataset_coco.json").write_text("\ufeff" + json.dumps({"images": images}), encoding="utf-8")
    return tmp_path / "release"


def test_odd_images_and_captions(odd: Path, tmp_path: Path) -> None:
    manifest = prepare("coco", odd, tmp_path / "out", store_size=384, missing_limit=None)
    prepared = Prepared(tmp_path / "out")
    actual = {record["text"]: record["image"] for record in prepared.records("train")}
    assert list(actual) == ["grey", "printed", "upright", "Zwölf Boxkämpfer 猫 🐈", "half of a cat ?"]
    for text, row in actual.items():
        image = Image.open(io.BytesIO(prepared.images.jpeg(row)))
        wide = text != "upright"
        assert (image.mode, image.size) == ("RGB", (40, 20) if wide else (20, 40)), text
        assert prepared.images.size(row) == image.size
        # The bright half is on the left; turned a quarter counter-clockwise, it is below.
        pixels = np.asarray(image.convert("L"), dtype=float)
        halves = (pixels[:, :18], pixels[:, 22:]) if wide else (pixels[22:], pixels[:18])
        assert halves[0].mean() > 190 and halves[1].mean() < 30, text
    names = [[line.split(":")[0] for line in manifest[kind]] for kind in ("missing", "unreadable")]
    assert names == [["COCO_train2014_000000000006.jpg"],
                     ["COCO_train2014_000000000004.jpg", "COCO_train2014_000000000005.jpg"]]  # fmt: skip
    assert {reason: entry["count"] for reason, entry in manifest["left_out"].items()} == {
        "empty captions": 4,
        "images without a caption": 1,
        HALF: 1,
    }


def pack(folder: Path, archive: Path, prefix: str = "") -> None:
    """Move a folder's files (or one file) into an archive, under names that begin with ``prefix``."""
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    base = folder.parent if folder.is_file() else folder
    with zipfile.ZipFile(archive, "a") as packed:
        for path in files:
            packed.write(path, prefix + path.relative_to(base).as_posix())
        packed.writestr(f"__MACOSX/{prefix}._{files[0].name}", b"resource fork")
    shutil.rmtree(folder) if folder.is_dir() else folder.unlink()


def test_coco_as_its_zips(odd: Path, tmp_path: Path) -> None:
    unpacked = prepare("coco", odd, tmp_path / "unpacked", store_size=384, missing_limit=None)
    pack(odd / "coco/train2014", odd / "coco/train2014.zip", "train2014/")
    pack(odd / "coco/dataset_coco.json", odd / "caption_datasets.zip")
    packed = prepare("coco", odd, tmp_path / "packed", store_size=384, missing_limit=None, workers=3)
    assert packed["files"] == unpacked["files"] and packed["left_out"] == unpacked["left_out"]
    assert [line.split(":")[0] for line in packed["missing"]] == ["COCO_train2014_000000000006.jpg"]


def test_visual_genome_as_its_zips(genome: Path, tmp_path: Path) -> None:
    captions.write_coco_splits(genome)
    unpacked = prepare("visual_genome", genome, tmp_path / "unpacked", store_size=384)
    folder = genome / "visual_genome"
    pack(folder / "VG_100K", folder / "images.zip", "VG_100K/")
    pack(folder / "VG_100K_2", folder / "images2.zip", "VG_100K_2/")
    for name in ("image_data", "region_descriptions", "question_answers"):
        pack(folder / f"{name}.json", folder / f"{name}.json.zip")
    packed = prepare("visual_genome", genome, tmp_path / "packed", store_size=384)
    assert packed == unpacked and packed["images"] == 2


def test_vqa_as_its_zips(root: Path) -> None:
    unpacked = list(vqa2.read(root, Findings()))
    for part in ("train2014", "val2014"):
        word = part[:-4].capitalize()
        pack(
            root / f"vqa/v2_OpenEnded_mscoco_{part}_questions.json",
            root / f"vqa/v2_Questions_{word}_mscoco.zip",
        )
        pack(root / f"vqa/v2_mscoco_{part}_annotations.json", root / f"vqa/v2_Annotations_{word}_mscoco.zip")
    assert list(vqa2.read(root, Findings())) == unpacked


def test_refcoco_as_its_zip_with_mattnets_own_file_name(expressions: Path, tmp_path: Path) -> None:
    unpacked = prepare("refcoco_plus", expressions, tmp_path / "unpacked", store_size=384)
    folder = expressions / "refcoco+"
    (folder / "dets.json").rename(tmp_path / "dets.json")
    with zipfile.ZipFile(tmp_path / "refcoco+.zip", "w") as packed:
        for name in ("refs(unc).p", "instances.json"):
            packed.write(folder / name, f"refcoco+/{name}")
            (folder / name).unlink()
    (tmp_path / "refcoco+.zip").rename(folder / "refcoco+.zip")
    (tmp_path / "dets.json").rename(folder / "res101_coco_minus_refer_notime_dets.json")
    assert prepare("refcoco_plus", expressions, tmp_path / "packed", store_size=384) == unpacked


def test_a_neighbours_archive_does_not_stand_in(tmp_path: Path) -> None:
    """Photos of two sets can bear the same number: an archive beside the releases must name the folder too."""
    with zipfile.ZipFile(tmp_path / "others.zip", "w") as packed:
        packed.writestr("flickr30k-images/1.jpg", b"flickr")
    assert archives.find(tmp_path / "visual_genome/VG_100K/1.jpg", tmp_path) is None
    member = archives.find(tmp_path / "flickr30k/flickr30k-images/1.jpg", tmp_path)
    assert member is not None and member.read_bytes() == b"flickr"


def test_damaged_archives_are_named(odd: Path) -> None:
    (odd / "coco/dataset_coco.json").unlink()
    (odd / "coco/caption_datasets.zip").write_bytes(b"half a download")
    with pytest.raises(
        FormatError, match=r"caption_datasets.zip: is not a complete zip file .*fetch it again"
    ):
        list(read_coco(odd, Findings()))


def test_a_cut_off_archive_of_photos_is_refused_whatever_may_be_missing(odd: Path, tmp_path: Path) -> None:
    pack(odd / "coco/train2014", odd / "coco/train2014.zip", "train2014/")
    archive = odd / "coco/train2014.zip"
    archive.write_bytes(archive.read_bytes()[:-60])
    with pytest.raises(
        FormatError, match=r"train2014.zip: is not a complete zip file .*fetch it again, or remove it"
    ):
        prepare("coco", odd, tmp_path / "out", store_size=32, missing_limit=None, workers=2)
    archive.unlink()
    os.mkfifo(archive)
    with pytest.raises(FormatError, match="train2014.zip: cannot be read .*is a pipe"):
        prepare("coco", odd, tmp_path / "other", store_size=32, missing_limit=None)


def test_a_member_larger_than_it_says_takes_no_memory(tmp_path: Path) -> None:
    """100 MB of zeros whose size is given as 1,000 bytes."""
    archive = tmp_path / "photos.zip"
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
        packed.open("1.jpg", "w") as member,
    ):
        for _ in range(100):
            member.write(bytes(1 << 20))
    raw = bytearray(archive.read_bytes())
    entry = raw.rfind(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")
    archive.write_bytes(bytes(raw))
    actual = archives.find(tmp_path / "1.jpg", tmp_path.parent)
    assert actual is not None
    assert peak_growth(actual) < 30 << 20


def peak_growth(member: archives.ZipMember) -> int:
    """Bytes that the refused reading of a member takes at its peak."""
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom mamo.data.archives import ZipMember\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    ZipMember(Path(sys.argv[1]), sys.argv[2]).read_bytes()\n    sys.exit('was read')\n"
        "except OSError:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    words = [sys.executable, "-c", code, str(member.archive), member.name]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout) << 10


def test_an_endless_table_of_contents_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as packed:
        for i in range(100):
            packed.writestr(f"{i}.jpg", b"x")
    monkeypatch.setattr(archives, "MAX_CONTENTS", 4000)
    with pytest.raises(archives.ArchiveError, match=r"photos.zip: .* more than the 4,000 bytes"):
        archives.find(tmp_path / "1.jpg", tmp_path.parent)


def test_a_web_sample_with_a_damaged_note_loses_its_caption_only(tmp_path: Path) -> None:
    members = {"1.jpg": captions.jpeg(), "1.json": b'{"caption": "cut', "2.jpg": captions.jpeg(), "2.json": b"[]",
               "3.jpg": captions.jpeg(), "3.json": b'{"caption": null}', "4.webp": captions.jpeg(),
               "4.txt": b"\xff caf\xc3\xa9"}  # fmt: skip
    captions.write_shard(tmp_path / "sbu", "00000", members, 4, 4)
    findings = Findings()
    assert [captions.texts(example) for example in read_sbu(tmp_path, findings)] == [["\ufffd café"]]
    replaced = "captions with bytes that are not UTF-8, kept with U+FFFD in their place"
    assert findings.counts == {"empty captions": 3, replaced: 1}
    (tmp_path / "sbu/00000_stats.json").write_text("{")
    with pytest.raises(FormatError, match="00000_stats.json: not JSON .*run img2dataset again"):
        list(read_sbu(tmp_path, Findings()))


def test_tars_with_links_and_folders_are_read(tmp_path: Path) -> None:
    captions.write_shard(
        tmp_path / "sbu", "00000", {"00000/1.jpg": captions.jpeg(), "00000/1.txt": b"a"}, 1, 1
    )
    with tarfile.open(tmp_path / "sbu/00000.tar", "a") as tar:
        link = tarfile.TarInfo("00000/2.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    examples = list(read_sbu(tmp_path, Findings()))
    assert [example.images[0].key for example in examples] == ["00000/1"]


def test_annotations_of_no_question_are_noted(root: Path) -> None:
    path = root / "vqa/v2_mscoco_train2014_annotations.json"
    content = json.loads(path.read_text())
    content["annotations"].append({**content["annotations"][0], "question_id": 999_999})
    path.write_text(json.dumps(content))
    findings = Findings()
    list(vqa2.read(root, findings))
    assert findings.counts["annotations of no question"] == 1


def test_halves_of_surrogate_pairs_can_be_written() -> None:
    assert clean("a \ud83d b") == "a ? b" and clean("🐈") == "🐈" and clean(None) == ""


def test_overlap_with_evaluation_sets(expressions: Path, tmp_path: Path) -> None:
    """By Flickr's numbers for Flickr30K's test photos, by COCO's for RefCOCO+'s images."""
    folder = expressions / "coco"
    (folder / "annotations").mkdir(parents=True)
    listed = [(i, "train2014", "train") for i in range(1, 60)] + [
        (70, "val2014", "restval"),
        (71, "val2014", "test"),
    ]
    images = [{"filename": f"COCO_{p}_{i:012d}.jpg", "filepath": p, "split": s, "cocoid": i, "sentences": []}
              for i, p, s in listed]  # fmt: skip
    (folder / "dataset_coco.json").write_text(json.dumps({"images": images}))
    evaluated = visual_genome.refcoco.evaluation_images(expressions)
    shared = overlap("coco", expressions)
    assert (
        counts(shared)["flickr30k test"] is None
        and "dataset_flickr30k.json" in shared["flickr30k test"]["unknown"]
    )
    both = sorted(evaluated & set(range(1, 60)))
    assert counts(shared)["refcoco_plus val, testA, testB"] == len(both)

    for part in ("train2014", "val2014"):
        urls = {1: "http://farm4.staticflickr.com/3153/111_164f0c0b83_z.jpg", 70: "http://x/1/222_ab.jpg",
                71: "http://x/1/333_ab_z.jpg", 2: "http://x/1/444_ab_z.jpg"}  # fmt: skip
        of_part = [{"id": i, "file_name": f"COCO_{p}_{i:012d}.jpg", "flickr_url": urls.get(i, "")}
                   for i, p, _ in listed if p == part]  # fmt: skip
        (folder / f"annotations/captions_{part}.json").write_text(json.dumps({"images": of_part}))
    (expressions / "flickr30k").mkdir()
    entries = [("111.jpg", "test"), ("222.jpg", "test"), ("333.jpg", "test"), ("444.jpg", "train")]
    (expressions / "flickr30k/dataset_flickr30k.json").write_text(
        json.dumps({"images": [{"filename": name, "split": split} for name, split in entries]})
    )
    pack(folder / "annotations", folder / "annotations_trainval2014.zip", "annotations/")
    # 333 is an image of COCO's own test split, so it is not trained on; 444 is no test photo of Flickr30K.
    assert overlap("coco", expressions)["flickr30k test"] == {
        "images": ["COCO_train2014_000000000001.jpg", "COCO_val2014_000000000070.jpg"]
    }
    (expressions / "visual_genome").mkdir()
    data = [
        {"image_id": 9, "flickr_id": 222},
        {"image_id": 10, "flickr_id": None},
        {"image_id": 11, "flickr_id": 5},
    ]
    (expressions / "visual_genome/image_data.json").write_text(json.dumps(data))
    assert overlap("visual_genome", expressions) == {"flickr30k test": {"images": ["9"]}}
    assert overlap("sbu", expressions) == {}
