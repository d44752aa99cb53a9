"""Schedule the health measurements of a pre-training (:mod:`mamo.tasks.health`), record them, and decide when to warn.

Shapes: B pairs, S side of an image in pixels, L sub-words.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.records import Prepared
from mamo.data.tokenizer import Tokenizer
from mamo.files.record import Check
from mamo.tasks.health import Batch, ValidationPairs, gradient_shares, measure_pairs
from mamo.tasks.pretrain import PretrainTask
from mamo.training.checkpoints import State
from mamo.training.findings import check

# Shares of the run: the first is step 2,000 of the 34,000 that the paper's ten epochs take.
LOOKS = (0.06, 0.125, 0.25, 0.5, 0.75, 1.0)
PAIRS = 128  # validation pairs
SAMPLE = 64  # values of each tensor by which the teacher's progress is measured

# Limits of the warnings, set before any run that a table shows. docs/health.md gives the reasons.
SKILL = 0.1  # least skill of MRM and MIM within an item
SPREAD = 0.5  # least spread of the targets within an item, over the starting network's
FALLING = 0.9  # share of its half-way value below which a value counts as falling
SURE = 2.0  # standard errors by which the right partner must help
WAY = 0.9  # least share of the student's progress that the teacher has made, mean over the run
NEAR = 0.9  # least ratio of the teacher's recall to the student's
GRADIENT = 0.05  # least gradient of an objective in the fusion encoder, over the largest
PLATEAU = 0.6  # ITM's loss below which it no longer always says "not matched" (0.637)
EARLY = 0.2  # share of the run by which that must happen
ALIKE = 0.5  # least share of the batches that contain look-alikes
WORDS_SHARED = 0.75  # share of common words from which two texts count as look-alikes
THUMBNAIL = 12  # side in pixels of the thumbnails that are compared
CORRELATED = 0.85  # correlation of their thumbnails' pixels from which two images count as look-alikes


class Health:
    """Health measurements of one pre-training.

    Args:
        total: steps of the whole run.
        pairs: validation pairs, on the task's device.
    """

    def __init__(self, task: PretrainTask, pairs: ValidationPairs, total: int) -> None:
        self.task, self.pairs, self.total = task, pairs, total
        self.steps = frozenset(max(1, round(total * share)) for share in LOOKS)
        self.rows: list[dict[str, float]] = []
        self.batches = self.alike = 0
        self._start = _sample(task.online)
        # The start is what spreads and the teacher's way are compared with.
        self.measure(0)

    def measure(self, step: int) -> None:
        """Measure after ``step`` steps."""
        # Gradients of one micro-batch suffice: their ratios are asked for, not their size.
        first = next(self.pairs.parts())
        row = {
            "step": float(step),
            **measure_pairs(self.task, self.pairs),
            **gradient_shares(self.task, first),
        }
        if self.task.target is not None:
            # The target's way, projected on the online network's: noise of single weights cancels.
            online, target = (_sample(part) - self._start for part in (self.task.online, self.task.target))
            row["teacher_way"] = (
                float((target @ online) / (online @ online).clamp(min=1e-20)) if step else 1.0
            )
        self.rows.append(row)

    def observe(self, batch: Batch) -> None:
        """Count a training batch, and whether it contains look-alikes."""
        self.batches += 1
        self.alike += holds_look_alike(batch["image"], batch["ids"], batch["image_id"])

    def state(self) -> State:
        """Return the state for a checkpoint."""
        return {"rows": self.rows, "batches": self.batches, "alike": self.alike}

    def load(self, state: State) -> None:
        """Restore the state from a checkpoint."""
        self.rows = list(state.get("rows", self.rows))
        self.batches, self.alike = state.get("batches", 0), state.get("alike", 0)

    def table(self) -> str:
        """Return the measurements as CSV, a row for each."""
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def findings(self, curve: Sequence[Mapping[str, float]]) -> list[Check]:
        """Return the findings, a line for each mechanism that the spec uses; none if there were fewer than two measurements."""
        # A run that ended early (diverged) says nothing about where its mechanisms would have ended.
        if len(self.rows) < 2 or self.rows[-1]["step"] < self.total:
            return []
        checks = [*_skills(self.rows), *_targets(self.rows), *_partners(self.rows[-1])]
        pairs = len(self.pairs.batch["ids"])
        checks += [*_teacher(self.rows), *_gradients(self.rows)]
        checks += _matching(self.rows[-1], curve, self.total, pairs)
        if self.batches:
            share = self.alike / self.batches
            says = f"{share:.0%} of the batches contain look-alikes: images that differ little, or texts that share most words"
            checks.append(check("look-alikes", share >= ALIKE, says, share=share, batches=self.batches))
        return checks


def validation_pairs(
    data: Prepared,
    tokenizer: Tokenizer,
    transform: EvalTransform,
    max_words: int,
    size: int,
    device: torch.device,
) -> ValidationPairs:
    """Take the first images of the validation split, each with its first text; of the training split if there is no other."""
    splits = data.manifest["splits"]
    split = "val" if "val" in splits and splits["val"]["records"] else "train"
    records = data.records(split)
    images, texts = records.column("image").to_pylist(), records.column("text").to_pylist()
    first: dict[int, int] = {}
    for place, image in enumerate(images):
        if len(first) == PAIRS and image not in first:
            break
        first.setdefault(image, place)
    ids, mask = tokenizer.encode([texts[place] for place in first.values()], max_words)
    pixels = torch.stack([transform(data.images.jpeg(int(row))) for row in first])
    batch: Batch = {"image": pixels, "ids": ids, "mask": mask, "image_id": torch.arange(len(first))}
    batch = {name: value.to(device) for name, value in batch.items()}
    return ValidationPairs(batch | {"seed": 0, "step": 0, "progress": 1.0}, size)


@torch.no_grad()
def holds_look_alike(image_B3SS: Tensor, ids_BL: Tensor, image_id_B: Tensor) -> bool:
    """Check whether two images of a batch differ little, or two texts of different images share most of their words."""
    other = image_id_B[:, None] != image_id_B
    small = F.adaptive_avg_pool2d(image_B3SS.float(), THUMBNAIL).flatten(1)
    small = F.normalize(small - small.mean(1, keepdim=True), dim=1)
    if bool(((small @ small.T >= CORRELATED) & other).any()):
        return True
    words = torch.zeros(len(ids_BL), int(ids_BL.max()) + 1, device=ids_BL.device).scatter_(1, ids_BL, 1.0)
    words[:, 0] = 0  # padding
    count = words.sum(1)
    return bool(((words @ words.T >= WORDS_SHARED * torch.maximum(count[:, None], count)) & other).any())


def _skills(rows: list[dict[str, float]]) -> list[Check]:
    checks = []
    for name, what, constant in (
        ("mrm_image_within_r2", "MRM at masked patches: R² within an image", "the same at every place"),
        ("mrm_text_within_r2", "MRM at masked words: R² within a text", "the same at every place"),
        (
            "mim_skill",
            "MIM at masked patches: skill within an image",
            "no better than the image's own median",
        ),
    ):
        if name in rows[-1]:
            middle, last = _half_way(rows)[name], rows[-1][name]
            passed = last >= SKILL and last >= middle - 0.02
            says = f"{what} {last:.2f} (half-way {middle:.2f}); {constant} would be 0"
            numbers = {"last": last, "middle": middle, "first": rows[0][name]}
            if (strict := name.replace("_within", "")) != name:
                numbers["level_included"] = rows[-1][strict]
                says += f"; against the item's own mean, its level included, {rows[-1][strict]:.2f}"
            checks.append(check(name, passed, says, **numbers))
    return checks


def _half_way(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the measurement nearest to half of the steps."""
    return min(rows, key=lambda row: abs(row["step"] - rows[-1]["step"] / 2))


