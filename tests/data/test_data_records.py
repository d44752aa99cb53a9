"""The prepared form: what is written is read back, and half-written directories never pass for whole."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import pytest
from PIL import Image

from mamo.data.store.images import StoredImage
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.store.writer import Writer


def jpeg(colour: int, size: tuple[int, int] = (8, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (colour % 256, 40, 80)).save(out, "JPEG")
    return out.getvalue()


def test_round_trip_over_several_shards(tmp_path: Path) -> None:
    path = tmp_path / "set"
    sources = [jpeg(i * 9, (8 + i, 6)) for i in range(25)]
    with Writer(path, dataset="toy", kind="captions", store_size=16, shard_images=10) as writer:
        for i, source in enumerate(sources):
            assert writer.add_image(f"k{i}", source) == i
            writer.add_record("train" if i < 20 else "val", image=i, text=f"número {i} 😀")
        writer.add_record("train", image=3, text="again")
    prepared = Prepared(path)
    prepared.verify()
    assert sorted(p.name for p in (path / "images").iterdir()) == [
        "00000.arrow",
        "00001.arrow",
        "00002.arrow",
    ]
    assert len(prepared.images) == 25
    for i in (0, 9, 10, 24):
        assert prepared.images.jpeg(i) == sources[i]
        assert prepared.images.key(i) == f"k{i}"
        assert prepared.images.size(i) == (8 + i, 6)
    train = prepared.records("train")
    assert len(train) == 21 and train[20] == {"image": 3, "text": "again"}
    assert [r["text"] for r in prepared.records("val")] == [f"número {i} 😀" for i in range(20, 25)]
    assert train.column("image").to_pylist() == [*range(20), 3]
    assert train.value(7, "text") == "número 7 😀"
    assert prepared.manifest["splits"] == {
        "train": {"images": 20, "records": 21},
        "val": {"images": 5, "records": 5},
    }
    for bad in (25, -1):
        with pytest.raises(IndexError):
            prepared.images.jpeg(bad)


def test_shards_are_cut_by_bytes_too(tmp_path: Path) -> None:
    with Writer(tmp_path, dataset="toy", kind="captions", store_size=16, shard_bytes=2500) as writer:
        for i in range(6):
            writer.add_image(str(i), StoredImage(bytes(1000), 4, 4))
        manifest = writer.close()
    assert [entry["rows"] for entry in manifest["files"]] == [2, 2, 2]
    assert len(Prepared(tmp_path).images) == 6


def test_nested_columns_and_optional_ones(tmp_path: Path) -> None:
    with Writer(tmp_path / "refs", dataset="toy", kind="refs", store_size=16) as writer:
        writer.add_image("a", jpeg(1))
        proposals = [[0.0, 0.0, 1.0, 1.0], [0.25, 0.5, 0.75, 1.0]]
        writer.add_record("testA", image=0, text="man", ref_id=2**40, box=proposals[1], proposals=proposals)
        writer.add_record("testA", image=0, text="dog", ref_id=2, box=proposals[0], proposals=[])
    records = Prepared(tmp_path / "refs").records("testA")
    assert records[0]["proposals"] == proposals and records[0]["ref_id"] == 2**40
    assert records[1]["proposals"] == []
    with Writer(tmp_path / "vqa", dataset="toy", kind="vqa", store_size=16) as writer:
        writer.add_image("a", jpeg(1))
        writer.add_record(
            "train", image=0, question_id=5, question="?", answers=["x"], weights=[0.5], type="t"
        )
    assert Prepared(tmp_path / "vqa").records("train")[0]["answer_type"] == ""


def test_wrong_records_are_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path, dataset="toy", kind="captions", store_size=16)
    writer.add_image("a", jpeg(1))
    with pytest.raises(ValueError, match="image 1 is not one of"):
        writer.add_record("train", image=1, text="x")
    with pytest.raises(ValueError, match="kind captions has"):
        writer.add_record("train", image=0, caption="x")
    with pytest.raises(ValueError, match="kind 'sounds'"):
        Writer(tmp_path / "b", dataset="toy", kind="sounds", store_size=16)  # type: ignore[arg-type]


def test_an_interrupted_preparation_never_passes_for_whole_and_can_be_repeated(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        Writer(tmp_path, dataset="toy", kind="captions", store_size=16) as writer,
    ):
        writer.add_image("a", jpeg(1))
        writer.add_record("train", image=0, text="x")
        raise RuntimeError("power cut")
    with pytest.raises(PreparedError, match="not prepared to the end"):
        Prepared(tmp_path)
    (tmp_path / "images" / "00099.arrow").write_bytes(b"left over")
    with Writer(tmp_path, dataset="toy", kind="captions", store_size=16) as writer:
        writer.add_image("b", jpeg(2))
        writer.add_record("train", image=0, text="y")
    assert not (tmp_path / "images" / "00099.arrow").exists()
    assert Prepared(tmp_path).images.key(0) == "b"
    with pytest.raises(PreparedError, match="already holds"):
        Writer(tmp_path, dataset="toy", kind="captions", store_size=16)
    with pytest.raises(PreparedError, match="does not exist"):
        Prepared(tmp_path / "nowhere")
    with pytest.raises(PreparedError, match="no split 'dev'; there are train"):
        Prepared(tmp_path).records("dev")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with Writer(tmp_path, dataset="toy", kind="captions", store_size=16) as writer:
        writer.add_image("a", jpeg(1))
        writer.add_record("train", image=0, text="x")
    file = tmp_path / "records" / "train.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(PreparedError, match="train.arrow is damaged"):
        Prepared(tmp_path).verify()
    file.write_bytes(content[:-8])
    with pytest.raises(PreparedError, match="train.arrow has .* bytes, and manifest.json says"):
        Prepared(tmp_path)


def test_the_same_content_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with Writer(tmp_path / name, dataset="toy", kind="captions", store_size=16) as writer:
            for i in range(5):
                writer.add_image(str(i), jpeg(i))
                writer.add_record("train", image=i, text=str(i))
    one, two = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("one", "two"))
    assert one == two


def test_a_manifest_that_repeats_its_counts_is_read(tmp_path: Path) -> None:
    """As earlier versions wrote it; the repetition is not looked at."""
    with Writer(tmp_path, dataset="toy", kind="captions", store_size=16) as writer:
        writer.add_image("a", jpeg(0))
        writer.add_record("train", image=0, text="a")
    file = tmp_path / "manifest.json"
    written = json.loads(file.read_text())
    assert "statistics" not in written
    counts = {"splits": {"train": {"images": 1, "texts": 1}}, "total": {"images": 1, "texts": 1}}
    file.write_text(json.dumps(written | {"statistics": counts}))
    assert Prepared(tmp_path).manifest["splits"] == {"train": {"images": 1, "records": 1}}


def test_readers_travel_to_worker_processes(tmp_path: Path) -> None:
    with Writer(tmp_path, dataset="toy", kind="captions", store_size=16) as writer:
        writer.add_image("a", jpeg(1))
        writer.add_record("train", image=0, text="x")
    prepared = Prepared(tmp_path)
    assert prepared.records("train")[0]["text"] == "x"  # opened before it is sent
    copy = pickle.loads(pickle.dumps(prepared))
    assert copy.images.jpeg(0) == jpeg(1) and copy.records("train")[0] == {"image": 0, "text": "x"}
