"""A scale: one consistent choice of data, model size and schedule, read from ``ablations/scales/``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec, check_names
from mamo.specs.finetune import FinetuneSpec
from mamo.specs.names import nearest
from mamo.specs.overrides import SpecError, build, load_yaml, merge
from mamo.specs.pretrain import PretrainSpec
from mamo.specs.source import chosen, own
from mamo.specs.weights import WeightsSpec
from mamo.specs.world import WorldSpec


class DatasetSpec(Spec):
    """How one official release is turned into the internal form."""

    ACTS_IN: ClassVar = "data/store/prepare.py"

    store_size: Annotated[int, chosen("ours", "data/store/images.py")] = Field(
        384, gt=0, description="shorter side of the stored JPEG images in pixels, never enlarged"
    )
    missing_limit: Annotated[float | None, chosen("ours")] = Field(
        0.001,
        ge=0,
        le=1,
        description="share of images that may be missing (dead links of SBU and CC3M); null: any",
    )
    interleave: Annotated[int, own("for small data")] = Field(
        1, gt=0, description="images whose captions are written round-robin (twin scenes)"
    )
    limits: Annotated[
        dict[str, Annotated[int, Field(ge=1)]] | None,
        own("for small data"),
    ] = Field(None, description="at most this many images of a split")


class DataSpec(Spec):
    """Source of the data, and how it is stored."""

    ACTS_IN: ClassVar = "data/store/prepare.py"

    source: Annotated[Literal["world", "release"], own("the embedded world")] = Field(
        "release", description="the embedded world, or releases on disk"
    )
    world: Annotated[WorldSpec | None, own("the embedded world", "data/world")] = None
    datasets: dict[str, DatasetSpec] = Field(description="by name")

    @model_validator(mode="after")
    def _world_given(self) -> DataSpec:
        if (self.source == "world") != (self.world is not None):
            raise ValueError("data.world belongs to data.source: world, and only to it")
        return self


class Scale(Spec):
    """All settings of a scale; ablations lay their overrides over ``pretrain``."""

    name: str
    title: str = Field(description="one line for pages and the command line")
    caveat: str | None = Field(
        None, description="caveat on data and model, shown on every page; null at paper scale"
    )
    cost: str = Field(description="cost of the whole scale in words, on stated hardware")
    published: bool = Field(
        False,
        description="its pages are shown to others: they refuse runs of code that the repository cannot name; not inherited",
    )
    protocol: str | None = Field(
        None,
        description="the file, from the project's root, that fixed before the runs what is run and how it is judged; pages "
        "link it; not inherited",
    )
    ablations: tuple[str, ...] = Field(description="the ablation files that make up reproduce_all")
    seeds: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description="ablation -> runs per row at this scale, instead of the file's own number",
    )
    figures: tuple[str, ...] = Field((), description="files of ablations/figures, drawn from trained models")
    data: DataSpec
    weights: WeightsSpec
    pretrain: PretrainSpec
    jobs: dict[str, FinetuneSpec] = Field(description="downstream jobs by name")

    @model_validator(mode="after")
    def _names(self) -> Scale:
        check_names([self.name], "scale")
        check_names(self.jobs, "jobs")
        check_names(self.data.datasets, "data.datasets")
        check_names((*self.ablations, *self.figures), "ablations and figures")
        return self

    @model_validator(mode="after")
    def _cells_meet_patches(self) -> Scale:
        """Check that patches meet the world's cells: a patch across two cells would show parts of two objects."""
        if self.data.world is None:
            return self
        grid, patch = self.data.world.grid, self.pretrain.model.patch_size
        sizes = {"pretrain.transform.size": self.pretrain.transform.size}
        sizes |= {f"jobs.{name}.transform.size": job.transform.size for name, job in self.jobs.items()}
        sizes |= {
            f"weights.vision.image_sizes[{i}]": s for i, s in enumerate(self.weights.vision.image_sizes)
        }
        for where, size in sizes.items():
            if size % (grid * patch):
                raise ValueError(
                    f"{where} {size}: cells of the world's board of {grid} x {grid} do not meet patches of {patch} pixels; "
                    f"take a multiple of {grid * patch}"
                )
        return self

    @model_validator(mode="after")
    def _data_known(self) -> Scale:
        for owner, names in [
            ("pretrain", self.pretrain.data),
            *((f"jobs.{k}", j.data) for k, j in self.jobs.items()),
        ]:
            for name in names:
                if name not in self.data.datasets:
                    raise ValueError(
                        f"{owner}.data: '{name}' is not in data.datasets ({', '.join(self.data.datasets)})"
                    )
        return self


def read_scale(name: str, ablations: Path) -> Scale:
    """Read ``ablations/scales/NAME.yaml``, laid over the scale that it ``extends``.

    Raises:
        SpecError: no such scale, or a wrong setting, with file, key and nearest valid name.
    """
    return build(Scale, _merged(name, ablations, ()), str(ablations / "scales" / f"{name}.yaml"))


def _merged(name: str, ablations: Path, chain: tuple[str, ...]) -> dict[str, Any]:
    path = ablations / "scales" / f"{name}.yaml"
    if name in chain:
        raise SpecError(f"{path}: scales extend each other in a circle: {' -> '.join((*chain, name))}")
    if not path.is_file():
        known = [p.stem for p in path.parent.glob("*.yaml")]
        hint = nearest(name, known) if known else "; there are none: call this in the project's root folder"
        raise SpecError(f"{path}: no scale named '{name}'{hint}")
    own = load_yaml(path)
    parent = own.pop("extends", None)
    if parent is not None and not isinstance(parent, str):
        raise SpecError(f"{path}: extends: the name of one scale is expected, not {parent!r}")
    # The jobs and data sets of a scale that lists its own replace the parent's where the key says so (null removes).
    # A scale that extends another one does not take these from it.
    own_alone = {"published": False, "protocol": None}
    merged = merge(_merged(parent, ablations, (*chain, name)) | own_alone, own) if parent else own
    for section in ("jobs",):
        if isinstance(merged.get(section), dict):
            merged[section] = {key: value for key, value in merged[section].items() if value is not None}
    data = merged.get("data")
    if isinstance(data, dict) and isinstance(data.get("datasets"), dict):
        data["datasets"] = {key: value for key, value in data["datasets"].items() if value is not None}
    return merged | {"name": name}
