"""Records and maps for the page with everything, with hostile words in them."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from mamo.specs.plan import Plan

HOSTILE = '</script><img src=x onerror="window.hacked=1"><b>cat</b> & "dog"'


# As matplotlib writes it: paper, a text in black, a box on a picture; and what it never writes.
DRAWING = f"""<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="90pt" height="60pt"
 viewBox="0 0 90 60" onload="window.hacked=2"><script>window.hacked=3</script><g id="figure_1"><g id="patch_1"><path d="M 0 60"
 style="fill: #ffffff"/></g><g clip-path="url(#clip0)"><rect id="ground" width="90" height="60"/></g>
<text style="font: 9px 'DejaVu Sans', sans-serif">{html.escape(HOSTILE)}</text>
<path d="M 1.2345 2" style="fill: none; stroke: #000000"/><path d="M 1 2" style="stroke: #010101"/>
<defs><clipPath id="clip0"><rect width="5" height="5"/></clipPath></defs></g></svg>"""


def write_records(plan: Plan, results: Path) -> None:
    """A record for every run of the plan, each with its own numbers, and a curve for the trained ones."""
    for number, run in enumerate(plan.runs.values()):
        path = run.record(results)
        path.parent.mkdir(parents=True)
        metrics = {f"{split}_accuracy": 30.0 + number for split in ("val", "testA", "testB")}
        metrics |= {f"chance/{name}": 20.0 for name in list(metrics)}
        for what in ("object", "colour"):
            metrics |= {f"{what}_share": 10.0 + number, f"{what}_pointing": 20.0 + number}
        metrics |= {f"{way}_r{k}": 30.0 + k + number for way in ("tr", "ir") for k in (1, 5, 10)}
        record = {
            "outcome": {"status": "converged", "reason": None},
            "metrics": metrics,
            "details": {"steps": 10 * number, "pairs_per_second": 100.0 + number},
            "provenance": {"wall_seconds": 5.0 + number, "cpu_seconds": 200.0, "peak_memory_mb": 500, "code": "abc123",
                           "machine": {"cpu": HOSTILE}, "versions": {"torch": "2"}},
        }  # fmt: skip
        if run.kind == "pretrain":  # the others are older than the checks
            record["checks"] = [
                {"check": "losses", "passed": True, "says": "there", "numbers": {}},
                {"check": "target", "passed": False, "says": f"it has not moved {HOSTILE}", "numbers": {}},
            ]
        path.write_text(json.dumps(record))
        if run.kind == "pretrain":
            path.with_name("curve.csv").write_text(
                "step,loss,itc\n" + "".join(f"{s},{9 - s / 10},nan\n" for s in range(90))
            )


def maps() -> dict[str, Any]:
    """Two images. Of the first one's words, 'red' is hot at the upper left for the baseline, at the lower right for MAMO."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (120, 120, 120)).save(buffer, "JPEG")
    url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    def hot(patch: int) -> list[float]:
        return [1e-6 * (i == patch) for i in range(16)]

    def own(red: int, cat: int) -> dict[str, Any]:
        fits = [{"share": 0.75, "hit": red == 15}]
        return {"maps": [hot(red), hot(cat), [0.0] * 16], "matched": 0.8, "fits": fits}

    def example(words: list[str], red: int) -> dict[str, Any]:
        return {
            "image": "a.jpg", "picture": url, "width": 64, "height": 64, "text": " ".join(words), "words": words,
            "named": [{"words": [0], "what": "object", "box": [0.75, 0.75, 1.0, 1.0]}],
            "models": {"albef_style": own(0, 3), "mamo": own(red, 12)},
        }  # fmt: skip

    models = [
        {"key": key, "label": label, "run": f"pretrain/{key}", "outcome": "converged"}
        for key, label in (("albef_style", "ALBEF-style"), ("mamo", "MAMO"))
    ]
    return {
        "figure": "explorer", "scale": "smoke", "method": "words", "title": "t", "caption": "c", "layer": 1, "grid": 4,
        "models": models, "examples": [example(["red", HOSTILE, "."], 15), example(["blue", "dog", "!"], 5)],
    }  # fmt: skip
