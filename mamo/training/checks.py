"""Detect silent failures: look for training that goes wrong without an error, while a run trains.

The loop shows every step's values, and a few steps as a whole: the first three, some in between and the last. Nothing here
draws a random number or changes a tensor. The findings are in the run's record as ``checks``, with their numbers; a
failed check is a warning there, in the log and wherever the run is shown, since only a person can say whether it was meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mamo.files.record import Check
from mamo.tasks.expectations import Average, StepExpectations
from mamo.training.checkpoints import State
from mamo.training.findings import check

FIRST = 3  # steps inspected in full at the start
BETWEEN = 8  # and in the rest of the run
LASTING = 3  # inspections in a row without a gradient until a tensor counts as dead
ZEROS = 10  # steps in a row until a loss of exactly zero counts as dead
SAMPLE = 8  # values of each tensor by which the target network is followed
SAME = 1e-3  # spread of features over their size below which all items look alike
NAMED = 5  # tensors named in a warning


class Checks:
    """The checks of one training.

    Args:
        module: the task.
        expected: expected properties of its steps.
        total: steps of the whole run.
        clip: bound on the gradient's norm, if there is one.
        least: spread within an item below which MRM's projections count as collapsed; None where that is not checked.
    """

    def __init__(
        self,
        module: nn.Module,
        expected: StepExpectations,
        total: int,
        least: float | None,
        clip: float | None = None,
    ) -> None:
        self.expected, self.total, self.least, self.clip = expected, total, least, clip
        self._clipped = 0
        unread = {
            id(p)
            for part in expected.unread
            for p in ([part] if isinstance(part, nn.Parameter) else part.parameters())
        }
        # A bias of attention keys shifts all scores of a query equally, so its gradient is only rounding noise.
        self._trained = {
            name: p
            for name, p in module.named_parameters()
            if p.requires_grad and id(p) not in unread and not name.endswith(".key.bias")
        }
        self._silent = dict.fromkeys(self._trained, 0)
        self._looks = 0
        self._steps = 0
        self._zeros = {name: [0, 0] for name in expected.losses}  # in a row: now, at most
        self._missing: dict[str, int] = {}
        self._spread: dict[str, Any] = {"lowest": None, "step": None, "low_steps": 0}
        self._features: dict[str, float] = {}
        self._start: dict[str, Tensor] = {}
        self._follows: dict[str, Any] = {"looks": 0, "wrong": 0, "target_moved": False, "online_moved": False}
        self._before: Tensor | None = None
        self._handles: list[Any] = []

    def looks_at(self, step: int) -> bool:
        """Decide whether a step is inspected in full: a function of the step alone, so resuming changes nothing."""
        return step < FIRST or step == self.total - 1 or step % max(1, self.total // BETWEEN) == 0

    def begin(self, step: int) -> None:
        """Prepare to inspect a step; call before its forward pass."""
        if not self.looks_at(step):
            return
        for name, module in self.expected.features.items():
            self._handles.append(module.register_forward_hook(self._spread_hook(name)))
        if self.expected.average is not None:
            self._before = _sample(self.expected.average.target)
            if not self._start:
                # Both starts: a target that stands still is wrong only if the online network has moved.
                online = _sample(self.expected.average.online)
                self._start = {"target": self._before.cpu(), "online": online.cpu()}

    def _spread_hook(self, name: str) -> Any:
        """Return a hook that measures the spread of one module's features, at its first call of a step."""
        seen = False

        @torch.no_grad()
        def hook(module: nn.Module, given: Any, output: Tensor) -> None:
            nonlocal seen
            if seen or len(output) < 2:
                return
            seen = True
            features = (output[:, 0] if output.ndim == 3 else output).detach().float()
            self._features[name] = float(features.std(0).mean() / features.abs().mean().clamp(min=1e-12))

        return hook

    @torch.no_grad()
    def end(self, step: int) -> None:
        """Inspect a step; call after its update."""
        if not self.looks_at(step):
            return
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._looks += 1
        reached = {name: p.grad for name, p in self._trained.items() if p.grad is not None}
        # One call and one transfer for all tensors: a look costs little even on a GPU.
        norms = torch.stack(torch._foreach_norm(list(reached.values()))).tolist() if reached else []
        alive = {name for name, norm in zip(reached, norms, strict=True) if norm != 0}
        self._silent = {name: 0 if name in alive else self._silent[name] + 1 for name in self._trained}
        if self.expected.average is not None and self._before is not None:
            self._follow(self.expected.average, self._before)
            self._before = None

    def _follow(self, average: Average, before: Tensor) -> None:
        target, online = _sample(average.target), _sample(average.online)
        # The target is updated after the online network, so the new online weights belong to its old state.
        expected = before.lerp(online, 1.0 - average.momentum)
        counts = self._follows
        counts["looks"] += 1
        counts["wrong"] += not torch.allclose(target, expected, rtol=1e-4, atol=1e-6)
        counts["target_moved"] |= not torch.equal(target.cpu(), self._start["target"])
        counts["online_moved"] |= not torch.equal(online.cpu(), self._start["online"])
        counts["gap"] = float((target - online).abs().mean() / online.abs().mean().clamp(min=1e-12))

    def observe(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of any step."""
        self._steps += 1
        for name, zeros in self._zeros.items():
            if name not in values:
                self._missing[name] = self._missing.get(name, 0) + 1
                continue
            # One zero can be chance; many in a row are a loss that is switched off.
            zeros[0] = zeros[0] + 1 if values[name] == 0.0 else 0
            zeros[1] = max(zeros)
        self._clipped += self.clip is not None and values.get("gradient_norm", 0.0) > self.clip
        spreads = [value for name, value in values.items() if name.startswith("spread_") and value == value]
        if spreads and self.least is not None:
            spread = min(spreads)
            lowest = self._spread["lowest"]
            if lowest is None or spread < lowest:
                self._spread |= {"lowest": spread, "step": step}
            self._spread["low_steps"] += spread < self.least

    def state(self) -> State:
        """Return the state for a checkpoint."""
        return {
            "silent": self._silent,
            "looks": self._looks,
            "steps": self._steps,
            "zeros": self._zeros,
            "missing": self._missing,
            "clipped": self._clipped,
            "spread": self._spread,
            "features": self._features,
            "start": self._start,
            "follows": self._follows,
        }

    def load(self, state: State) -> None:
        """Restore from a checkpoint; one of an earlier version has no such state, so the steps before it are not counted."""
        for name, value in state.items():
            setattr(self, f"_{name}", value)

    def findings(self) -> list[Check]:
        """Return the findings, a line for each check; none if no step was made."""
        if not self._steps:
            return []
        checks = [self._gradients(), self._losses()]
        if self.clip is not None:
            share = self._clipped / self._steps
            says = f"the gradient was clipped to {self.clip:g} in {share:.0%} of the steps"
            checks.append(check("clipping", True, says, share=share))
        if self.expected.average is not None:
            checks.append(self._target(self.expected.average))
        if self._features or self._spread["lowest"] is not None:
            checks.append(self._spreads())
        return checks

    def _gradients(self) -> Check:
        dead = [name for name, looks in self._silent.items() if looks >= min(LASTING, max(1, self._looks))]
        says = f"each of {len(self._silent)} trained tensors has a gradient"
        if dead:
            more = f" and {len(dead) - NAMED} more" if len(dead) > NAMED else ""
            says = (
                f"{len(dead)} of {len(self._silent)} trained tensors had no gradient when last looked at, and did not learn: "
                f"{', '.join(dead[:NAMED])}{more}"
            )
        return check(
            "gradients", not dead, says, tensors=len(self._silent), dead=dead[:NAMED], looks=self._looks
        )

    def _losses(self) -> Check:
        enough = min(ZEROS, self._steps)
        zero = {name: zeros[1] for name, zeros in self._zeros.items() if zeros[1] >= enough}
        wrong = [
            f"{name} is missing in {count} of {self._steps} steps" for name, count in self._missing.items()
        ]
        wrong += [f"{name} is exactly 0 for {count} steps in a row" for name, count in zero.items()]
        says = f"{', '.join(self._zeros)}: present, and not stuck at 0"
        return check(
            "losses", not wrong, "; ".join(wrong) or says, steps=self._steps, missing=self._missing, zero=zero
        )

    def _target(self, average: Average) -> Check:
        seen, wrong = self._follows, ""
        if seen["online_moved"] and not seen["target_moved"]:
            wrong = "the target network has not moved, although the online network has"
        elif seen["wrong"]:
            wrong = (
                f"the target network did not follow the online one with momentum {average.momentum:g} in {seen['wrong']} of "
                f"{seen['looks']} looks"
            )
        behind = f"{seen.get('gap', 0):.3g} of the weights' size behind"
        says = f"the target network follows with momentum {average.momentum:g}, {behind}"
        return check("target", not wrong, wrong or says, momentum=average.momentum, **seen)

    def _spreads(self) -> Check:
        alike = [name for name, value in self._features.items() if value < SAME]
        wrong = [f"{name} features are the same for all items ({self._features[name]:.2g})" for name in alike]
        if self._spread["low_steps"]:
            wrong.append(
                f"the spread of projected features within an item was below {self.least:g} in {self._spread['low_steps']} of "
                f"{self._steps} steps (lowest {self._spread['lowest']:.3g} at step {self._spread['step']})"
            )
        shown = [f"{name} {value:.3g}" for name, value in self._features.items()]
        if self._spread["lowest"] is not None:
            shown.append(f"projected, within an item, at least {self._spread['lowest']:.3g}")
        says = f"features differ from item to item: {', '.join(shown)}"
        return check("features", not wrong, "; ".join(wrong) or says, spread=self._features, **self._spread)


def _sample(module: nn.Module) -> Tensor:
    """Take a few values of every tensor, at fixed places: (K,)."""
    flat = [p.detach().flatten() for p in module.parameters()]
    return torch.cat([x[:: max(1, len(x) // SAMPLE)][:SAMPLE] for x in flat]).clone()
