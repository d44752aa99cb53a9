"""A figure that trained models draw: which models, which examples, what is explained; one file in ``ablations/figures/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec, check_names
from mamo.specs.overrides import build, load_yaml

FOLDER = "figures"
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
        return self


def read_figure(name: str, ablations: Path) -> FigureSpec:
    """Read ``ablations/figures/NAME.yaml``.

    Raises:
        SpecError: no such file or a wrong setting, with file, key and nearest valid name.
    """
    path = ablations / FOLDER / f"{name}.yaml"
    figure: FigureSpec = build(FigureSpec, load_yaml(path) | {"name": name}, str(path))
    return figure
