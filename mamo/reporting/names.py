"""Names of tables, rows and columns in sentences, instead of their keys."""

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
    "genome": "Genome",
}
_PROPER |= {"flickr30k": "Flickr30K", "flickr8k": "Flickr8k", "qa": "QA", "cc3m": "CC3M"}


def table_name(name: str) -> str:
    """Write an ablation's name as people do: ``table5`` -> ``Table 5``, ``table8_search`` -> ``Table 8 search``;
    ``flickr8k`` -> ``Flickr8k``."""
    return re.sub(r"(?<=[a-z])(?=\d+\b)", " ", name.replace("_", " ")).capitalize()


def row_names(ablation: AblationSpec) -> dict[str, str]:
    """Map row key -> its label, without a part in brackets that is not needed.

    A label that is only a number gets the key's word before it, since it means nothing outside of its table.
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
    """Map column key -> its group and label joined."""
    return {column.key: f"{column.group} {column.label}".strip() for column in ablation.columns}


def job_name(name: str) -> str:
    """Write a job's or a data set's name as people do: ``zero_shot_flickr30k`` -> ``Zero-shot Flickr30K``."""
    words = [_PROPER.get(word, word) for word in name.replace("zero_shot", "zero-shot").split("_")]
    text = " ".join(words).replace("RefCOCO plus", "RefCOCO+")
    return f"{text[:1].upper()}{text[1:]}"
