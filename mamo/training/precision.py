"""Detect whether this machine computes a precision in hardware."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

from mamo.specs.pretrain import Precision

# Flags of /proc/cpuinfo for bf16 products: x86's AVX-512 extension and AMX, Arm's extension.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})


@lru_cache(maxsize=1)
def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the processor's instruction sets as Linux names them; none if they cannot be read."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return frozenset()


def emulated(precision: Precision, device: str, flags: frozenset[str] | None = None) -> bool:
    """Check whether products in this precision are emulated, which takes about ten times as long as fp32.

    Args:
        device: cpu or cuda.
        flags: of the processor; by default this machine's. If none can be read, the answer is False.
    """
    flags = processor_flags() if flags is None else flags
    # Unknown flags are no reason to warn.
    return precision == "bf16" and device == "cpu" and bool(flags) and not flags & BF16_FLAGS


def warning(precision: Precision, device: str) -> str | None:
    """Return a warning if a run will be slow because of its precision."""
    if not emulated(precision, device):
        return None
    return (
        f"this processor ({platform.machine()}) has no bf16 instructions: bf16 is emulated and takes about ten times as "
        "long as fp32; set precision: fp32"
    )
