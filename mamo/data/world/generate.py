"""Write the embedded world: every release of the paper's data sets, generated."""

from __future__ import annotations

from pathlib import Path

from mamo.data.world.releases.img2dataset import write_shards
from mamo.data.world.releases.karpathy import write_coco, write_flickr30k
from mamo.data.world.releases.nlvr2 import write_nlvr2
from mamo.data.world.releases.publisher import Publisher, ReportProgress
from mamo.data.world.releases.refcoco import write_refcoco_plus
from mamo.data.world.releases.visual_genome import write_visual_genome
from mamo.data.world.releases.vqa2 import write_vqa2
from mamo.data.world.web import CC3M, SBU
from mamo.specs.world import WorldSpec


def write_world(spec: WorldSpec, root: Path, progress: ReportProgress | None = None) -> None:
    """Write all releases below ``root``, byte for byte the same for the same spec.

    Args:
        spec: sizes and seed.
        root: a new or empty folder; an interrupted call leaves it incomplete.
        progress: called after every image with the data set and the number of images so far.

    Raises:
        FileExistsError: ``root`` is not empty.
    """
    with Publisher(spec, root, progress) as publisher:
        coco = write_coco(publisher)
        write_vqa2(publisher, coco)
        write_refcoco_plus(publisher, coco["train"])
        write_flickr30k(publisher)
        write_visual_genome(publisher)
        write_shards(publisher, "sbu", spec.sbu, SBU)
        write_shards(publisher, "cc3m", spec.cc3m, CC3M)
        write_nlvr2(publisher)
