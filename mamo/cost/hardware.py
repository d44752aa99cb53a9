"""Look up a device's peak by its exact own name; never guess."""

from __future__ import annotations

import re

# Dense bf16 matrix products as the makers' data sheets give them (without sparsity), operations per second. Cards of one name
# differ by cooling and bus, and so do slices of a card (MIG) and laptop versions: the whole name must match.
_PEAKS = {
    r"NVIDIA A100-(SXM4|PCIE|PCIe)-(40|80)GB|NVIDIA A100 80GB PCIe": 312e12,
    r"NVIDIA H100 80GB HBM3|NVIDIA H200": 989e12,
    r"NVIDIA H100 PCIe": 756e12,
    r"NVIDIA H100 NVL|NVIDIA H200 NVL": 835e12,
    r"NVIDIA B200": 2_250e12,
    r"NVIDIA L40S": 362e12,
    r"NVIDIA L4": 121e12,
    r"NVIDIA A10": 125e12,
    r"NVIDIA RTX 6000 Ada Generation": 364e12,
    r"NVIDIA GeForce RTX 4090": 165e12,
    r"NVIDIA GeForce RTX 3090": 71e12,
}


def peak_of(device: str) -> float | None:
    """Look up a device's operations per second by its name (``torch.cuda.get_device_name``); None if it is not in the table."""
    for pattern, peak in _PEAKS.items():
        if re.fullmatch(pattern, device.strip()):
            return peak
    return None
