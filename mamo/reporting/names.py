"""What tables, rows and columns are called in a sentence: never by their keys."""

from __future__ import annotations

import re

from mamo.specs.ablation import AblationSpec

_PROPER = {
    "coco": "MSCOCO",
    "vqa": "VQA",
    "vqa2": "VQA v2",
    "nlvr2": "NLVR2",
    "refcoco": "RefCOCO",
    "sbu": "SBU",
}
_PROPER |= {"flickr30k": "Flickr30K", "flickr8k": "Flickr8k", "qa": "QA", "cc3m": "CC3M"}


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


def job_name(name: str) -> str:
    """A job's or a data set's name as people write it: ``zero_shot_flickr30k`` -> ``Zero-shot Flickr30K``."""
    words = [_PROPER.get(word, word) for word in name.replace("zero_shot", "zero-shot").split("_")]
    return f"{words[0][:1].upper()}{words[0][1:]}{' ' if words[1:] else ''}{' '.join(words[1:])}"