def _targets(rows: list[dict[str, float]]) -> list[Check]:
    names = [name for name in rows[-1] if name.endswith("_target_spread")]
    if not names:
        return []
    shares = {
        name.removesuffix("_target_spread"): rows[-1][name] / max(rows[0][name], 1e-12) for name in names
    }
    falls = [name for name in names if rows[-1][name] < FALLING * _half_way(rows)[name]]
    passed = not falls and all(share >= SPREAD for share in shares.values())
    listed = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    says = f"spread of the targets within an item, over the starting network's: {listed}" + (
        " (falling)" if falls else ""
    )
    return [check("target spread", passed, says, **shares)]


def _partners(last: dict[str, float]) -> list[Check]:
    names = [name.removesuffix("_partner") for name in last if name.endswith("_partner")]
    if not names:
        return []
    passed = all(last[f"{name}_partner_z"] >= SURE for name in names)
    listed = ", ".join(
        f"{name} {last[f'{name}_partner']:+.1%} ({last[f'{name}_partner_z']:.1f} se)" for name in names
    )
    says = f"error with a wrong partner over that with the right one: {listed}"
    return [check("other modality", passed, says, **{name: last[f"{name}_partner"] for name in names})]


def _teacher(rows: list[dict[str, float]]) -> list[Check]:
    if "teacher_way" not in rows[-1]:
        return []
    way = sum(
        (b["step"] - a["step"]) * (a["teacher_way"] + b["teacher_way"]) / 2
        for a, b in zip(rows[1:], rows[2:], strict=False)
    )
    way = (way + rows[1]["step"] * rows[1]["teacher_way"]) / rows[-1]["step"]
    says = f"the teacher has made {way:.0%} of the student's way, mean over the run"
    passed, numbers = way >= WAY, {"way": way}
    if "teacher_tr_r1" in rows[-1]:
        teacher, student = (_mean_recall(rows[-1], name) for name in ("teacher", "itc"))
        says += f"; validation R@1 by similarity {teacher:.1f}, the student's {student:.1f}"
        passed = passed and teacher >= NEAR * student
        numbers |= {"teacher_recall": teacher, "student_recall": student}
    return [check("teacher", passed, says, **numbers)]


