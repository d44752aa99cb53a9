"""What tables, rows and columns are called in a sentence: never by their keys."""

from __future__ import annotations

import re

from mamo.specs.ablation import AblationSpec


def table_name(name: str) -> str:
    """An ablation's name as people write it: ``table5`` -> ``Table 5``, ``table8_search`` -> ``Table 8 search``."""
    return re.sub(r"(?<=[a-z])(?=\d)", " ", name.replace("_", " ")).capitalize()


def row_names(ablation: AblationSpec) -> dict[str, str]:
    """Row key -> its label, without what stands in brackets where the rest says enough.

    A label that is a number says nothing outside of its table: there the key's word stands before it.
    """
    short = [
        table_name(row.key).lower() if row.label[:1].isdigit() else row.label.partition(" (")[0]
        for row in ablation.rows
    ]
    return {
        row.key: name if name and short.count(name) == 1 else row.label
        for row, name in zip(ablation.rows, short, strict=True)
    }


def column_names(ablation: AblationSpec) -> dict[str, str]:
    """Column key -> its group and label in one."""
    return {column.key: f"{column.group} {column.label}".strip() for column in ablation.columns}
