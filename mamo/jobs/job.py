"""Describe a downstream job without its network, for plans, pages and packs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from mamo.specs.finetune import JobSpec
from mamo.specs.model import ModelSpec

if TYPE_CHECKING:
    import numpy as np

S = TypeVar("S", bound=JobSpec)
Items = Mapping[str, Sequence[Any]]
"""Results per test item: columns of equal length."""


class Operations(Protocol):
    """Floating-point operations of a network's parts, forwards; :class:`mamo.cost.flops.Network` counts them."""

    @property
    def spec(self) -> ModelSpec:
        """The network's shape."""

    def vision(self) -> float:
        """Return the image encoder."""

    def text(self, words: float) -> float:
        """Return the text encoder."""

    def fusion(self, words: float) -> float:
        """Return the fusion encoder, all of its tokens."""

    def matching(self, words: float) -> float:
        """Return ITM's score of one pair of encoded image and text."""

    def alignment(self, words: float, batch: float) -> float:
        """Return one pair's ITC + ITM in a batch."""

    def decoder(self, tokens: float, layers: int, words: float) -> float:
        """Return VQA's answer decoder."""

    def vocabulary(self, rows: float) -> float:
        """Return logits over the vocabulary."""

    def paired_attention(self, words: float) -> float:
        """Return NLVR2's module over two fused pairs."""

    def patch_embedding(self) -> float:
        """Return what a backward saves at the embedding of all patches, since no gradient goes back to the pixels."""

    def decoder_parameters(self, layers: int) -> int:
        """Return the parameters of VQA's answer decoder."""

    def paired_attention_parameters(self) -> int:
        """Return the parameters of NLVR2's module."""


class SplitSizes(Protocol):
    """Counts of a data set by split; :class:`mamo.cost.sizes.Sizes` has them."""

    @property
    def records(self) -> Mapping[str, int]:
        """Split -> records."""

    @property
    def shown(self) -> Mapping[str, int]:
        """Split -> images that its records show."""


@dataclass(frozen=True)
class JobCost:
    """Operations of a job.

    Attributes:
        example: one training example, forwards and backwards.
        validation, test: one evaluation of each.
        shared: whether the ranks of a run share the evaluation; else each does it alone.
        parameters: those that the job adds to the network.
    """

    example: float
    validation: float
    test: float
    shared: bool = False
    parameters: int = 0


class Stratum(NamedTuple):
    """Some test items whose mean score enters a metric.

    Attributes:
        scores: (N,) in percent.
        counted: (N,) which of them enter the mean.
        images: (N,) the image of each.
        weight: of this stratum's mean in the metric.
    """

    scores: np.ndarray
    counted: np.ndarray
    images: np.ndarray
    weight: float = 1.0


class Job(ABC, Generic[S]):
    """A kind of downstream job.

    Attributes:
        spec: the class of its specs.
        title: names a model of it in words.
        settings: of the spec, those that the trained model is used with.
        main: the metrics that sum up a model, each with its words; the others are details of them.
    """

    spec: ClassVar[type[JobSpec]]
    title: ClassVar[str]
    settings: ClassVar[tuple[str, ...]] = ()
    main: ClassVar[Mapping[str, str]] = {}

    @property
    def task(self) -> str:
        """The name that specs give it."""
        return str(self.spec.model_fields["task"].default)

    @abstractmethod
    def cost(self, spec: S, network: Operations, data: SplitSizes) -> JobCost:
        """Count the operations of training and evaluating it.

        Args:
            network: at the job's image size.
            data: the job's first data set, which it is evaluated on.
        """

    @abstractmethod
    def strata(
        self,
        metric: str,
        items: Items,
        images_of: Mapping[str, Sequence[int]],
        metrics: Mapping[str, float],
    ) -> list[Stratum] | None:
        """Return the items behind a metric.

        Args:
            metric: a metric that the job records, such as ``tr_r1``.
            items: the run's results per item.
            images_of: split -> the image of each of its records in their order, as prepared. A split that is not listed
                counts each of its items as an image of its own.
            metrics: all that the run recorded.

        Returns:
            None if the metric is not a mean over the items that are there.
        """

    def is_score(self, metric: str) -> bool:
        """Check that a recorded metric is a result to show: no training loss, no chance level, no count or flag."""
        return not metric.startswith(("train/", "chance/"))


def images_or_items(images_of: Mapping[str, Sequence[int]], split: str, count: int) -> np.ndarray:
    """Return the images of a split's records; if they are not known, each of its ``count`` items stands for itself."""
    import numpy as np

    images = np.asarray(images_of.get(split, ()), dtype=np.int64)
    return images if len(images) == count else np.arange(count)


def split_accuracy(metric: str, items: Items, images_of: Mapping[str, Sequence[int]]) -> list[Stratum] | None:
    """Return the items behind ``SPLIT_accuracy``, or ``SPLIT_accuracy_KIND`` of the column ``correct_KIND``."""
    import numpy as np

    split, accuracy, kind = metric.partition("_accuracy")
    column = f"correct{kind}"
    if not accuracy or column not in items:
        return None
    in_split = np.array(items["split"]) == split
    if not in_split.any():
        return None
    scores = 100.0 * np.asarray(items[column], dtype=float)[in_split]
    return [Stratum(scores, np.ones(len(scores), dtype=bool), images_or_items(images_of, split, len(scores)))]