def _gradients(rows: list[dict[str, float]]) -> list[Check]:
    names = [name for name in rows[-1] if name.startswith("gradient_")]
    if len(names) < 2:
        return []
    late = rows[rows.index(_half_way(rows)) :]
    shares = {name.removeprefix("gradient_"): sum(row[name] for row in late) / len(late) for name in names}
    listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    says = f"gradient in the fusion encoder, over the largest objective's: {listed}"
    return [check("gradient shares", min(shares.values()) >= GRADIENT, says, **shares)]


def _matching(
    last: dict[str, float], curve: Sequence[Mapping[str, float]], total: int, pairs: int
) -> list[Check]:
    if "itm_tr_r1" not in last:
        return []
    left = plateau_left(curve)
    share = math.inf if left is None else left / total
    when = "never" if left is None else f"after {share:.0%} of the run"
    checks = [
        check(
            "itm plateau",
            share <= EARLY,
            f'ITM\'s loss stays below {PLATEAU:g} (always "no": 0.637) {when}',
            share=share,
        )
    ]
    gains = {way: last[f"itm_{way}_r1"] - last[f"itc_{way}_r1"] for way in ("tr", "ir")}
    says = (
        f"R@1 among {pairs} validation pairs, by ITC alone and re-ranked by ITM: text {last['itc_tr_r1']:.1f} -> "
        f"{last['itm_tr_r1']:.1f}, image {last['itc_ir_r1']:.1f} -> {last['itm_ir_r1']:.1f}"
    )
    return [*checks, check("re-ranking", min(gains.values()) >= 0, says, **gains)]


def plateau_left(curve: Sequence[Mapping[str, float]]) -> float | None:
    """Find the first logged step from which the mean of three values of ITM's loss stays below :data:`PLATEAU`."""
    values = [row["itm"] for row in curve if "itm" in row]
    left = None
    for place in range(len(values) - 2):
        below = sum(values[place : place + 3]) / 3 < PLATEAU
        left = (curve[place]["step"] if left is None else left) if below else None
    return left


def _mean_recall(row: Mapping[str, float], name: str) -> float:
    return (row[f"{name}_tr_r1"] + row[f"{name}_ir_r1"]) / 2


def _sample(module: torch.nn.Module) -> Tensor:
    """Take a few values of every tensor, at fixed places: (K,)."""
    flat = [p.detach().flatten() for p in module.parameters()]
    return torch.cat([x[:: max(1, len(x) // SAMPLE)][:SAMPLE] for x in flat]).cpu().clone()
