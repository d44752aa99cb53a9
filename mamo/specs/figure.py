"""A figure that trained models draw: which models, which examples, what is explained; one file in ``ablations/figures/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec, check_names
from mamo.specs.names import nearest
from mamo.specs.overrides import SpecError, build, load_yaml

FOLDER = "figures"
PHOTOGRAPHS = Path(__file__).parents[1] / "figures" / "photographs"  # with the terms of each in README.md
# Method -> the kind of records that it needs.
RECORDS = {
    "words": "captions",
    "masked_words": "captions",
    "masked_patches": "captions",
    "grounding": "refs",
    "answers": "vqa",
}
Method = Literal["words", "masked_words", "masked_patches", "grounding", "answers"]


class FigureModel(Spec):
    """One model of the figure: overrides on the scale's pre-training spec, as in an ablation's row."""

    key: str
    label: str
    set: dict[str, Any] = Field(default_factory=dict, description="dotted overrides of the pre-training spec")


class Photograph(Spec):
    """A photograph of the package's own with words for it."""

    name: str = Field(description="of its file in mamo/figures/photographs, without the suffix")
    text: str = Field(min_length=1)

    @property
    def path(self) -> Path:
        """Its file."""
        return PHOTOGRAPHS / f"{self.name}.jpg"

    @model_validator(mode="after")
    def _is_there(self) -> Photograph:
        known = sorted(path.stem for path in PHOTOGRAPHS.glob("*.jpg"))
        if self.name not in known:
            raise ValueError(f"the package has no photograph '{self.name}'{nearest(self.name, known)}")
        return self


class FigureSpec(Spec):
    """The content of one figure file."""

    name: str
    title: str
    caption: str = Field(description="caption for a reader who sees only the figure")
    method: Method = Field(
        description="words: a map for each word, by ITM's score; masked_words, masked_patches: by the negative MRM loss; "
        "grounding: by ITM's score, with boxes; answers: by the answer's log-probability"
    )
    models: tuple[FigureModel, ...] = Field(min_length=1)
    job: str | None = Field(None, description="the models are fine-tuned on it; null: as pre-trained")
    data: str = Field("coco", description="the prepared data set of the examples")
    split: str = "test"
    layer: int | Literal["last"] | None = Field(
        None, description="fusion layer, counted from 1; null: the one that the scale's grounding reads"
    )
    examples: int = Field(4, gt=0)
    seed: int = Field(0, description="of the draw of examples, words and patches")
    drawn: bool = Field(True, description="false: only the report's page shows it, word by word")
    small: bool = Field(False, description="also draw an excerpt in large letters, for the top of a page")
    images: tuple[str, ...] = Field((), description="keys of images shown instead of drawn ones")
    photographs: tuple[Photograph, ...] = Field(
        (), description="of the package's own, shown instead where a data set's photos may not be published"
    )

    @model_validator(mode="after")
    def _consistent(self) -> FigureSpec:
        check_names([self.name, self.data, self.split], "figure")
        keys = [model.key for model in self.models]
        if len(set(keys)) < len(keys):
            raise ValueError("model key given twice")
        if self.method.startswith("masked") and (len(self.models) > 1 or self.job):
            raise ValueError(
                f"method {self.method} shows one model as pre-trained: its MRM loss is explained"
            )
        if self.method in ("grounding", "answers") and self.job is None:
            raise ValueError(f"method {self.method} needs a job")
        if self.photographs and (self.images or RECORDS[self.method] != "captions"):
            raise ValueError("photographs: they have a caption and nothing else, and stand for all images")
        return self

    @property
    def content(self) -> dict[str, Any]:
        """All that is shown, for the figure's digest."""
        values = self.model_dump(mode="json")
        if not self.photographs:
            del values["photographs"]
        return values


def figure_files(name: str, ablations: Path) -> list[Path]:
    """A figure's own file, and behind it that of the figure that it ``extends``, if any.

    Raises:
        SpecError: no such file, or ``extends`` names no one figure that extends none.
    """
    path = ablations / FOLDER / f"{name}.yaml"
    parent = load_yaml(path).get("extends")
    if parent is None:
        return [path]
    if not isinstance(parent, str):
        raise SpecError(f"{path}: extends: the name of one figure is expected, not {parent!r}")
    other = path.parent / f"{parent}.yaml"
    if "extends" in load_yaml(other):
        raise SpecError(f"{path}: extends: {parent} extends a figure itself, and one step is all there is")
    return [path, other]


def read_figure(name: str, ablations: Path) -> FigureSpec:
    """Read ``ablations/figures/NAME.yaml``; what it does not say is taken from the figure that it ``extends``.

    Raises:
        SpecError: no such file or a wrong setting, with file, key and nearest valid name.
    """
    values: dict[str, Any] = {}
    files = figure_files(name, ablations)
    for path in reversed(files):
        values |= load_yaml(path)
    values.pop("extends", None)
    figure: FigureSpec = build(FigureSpec, values | {"name": name}, str(files[0]))
    return figure
