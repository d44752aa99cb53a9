"""Turn an official release into the prepared form, with an account of what was left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from mamo.data import archives
from mamo.data.datasets import DATASETS, Dataset
from mamo.data.examples import LISTED, Example, Findings, FormatError, ImageSource
from mamo.data.store.images import ImageError, StoredImage, normalise
from mamo.data.store.manifest import Manifest, Row
from mamo.data.store.writer import Writer
from mamo.files.reading import MAX_IMAGE
from mamo.files.writing import write_json

ImageResult = StoredImage | ImageError


MISSING_FILE = "missing.json"


class MissingImages(ValueError):
    """More images are missing or unreadable than the limit allows, or all of a split are."""


def prepare(
    dataset: str,
    root: Path,
    out: Path,
    *,
    store_size: int,
    missing_limit: float | None = 0.001,
    interleave: int = 1,
    limits: Mapping[str, int] | None = None,
    progress: Callable[[int], None] | None = None,
    workers: int = 1,
) -> Manifest:
    """Prepare one data set.

    Args:
        dataset: a name of ``mamo.data.datasets.DATASETS``.
        root: the folder that holds the official releases.
        out: directory of the prepared data set.
        store_size: shorter side of stored images in pixels; smaller images are never enlarged.
        missing_limit: largest share of missing or unreadable images, which are left out with their records;
            ``None``: any, so long as something is left of each split.
        interleave: write the training captions of so many consecutive images in turns (first captions of all,
            second captions of all, ...), so that a sampler that shuffles blocks of this length brings these
            images together. Rounds that are not complete (an image is missing, or has fewer captions) stand
            at the end of the split.
        limits: largest number of images of a split, for quick versions; the first ones are taken.
        progress: called with the number of images done so far, now and then.
        workers: threads that decode and encode images; the result does not depend on it.

    Returns:
        The manifest.

    Raises:
        FormatError: the release is not in its official layout.
        MissingImages: too many images are missing, or nothing is left of a split; the full list is in ``missing.json`` in
            ``out``.
        PreparedError: ``out`` already holds a prepared data set.
    """
    info, findings = dataset_named(dataset), Findings()
    unknown = set(limits or ()) - set(info.splits)
    if unknown:
        raise ValueError(
            f"{dataset}: limits name {', '.join(sorted(unknown))}; its splits are {', '.join(info.splits)}"
        )
    examples = _limited(info.read(root, findings), info, limits or {})
    return assemble(
        dataset,
        root,
        out,
        load_images(examples, root, store_size, workers),
        findings,
        store_size=store_size,
        missing_limit=missing_limit,
        interleave=interleave,
        limits=limits,
        progress=progress,
    )


def dataset_named(dataset: str) -> Dataset:
    """Look a data set up by its name.

    Raises:
        ValueError: there is none of this name.
    """
    if dataset not in DATASETS:
        raise ValueError(f"no data set '{dataset}'; there are {', '.join(DATASETS)}")
    return DATASETS[dataset]


def assemble(
    dataset: str,
    root: Path,
    out: Path,
    loaded: Iterable[tuple[Example, list[ImageResult]]],
    findings: Findings,
    *,
    store_size: int,
    missing_limit: float | None,
    interleave: int,
    limits: Mapping[str, int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Write examples and their stored images, in the order given, as a prepared data set; see :func:`prepare`.

    Args:
        findings: what the reader left out, complete when ``loaded`` is exhausted.
    """
    info = dataset_named(dataset)
    if interleave > 1 and info.kind != "captions":
        raise ValueError(f"{dataset}: interleave is for captions, not for {info.kind}")
    with Writer(out, dataset=dataset, kind=info.kind, store_size=store_size) as writer:
        for split in info.splits:
            writer.add_split(split)
        (out / MISSING_FILE).unlink(missing_ok=True)
        intake = _Intake(writer, info, interleave)
        for count, (example, outcomes) in enumerate(loaded, 1):
            intake.add(example, outcomes)
            if progress is not None and count % 100 == 0:
                progress(intake.images)
        intake.finish()
        if progress is not None:
            progress(intake.images)
        if not intake.images:
            raise FormatError(
                f"{dataset}: the release in {root} holds nothing that could be read ({findings.counts})"
            )
        _check_missing(dataset, out, intake, missing_limit)
        info.write_extra(root, out, findings)
        manifest = writer.close(
            missing=intake.missing,
            unreadable=intake.unreadable,
            left_out=findings.as_dict(),
            interleave=interleave,
            limits=dict(limits or {}),
        )
    return manifest


def load_images(
    examples: Iterable[Example], root: Path, store_size: int, workers: int
) -> Iterator[tuple[Example, list[ImageResult]]]:
    """Yield examples with their images in stored form (or what is wrong with them), in order."""
    return _load_ahead(examples, partial(_load_image, root=root, store_size=store_size), workers)


def _load_image(source: ImageSource, root: Path, store_size: int) -> ImageResult:
    try:
        content = source.content
        if isinstance(content, Path) and not content.exists():
            member = archives.find(content, root)
            content = content if member is None else member.read_bytes(MAX_IMAGE)
        image = normalise(content, store_size)
        if source.size is not None and (image.width, image.height) != source.size:
            width, height = source.size
            raise ImageError(
                f"has {image.width} x {image.height} pixels as displayed, and its boxes are given on {width} x {height}"
            )
        return image
    except ImageError as error:
        return error
    except archives.ArchiveError as error:  # its images are unknown
        raise FormatError(str(error)) from error
    except OSError as error:
        return ImageError(str(error))


