"""AdamW with parameter groups, and the linear schedule (section 4.2, appendix A)."""

from __future__ import annotations

import torch
from torch import nn

from mamo.specs.optimisation import OptimiserSpec
from mamo.tasks.task import Task


def make_optimiser(task: Task, spec: OptimiserSpec) -> torch.optim.AdamW:
    """Build AdamW over all trainable parameters.

    No decay on biases, norms and other vectors; newly initialised parts and the image encoder learn at their own multiple
    of the rate, kept in each group as ``multiplier``.
    """
    new = {
        id(p)
        for part in task.newly_initialised()
        for p in ([part] if isinstance(part, nn.Parameter) else part.parameters())
    }
    # Tasks that train starting weights have no network f.
    network = getattr(task, "network", None)
    vision = {id(p) for p in network.vision.parameters()} if network is not None else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in task.parameters():
        if parameter.requires_grad:
            multiplier = spec.new_multiplier if id(parameter) in new else 1.0
            multiplier *= spec.vision_multiplier if id(parameter) in vision else 1.0
            # Decay would pull norms' weights and the temperature towards 0, which nothing asks for.
            decay = 0.0 if parameter.ndim < 2 else spec.weight_decay
            groups.setdefault((multiplier, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "multiplier": m, "weight_decay": d} for (m, d), p in groups.items()],
        lr=spec.lr,
        betas=spec.betas,
        eps=spec.eps,
        fused=True,  # each tensor is read and written once a step, not once for each operation
    )


def learning_rate(step: int, total: int, warmup: int, peak: float, final: float) -> float:
    """Return the rate of the 0-based ``step``: linearly from peak / warmup up to the peak, then down to ``final``."""
    if step < warmup:
        # From step + 1, since a first step at rate 0 would teach nothing.
        return peak * (step + 1) / warmup
    return peak + (final - peak) * (step - warmup) / max(1, total - 1 - warmup)
