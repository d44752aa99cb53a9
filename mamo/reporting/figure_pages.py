"""Identity and Markdown page of figures that models draw."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamo.reporting.markdown import bullet, code_span, escape_alt, wrapped
from mamo.specs.figure import FigureSpec
from mamo.specs.identity import digest

if TYPE_CHECKING:
    from mamo.specs.plan import Plan

_ONE = "Colours follow the square root of Grad-CAM's values, on one scale for"
_SCALES = {
    "words": f"{_ONE} all words and models of an image, whose greatest value stands under it.",
    "grounding": f"{_ONE} all models of an image.",
    "masked_words": f"{_ONE} all images.",
    "answers": f"{_ONE} all images.",
    "masked_patches": "Every bar is a share of its image's greatest value, which stands under the axis.",
}
FOLDER = "figures"  # folder of maps, below a scale's results
_TERMS = "../../mamo/figures/photographs/README.md"  # as a page in reports/SCALE links to it


def figure_digest(plan: Plan, name: str) -> str:
    """Compute the digest of everything the figure depends on: its file, its runs, the scale's words, the code that computes and
    draws."""
    scale = plan.scale
    words = [scale.name, scale.title, scale.caveat, *([scale.protocol] if scale.protocol else [])]
    return digest({"figure": plan.figures[name].digest, "scale": words, "code": _drawing_code_digest()})


def maps_path(plan: Plan, name: str, results: Path) -> Path:
    """Return the path of a figure's maps below one scale's results."""
    return results / FOLDER / f"{name}-{figure_digest(plan, name)}.json"


def figure_heading(figure: FigureSpec) -> str:
    """Write a heading, ``Figure 4: Grad-CAM of MRM on masked words``; without a counterpart in the paper, the title alone."""
    number = figure.name.removeprefix("figure")
    return f"Figure {number}: {figure.title}" if number.isdigit() else figure.title


def figure_page(plan: Plan, name: str, values: Mapping[str, Any], mark: str, caveat: str) -> str:
    """Write the Markdown page: the drawing, what it shows, which runs drew it, and how the examples were chosen.

    Args:
        values: from ``compute_figure``.
        mark: the page's first line.
        caveat: the scale's, '' for none.
    """
    figure = plan.figures[name].figure
    heading = figure_heading(figure)
    parts = [mark, f"# {heading}", caveat.rstrip(), f"![{escape_alt(alt_text(values))}]({name}.png)"]
    parts.append(wrapped(values["caption"]))
    examples = f"`{figure.data}`, split `{figure.split}`"
    if figure.photographs:
        examples = f"photographs that come with the package ([whose they are]({_TERMS}))"
        chosen = "Which ones, and the words for them, stand in the figure's file, written before any model saw them."
    elif figure.images:
        chosen = "The images are named in the figure's file."
    else:
        chosen = f"Drawn by seed {figure.seed} from all records of the split, one for each image; not chosen by looks."
    lines = [
        bullet(f"Examples: {examples}. {chosen}"),
        f"- Others: `mamo figure {name} --scale {plan.scale.name} --image KEY --out FILE.png`.",
        bullet(f"Fusion layer {values['layer']}, counted from 1. {_SCALES[values['method']]}"),
        *_legend(values),
    ]
    parts += ["## Notes", "\n".join(lines)]
    rows = [f"- {model['label']}: `{model['run']}` ({model['outcome']})" for model in values["models"]]
    parts += ["## Runs", "\n".join(rows)]
    keys = ", ".join(code_span(str(example["image"])) for example in values["examples"])
    parts += ["## Images", keys]
    return "\n\n".join(part for part in parts if part) + "\n"


def alt_text(values: Mapping[str, Any]) -> str:
    """Describe what a figure shows, for people who cannot see it."""
    texts = "; ".join(f"“{example['text']}”" for example in values["examples"])
    models = " and ".join(model["label"].partition(" (")[0] for model in values["models"])
    return f"{values['title']}, {models}: {texts}"


def _legend(values: Mapping[str, Any]) -> list[str]:
    if any(example.get("named") for example in values["examples"]):
        return [
            bullet(
                "Blue boxes: the objects that words name beyond doubt. Under such a word stand ● where the hottest point lies "
                "in the box, ○ where it does not, and the share of the heat inside the box."
            )
        ]
    return []


@cache
def _drawing_code_digest() -> str:
    """Compute the digest of the modules that compute and draw: figures are made again when these change."""
    rooms = Path(__file__).parents[1]
    files = [path for room in ("drawing", "explain", "figures") for path in (rooms / room).glob("*.py")]
    files += [rooms / "tasks" / "relevance.py", Path(__file__)]
    return digest(
        {path.relative_to(rooms).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    )
