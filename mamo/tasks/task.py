"""The contract between a task and the training loop.

A task owns its network, its losses and its evaluation. The loop knows nothing of them: it calls a task with a batch, takes
``loss`` from the dict that comes back, logs the rest, and tells the task when a step is done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mamo.data.batches.collate import Batch
from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.records import Prepared
from mamo.data.tokenizer import Tokenizer
from mamo.model.mamo import Mamo
from mamo.specs.finetune import JobSpec
from mamo.tasks.accumulation import Autocast, add_parts, part_of, slices
from mamo.tasks.expectations import StepExpectations


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        metrics: name -> value in percent; ``chance/NAME`` is what a model without the image (or at random) reaches.
        items: columns of equal length, one entry per test item, for statistics over items.
        files: file name -> text to be stored beside the record (e.g. a submission).
        split: the split that was evaluated, where the data decide which; '' where the job always evaluates the same.
        flags: name -> whether it holds; a record has them among its metrics, as 1 and 0.
        breakdown: metrics over some of the items, such as those of one type of question.
    """

    metrics: dict[str, float]
    items: dict[str, list[Any]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    split: str = ""
    flags: dict[str, bool] = field(default_factory=dict)
    breakdown: dict[str, float] = field(default_factory=dict)

    @property
    def recorded(self) -> dict[str, float]:
        """All numbers as a run's record has them."""
        return {**self.metrics, **{name: float(flag) for name, flag in self.flags.items()}, **self.breakdown}


class Task(nn.Module):
    """A trainable objective around a network.

    Example:
        >>> losses = task(batch)  # a dict with ``loss`` and its named parts
        >>> losses["loss"].backward()
        >>> optimiser.step()
        >>> task.after_step()  # clamps the temperature; in pre-training, the target network follows
    """

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute ``loss`` and its named parts, all scalars, of a batch on the task's device."""
        raise TypeError(f"{type(self).__name__} has no forward")

    def accumulate(self, batch: Batch, size: int, autocast: Autocast) -> dict[str, Tensor]:
        """Leave the whole batch's gradient on the parameters, with only ``size`` pairs in the network at once.

        Args:
            autocast: makes the context in which a forward runs.

        Returns:
            What ``forward`` would have given, detached.
        """
        total: dict[str, Tensor] = {}
        # A task that contrasts pairs with each other overrides this: of a part's contrast the mean is another loss.
        count = len(batch["ids"])
        for part in slices(count, size):
            share = (part.stop - part.start) / count
            with autocast():
                parts = self(part_of(batch, part))
            (parts["loss"] * share).backward()
            add_parts(total, parts, share)
        return total

    def after_step(self) -> None:
        """Do what follows an optimiser step: nothing, unless a task says otherwise."""

    def expectations(self) -> StepExpectations:
        """Say what the checks of training may expect of a step; called once, before the first."""
        return StepExpectations()

    def newly_initialised(self) -> Iterable[nn.Module | nn.Parameter]:
        """Return the modules that start at random beside pre-trained ones, and learn at a higher rate (X-VLM)."""
        return ()


class DownstreamTask(Task):
    """A task that is fine-tuned from a pre-trained network and evaluated.

    Args:
        network: pre-trained, already at the task's image size.
        spec: the job.
        tokenizer: of the network's vocabulary.
        transform_eval: stored JPEG to model input.
    """

    network: Mamo

    def __init__(
        self, network: Mamo, spec: JobSpec, tokenizer: Tokenizer, transform_eval: EvalTransform
    ) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.tokenizer = tokenizer
        self.transform_eval = transform_eval

    @classmethod
    def build(
        cls, network: Mamo, spec: JobSpec, tokenizer: Tokenizer, data: Prepared, world: Path | None
    ) -> DownstreamTask:
        """Build the task of a spec around a network that already has the job's resolution.

        Args:
            data: the job's first data set.
            world: the world run's ``release``, where the data come from it.
        """
        return cls(network, spec, tokenizer, EvalTransform(spec.transform))

    def after_step(self) -> None:
        """Keep ITC's temperature in its range."""
        self.network.clamp_temperature()

    def validate(self, data: Prepared) -> float:
        """Return the score on the val split by which the best weights are chosen; higher is better."""
        raise TypeError(f"{type(self).__name__} has no validate")

    def items_of(self, data: Prepared, evaluation: Evaluation) -> dict[str, int]:
        """Return how many items of each sort an evaluation must have measured; {} where the prepared splits do not tell."""
        return {}

    def test(self, data: Prepared) -> Evaluation:
        """Measure on the test split or splits."""
        raise TypeError(f"{type(self).__name__} has no test")


def without_alignment(network: Mamo) -> StepExpectations:
    """Expect no gradient in the heads of ITC and ITM: for tasks that read the fused pair alone, and mask nothing."""
    # They are kept all the same: a fine-tuned model still compares and matches pairs.
    heads = (network.vision_projection, network.text_projection, network.itm_head)
    unread = (*heads, network.temperature, network.fusion.mask_token)
    return StepExpectations(unread=unread, features={"image": network.vision, "text": network.text})
