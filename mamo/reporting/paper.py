"""Read the paper's reported numbers: one file per table below ``ablations/paper/<edition>/``, one folder per edition."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, StrictFloat, StrictInt, model_validator

from mamo.specs.base import Spec
from mamo.specs.overrides import SpecError, build, load_yaml

# Title of the paper in its first edition.
TITLE = "MAMO: Masked Multimodal Modeling for Fine-Grained Vision-Language Representation Learning"
AUTHORS = "Zhao et al."
ARXIV = "https://arxiv.org/abs/2210.04183"


class PaperColumn(Spec):
    """One column; the same quantity has the same key in every table."""

    key: str
    label: str
    group: str = Field("", description="heading over neighbouring columns")


class PaperRow(Spec):
    """One row: a model of the paper, or one that the paper quotes."""

    key: str
    label: str
    note: str | None = Field(
        None, description="what to know about this row's model, such as its pre-training images"
    )
    ours: bool = Field(False, description="the paper's own result, not one that it quotes from other work")
    outcome: Literal["converged", "diverged"] = "converged"
    values: dict[str, StrictInt | StrictFloat | None] = Field(
        description="column -> percent or count; null: none given"
    )

    @model_validator(mode="after")
    def _values_fit_outcome(self) -> PaperRow:
        given = [key for key, value in self.values.items() if value is not None]
        if (self.outcome == "converged") != bool(given):
            raise ValueError(f"row '{self.key}': a row has values if it converged, and none if it diverged")
        return self


class PaperTable(Spec):
    """One table of the paper."""

    table: str = Field(description="its name, such as table5")
    caption: str
    unit: Literal["percent", "count"] = "percent"
    columns: tuple[PaperColumn, ...] = Field(min_length=1)
    rows: tuple[PaperRow, ...] = Field(min_length=1)
    heading: str = Field(
        "As reported in the paper", description="over these rows; other papers' have another one"
    )
    notes: tuple[str, ...] = Field((), description="shown under the table")

    @model_validator(mode="after")
    def _consistent(self) -> PaperTable:
        keys = [column.key for column in self.columns]
        for what, names in (("column", keys), ("row", [row.key for row in self.rows])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} key given twice: {', '.join(twice)}")
        for row in self.rows:
            if list(row.values) != keys:
                raise ValueError(
                    f"row '{row.key}': its values are not those of the columns, in their order: {', '.join(keys)}"
                )
            for key, value in row.values.items():
                if value is not None and not self._possible(value):
                    raise ValueError(f"row '{row.key}': {key} is {value}, which is not a {self.unit}")
        return self

    def _possible(self, value: float) -> bool:
        """Check that a value can be a cell: a percentage with its decimals, or a whole number."""
        if self.unit == "count":
            return isinstance(value, int) and value > 0
        return isinstance(value, float) and 0 < value <= 100

    def row(self, key: str) -> PaperRow:
        """Return the row of a key.

        Raises:
            KeyError: the table has no such row; the message names those it has.
        """
        for row in self.rows:
            if row.key == key:
                return row
        raise KeyError(f"{self.table} has no row '{key}'; it has {', '.join(row.key for row in self.rows)}")


def find_paper(name: str | None, ablations: Path) -> PaperTable | None:
    """Find the reported numbers of an ablation's counterpart; None if it has none, or no edition is there."""
    known = name is not None and (ablations / "paper" / "arxiv").is_dir()
    return load_paper(name, ablations) if name is not None and known else None


def load_paper(name: str, ablations: Path = Path("ablations"), edition: str = "arxiv") -> PaperTable | None:
    """Load the reported numbers of one table.

    Args:
        name: for example ``table5``.
        ablations: the folder of the ablation files, which holds ``paper/<edition>/``.

    Returns:
        the table; None if the edition gives no numbers (the paper's Fig. 6 is a plot without values).

    Raises:
        SpecError: no such edition, or a file with a wrong or missing entry, with file and entry.
    """
    folder = ablations / "paper" / edition
    if not folder.is_dir():
        known = sorted(path.name for path in folder.parent.glob("*/"))
        raise SpecError(
            f"{folder}: no edition '{edition}' of the paper; there are {', '.join(known) or 'none'}"
        )
    path = folder / f"{name}.yaml"
    if not path.exists():
        return None
    table: PaperTable = build(PaperTable, load_yaml(path), str(path))
    if table.table != name:
        raise SpecError(f"{path}: 'table' is '{table.table}', but the file's name says '{name}'")
    return table
