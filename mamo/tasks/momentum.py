"""Tasks in which networks follow others: the target network and its like (section 3.2.1)."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, Self

from torch import nn

from mamo.model.mamo import Mamo
from mamo.model.target import update_target
from mamo.tasks.task import Task


class Follower(NamedTuple):
    """A module that follows another one after each step."""

    follower: nn.Module
    leader: nn.Module
    momentum: float
    """Share that it keeps of itself; 0: it becomes a copy."""


class MomentumTask(Task):
    """A task around a network f, with followers that no gradient trains."""

    @property
    @abstractmethod
    def network(self) -> Mamo:
        """The network that learns."""

    def followers(self) -> list[Follower]:
        """Return what follows what, in the order in which it does."""
        return []

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what learns; followers stay in evaluation mode, since a target must not drop anything out."""
        super().train(mode)
        # nn.Module.train has switched every child, followers too.
        for follower in self.followers():
            follower.follower.eval()
        return self

    def after_step(self) -> None:
        """Clamp the temperature, and let the followers follow."""
        self.network.clamp_temperature()
        for follower in self.followers():
            update_target(*follower)
