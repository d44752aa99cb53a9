"""Generated SBU Captions and Conceptual Captions, as img2dataset's webdataset format leaves them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import Any

from mamo.data.world.releases.publisher import Publisher, compact
from mamo.data.world.scene import stream
from mamo.data.world.web import WebNoise, web_caption

_SHARD = 1000  # images of a tar


def write_shards(publisher: Publisher, dataset: str, number: int, source: WebNoise) -> None:
    """Write ``DATASET/00000.tar``, ``00000_stats.json``, ``00000.parquet`` and so on."""
    scenes = publisher.scenes(dataset, number)
    spec = publisher.spec
    for shard, first in enumerate(range(0, number, _SHARD)):
        stem, rows = f"{shard:05d}", []
        with tarfile.open(publisher.path(f"{dataset}/{stem}.tar"), "w", format=tarfile.USTAR_FORMAT) as tar:
            for place, scene in enumerate(scenes[first : first + _SHARD]):
                rng = stream(spec.seed, dataset, "captions", first + place)
                caption, _ = web_caption(rng, scene, source, spec.web_noise, spec.kinds)
                image, key = publisher.encode(scene), f"{shard:05d}{place:04d}"
                row = _row(dataset, key, caption, image, spec.canvas)
                for suffix, content in (
                    ("jpg", image),
                    ("txt", caption.encode()),
                    ("json", compact(row).encode()),
                ):
                    member = tarfile.TarInfo(f"{key}.{suffix}")  # owner and time are zero
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                publisher.note(scene, f"{dataset}/{stem}.tar", f"{stem}/{key}", dataset, "train")
                rows.append(row)
        _write_parquet(publisher, f"{dataset}/{stem}.parquet", rows)
        counts = {"count": len(rows), "successes": len(rows), "failed_to_download": 0, "failed_to_resize": 0}
        times = {"duration": 0.0, "start_time": 0.0, "end_time": 0.0}
        publisher.write_json(
            f"{dataset}/{stem}_stats.json", counts | times | {"status_dict": {"success": len(rows)}}
        )


def _row(dataset: str, key: str, caption: str, image: bytes, canvas: int) -> dict[str, Any]:
    size = {"width": canvas, "height": canvas, "original_width": canvas, "original_height": canvas}
    status = {
        "status": "success",
        "error_message": None,
        "exif": "{}",
        "sha256": hashlib.sha256(image).hexdigest(),
    }
    return {"caption": caption, "url": f"https://example.org/{dataset}/{key}.jpg", "key": key} | size | status


def _write_parquet(publisher: Publisher, file: str, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(rows)
    place = table.schema.get_field_index("error_message")  # a column of nulls has no type of its own
    table = table.set_column(place, "error_message", table.column(place).cast(pyarrow.string()))
    pyarrow.parquet.write_table(table, publisher.path(file))
