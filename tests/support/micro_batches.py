"""Pre-trainings that micro-batches must not change, one for each way in which losses are made."""

from __future__ import annotations

from typing import Any

import tiny

from mamo.data.tokenizer import Tokenizer
from mamo.tasks.pretrain import PretrainTask

SPECS: dict[str, dict[str, Any]] = {
    "all five": {},
    "a decoder, images only in MRM": {"mim": {"decoder_depth": 1}, "mrm": {"text": False}},
    "pixels, no MRM": {"mim": {"target": "pixels"}, "mrm": None},
    "ITC and ITM": {"mim": None, "mrm": None, "mlm": False},
    "masked modelling alone": {"itc": False, "itm": False},
    "easy negatives too": {"itm_random": 0.5},
    "ALBEF with soft targets": {"mim": None, "mrm": None, "distillation": {"queue": 0, "alpha": 0.4}},
    "momentum features, hard targets": {
        "mim": None,
        "mlm": False,
        "distillation": {"queue": 0, "alpha": 0.0},
    },
}


def pretraining(words: Tokenizer, dropout: float = 0.0, **objectives: Any) -> PretrainTask:
    model = tiny.model_spec(dropout=dropout)
    spec = tiny.pretrain_spec(model=model, objectives={"itm_group": 4} | objectives)
    return PretrainTask(tiny.network(words, seed=1, dropout=dropout), spec, words).train()
