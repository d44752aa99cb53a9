"""Measuring on a machine that others use too: CPU seconds, both sides in one process, taking turns."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def alternating(
    sides: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """CPU seconds of each side in each round, after some rounds that do not count.

    The sides take turns, every second round the other way about: what slows the machine for a while slows all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warm_up + rounds):
        for name in sides if number % 2 else reversed(list(sides)):
            began = time.process_time()
            sides[name]()
            if number >= warm_up:
                seconds[name].append(time.process_time() - began)
    return seconds


def operations(step: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products of a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Ratio:
    """The cost of one side over that of the other: the median of the rounds' ratios, and the middle half of them."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(more: Sequence[float], less: Sequence[float]) -> Ratio:
    """Round by round, so that a slow spell falls on both."""
    ratios = sorted(a / b for a, b in zip(more, less, strict=True))
    if len(ratios) < 2:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


@dataclass
class Result:
    """One benchmark's outcome: tables of text and numbers, and what one has to know to read them."""

    name: str
    title: str
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def row(self, table: str, **cells: Any) -> None:
        """Add a row and print it."""
        self.tables.setdefault(table, []).append(cells)
        print("  " + ", ".join(f"{name}: {shown(value)}" for name, value in cells.items()), flush=True)

    def note(self, text: str) -> None:
        """Add a note and print it."""
        self.notes.append(text)
        print(f"  {text}", flush=True)

    def write(self, folder: Path = RESULTS) -> Path:
        """Write ``NAME.json``."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.name}.json"
        content = {"title": self.title, "machine": machine(), "tables": self.tables, "notes": self.notes}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return path


def shown(value: Any) -> str:
    """A cell as people read it: three digits of a number."""
    if isinstance(value, bool) or not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """Describe the machine that measured the numbers, and how busy it was."""
    model = platform.processor() or platform.machine()
    features: set[str] = set()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
            if line.startswith("flags"):
                features = set(line.split(":", 1)[1].split())
    except OSError:
        pass
    import torch

    return {
        "date": datetime.date.today().isoformat(),
        "processor": model,
        "bf16": sorted(features & {"amx_bf16", "avx512_bf16"}),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
