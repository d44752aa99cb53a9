"""The data sets that there are: what their records are, and their splits."""

from __future__ import annotations

from typing import Literal, NamedTuple

RecordKind = Literal["captions", "vqa", "nlvr2", "refs"]


class Release(NamedTuple):
    """Facts of a data set that planning and preparation share."""

    kind: RecordKind
    splits: tuple[str, ...]


_GALLERY = ("train", "val", "test")
RELEASES = {
    "coco": Release("captions", _GALLERY),
    "visual_genome": Release("captions", ("train",)),
    "sbu": Release("captions", ("train",)),
    "cc3m": Release("captions", ("train",)),
    "flickr30k": Release("captions", _GALLERY),
    "flickr8k": Release("captions", _GALLERY),
    "vqa2": Release("vqa", _GALLERY),
    "visual_genome_qa": Release("vqa", ("train",)),
    "nlvr2": Release("nlvr2", ("train", "dev", "test")),
    "refcoco_plus": Release("refs", ("train", "val", "testA", "testB")),
}
