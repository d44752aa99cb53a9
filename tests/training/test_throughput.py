"""`mamo bench`: a peak is looked up by a device's whole name or not at all, and shares follow from counted operations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny
import torch

from mamo.cli.bench import measurement_lines
from mamo.cli.main import main
from mamo.cost.flops import pretraining_pair
from mamo.cost.hardware import peak_of
from mamo.cost.runs import GPUS
from mamo.training import throughput


def test_peaks_are_those_of_the_device_that_is_named() -> None:
    assert peak_of("NVIDIA H100 80GB HBM3") == GPUS["h100"][0]
    assert peak_of("NVIDIA A100-SXM4-80GB") == GPUS["a100"][0]
    assert peak_of("NVIDIA B200") == GPUS["b200"][0]
    assert peak_of("NVIDIA H100 PCIe") != peak_of("NVIDIA H100 NVL") != peak_of("NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA H1000",
        "AMD Instinct MI300X",
    ],
)
def test_nothing_is_said_of_devices_that_are_only_alike(name: str) -> None:
    assert peak_of(name) is None


def test_the_share_is_counted_operations_over_time_and_peak(tmp_path: Path) -> None:
    words = tiny.tokenizer(tmp_path)
    spec = tiny.pretrain_spec()
    actual = throughput.measure_throughput(spec, words, torch.device("cpu"), pairs=8, steps=2)
    # Texts fill all 16 places: of 14 sub-words, a quarter is masked (3.5, rounded to the even 4).
    pair = pretraining_pair(spec, words.vocab_size, 16, 4, 8, 8)
    assert actual.flops == pair
    assert actual.peak is not None and actual.share == pytest.approx(8 * pair / actual.seconds / actual.peak)
    assert actual.pairs_per_second == pytest.approx(8 / actual.seconds)
    assert sum(actual.shares.values()) == pytest.approx(1)
    assert 0 < actual.shares["AdamW"] < 1 and 0 < actual.shares["moving average"] < 1


def test_a_gpu_without_a_known_peak_has_a_throughput_and_no_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peak, source = throughput.peak_for(torch.device("cuda"), "Some Accelerator", "bf16")
    assert peak is None and "Some Accelerator" in source and "mamo/cost/hardware.py" in source
    assert throughput.peak_for(torch.device("cuda"), "NVIDIA B200", "bf16")[0] == GPUS["b200"][0]
    assert throughput.peak_for(torch.device("cuda"), "NVIDIA B200", "fp32")[0] is None
    actual = throughput.Throughput("Some Accelerator", 8, 0.5, 1e12, peak, source, {"AdamW": 0.1}, 2**30)
    text = "\n".join(measurement_lines(actual))
    assert "pairs a second        16" in text and "unknown: no peak is known" in text and "1.0 GiB" in text


def test_the_command_runs_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--scale", "smoke", "--steps", "1"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"share of the peak +\d+\.\d%", shown) and "8 pairs a step" in shown
    assert main(["bench", "--scale", "smoke", "--steps", "0"]) == 2
    assert main(["bench", "--scale", "smoke", "--pairs", "9"]) == 2
