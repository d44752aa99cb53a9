"""Test what each kind of job asks of a cluster, and what cannot run with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mamo.specs.cluster import gres_gpus, processes, resources_of, why_indivisible, why_not_runnable
from mamo.specs.overrides import SpecError
from mamo.specs.plan import make_plan


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("gpu", 1),
        ("gpu:8", 8),
        ("gpu:a100:2", 2),
        ("gpu:3g.20gb:1", 1),
        ("gpu:a100_3g.20gb:2", 2),
        ("gpu:2080ti", 1),
        ("gpu:a100:2(S:0-1)", 2),
        ("gpu:a100:2,gpu:v100:1", 3),
        ("shard:4,gpu:2", 2),
        ("shard:4", 0),
    ],
)
def test_a_count_is_the_last_field_if_it_is_a_number(gres: str, count: int) -> None:
    assert gres_gpus(gres) == count
    assert processes({"gres": gres, "nodes": 2}) == (max(1, count), 2)


def test_gpu_counts_those_of_all_nodes() -> None:
    assert processes({"gpu": 8, "nodes": 2}) == (4, 2) and processes({}) == (1, 1)
    assert processes({"gpu": "2"}) == (2, 1)


def test_the_papers_models_get_eight_gpus_and_the_default_scale_one() -> None:
    paper, smoke = make_plan("paper"), make_plan("smoke")
    asked = resources_of(paper, "pretrain", {})
    assert (asked["gpu"], asked["cpus_per_task"], asked["mem_mb"], asked["nodes"]) == (8, 64, 500_000, 1)
    asked = resources_of(smoke, "pretrain", {})
    assert (asked["gpu"], asked["cpus_per_task"], asked["mem_mb"]) == (1, 4, 16_000)
    for plan in (paper, smoke):
        for kind in ("pretrain", "finetune"):
            assert not list(why_not_runnable(plan, kind, resources_of(plan, kind, {}))), (
                "what is asked for by itself can run"
            )


def test_a_site_names_types_and_nodes() -> None:
    plan = make_plan("paper")
    asked = resources_of(plan, "pretrain", {"MAMO_PRETRAIN_GPUS": "a100:2", "MAMO_GPU_PARTITION": "big"})
    assert (asked["gpu_model"], asked["gpu"], asked["slurm_partition"]) == ("a100", 2, "big")
    asked = resources_of(plan, "pretrain", {"MAMO_PRETRAIN_GPUS": "3g.20gb:2", "MAMO_PRETRAIN_NODES": "2"})
    assert asked["gres"] == "gpu:3g.20gb:2" and asked["tasks"] == 2 and "gpu" not in asked
    assert resources_of(plan, "finetune", {"MAMO_FINETUNE_GPUS": "2080ti"})["gpu"] == 1
    assert resources_of(plan, "prepare", {"MAMO_PREPARE_PART_CPUS": "3"})["cpus_per_task"] == 16, (
        "that is of its parts"
    )
    assert resources_of(plan, "prepare_part", {"MAMO_PREPARE_PART_CPUS": "3"})["cpus_per_task"] == 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MAMO_PRETRAIN_CPUS", "many", "MAMO_PRETRAIN_CPUS=many: give a whole number above 0"),
        (
            "MAMO_PRETRAIN_GPUS",
            "a-100:2",
            "MAMO_PRETRAIN_GPUS=a-100:2: give a number, or a type and a number",
        ),
        ("MAMO_PRETRAIN_GPU", "2", "MAMO_PRETRAIN_GPU: no such variable: did you mean 'MAMO_PRETRAIN_GPUS'?"),
    ],
)
def test_a_variable_that_says_nothing_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        resources_of(make_plan("smoke"), "pretrain", {name: value})
    assert message in str(raised.value)


def test_what_processes_cannot_share_is_named() -> None:
    objectives: dict[str, Any] = {"itc": {"weight": 1}, "itm": {"weight": 1}, "itm_group": 8}
    run: Any = SimpleNamespace(key="pretrain/x", spec={"batch_size": 8, "objectives": objectives})
    assert why_indivisible(run, 1) is None
    assert why_indivisible(run, 3) == "pretrain/x: batch_size 8 is not a multiple of 3 processes"
    assert "each of 8 processes has 1 pairs" in str(why_indivisible(run, 8))
