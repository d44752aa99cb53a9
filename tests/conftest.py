"""One thread per process: the tests' models are too small for more, and waiting threads slow everything else down."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