def _limited(examples: Iterator[Example], info: Dataset, limits: Mapping[str, int]) -> Iterator[Example]:
    taken: dict[str, set[str]] = {split: set() for split in limits}
    full: set[str] = set()
    for example in examples:
        if example.split in limits:
            keys = taken[example.split] | {image.key for image in example.images}
            if len(keys) > limits[example.split]:
                full.add(example.split)
                if full == set(info.splits) and not info.shares_images:
                    return
                continue
            taken[example.split] = keys
        yield example


def _load_ahead(
    examples: Iterable[Example], load: Callable[[ImageSource], ImageResult], workers: int
) -> Iterator[tuple[Example, list[ImageResult]]]:
    """Yield examples with their images, in order; threads decode ahead (Pillow frees the interpreter lock)."""
    if workers <= 1:
        for example in examples:
            yield example, [load(image) for image in example.images]
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[tuple[Example, list[Future[ImageResult]]]] = deque()
        for example in examples:
            ahead.append((example, [pool.submit(load, image) for image in example.images]))
            if len(ahead) > 4 * workers:
                first, futures = ahead.popleft()
                yield first, [future.result() for future in futures]
        while ahead:
            first, futures = ahead.popleft()
            yield first, [future.result() for future in futures]


class _Intake:
    """Pass examples one by one to a writer, and keep account of their images."""

    def __init__(self, writer: Writer, info: Dataset, interleave: int) -> None:
        self._writer, self._info, self._interleave = writer, info, interleave
        self._rows: dict[str, int] = {}
        self._bad: set[str] = set()
        self._group: list[list[Row]] = []  # records of the images of one interleaved group
        self._rest: list[Row] = []
        self._given: dict[str, int] = {}  # examples of each split
        self._kept: set[str] = set()  # splits of which an example is stored
        self.images = 0
        self.missing: list[str] = []
        self.unreadable: list[str] = []

    def add(self, example: Example, outcomes: list[ImageResult]) -> None:
        rows = [
            self._image(source, outcome) for source, outcome in zip(example.images, outcomes, strict=True)
        ]
        records: list[Row] = []
        if all(row is not None for row in rows):
            places = dict(zip(("image", "image2"), rows, strict=False))
            records = [{**places, **record} for record in example.records]
            self._kept.add(example.split)
        self._given[example.split] = self._given.get(example.split, 0) + 1
        if example.split == "train" and self._interleave > 1:
            self._group.append(records)
            if len(self._group) == self._interleave:
                self._write_group()
        else:
            for record in records:
                self._writer.add_record(example.split, **record)

    def _image(self, source: ImageSource, outcome: ImageResult) -> int | None:
        if self._info.shares_images:
            if source.key in self._rows:
                return self._rows[source.key]
            if source.key in self._bad:
                return None
        self.images += 1
        if isinstance(outcome, ImageError):
            if self._info.shares_images:
                self._bad.add(source.key)
            absent = isinstance(outcome.__cause__, FileNotFoundError)
            (self.missing if absent else self.unreadable).append(f"{source.key}: {outcome}")
            return None
        row = self._writer.add_image(source.key, outcome)
        if self._info.shares_images:
            self._rows[source.key] = row
        return row

    def _write_group(self) -> None:
        complete = min(map(len, self._group)) if len(self._group) == self._interleave else 0
        for turn in range(complete):
            for records in self._group:
                self._writer.add_record("train", **records[turn])
        for records in self._group:
            self._rest += records[complete:]
        self._group = []

    def lost(self) -> dict[str, int]:
        """List splits that have examples in the release but none stored, with the number of examples."""
        return {split: count for split, count in self._given.items() if split not in self._kept}

    def finish(self) -> None:
        """Write what is left of interleaving."""
        if self._group:
            self._write_group()
        for record in self._rest:
            self._writer.add_record("train", **record)


def _check_missing(dataset: str, out: Path, intake: _Intake, limit: float | None) -> None:
    """Refuse a data set that lost more images than allowed, or all of a split."""
    lost = [*intake.missing, *intake.unreadable]
    counts = f"{len(intake.missing)} are missing and {len(intake.unreadable)} unreadable"
    if limit is not None and len(lost) > limit * intake.images:
        reason = (
            f"of {intake.images} images {counts}; at most a share of {limit:g} may be."
            " Complete the download, or raise missing_limit."
        )
    elif intake.lost():
        empty = " and ".join(f"'{split}' (of {count} examples)" for split, count in intake.lost().items())
        reason = (
            f"nothing would be left of the split {empty}: of {intake.images} images {counts}."
            " Complete the download, or fetch them again."
        )
    else:
        return
    listing = out / MISSING_FILE
    write_json(listing, {"missing": intake.missing, "unreadable": intake.unreadable})
    first = "\n  ".join(lost[:LISTED])
    raise MissingImages(f"{dataset}: {reason}\nAll are listed in {listing}; the first:\n  {first}")
