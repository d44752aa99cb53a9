"""Scales and ablations become runs; identity follows content."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mamo.specs.identity import Run, changes, digest
from mamo.specs.overrides import SpecError, apply, load_yaml
from mamo.specs.plan import Plan, make_plan
from mamo.specs.scale import read_scale
from mamo.specs.seeds import read_seeds, write_seeds

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"
SHORT = ["table5", "table6", "table7", "table8", "table9"]


def pretrainings(scale: str, only: list[str] | None = None, ablations: Path = ABLATIONS) -> list[Run]:
    return make_plan(scale, ablations, only=only).by_kind("pretrain")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the ablation files, to be spoilt."""
    return Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("scale", ["paper", "smoke"])
def test_tables_5_to_9_need_15_pretrainings_and_all_tables_24(scale: str) -> None:
    assert len(pretrainings(scale, SHORT)) == 15
    everything = pretrainings(scale)
    epochs = [run.spec["schedule"]["epochs"] for run in everything]
    assert (len(everything), epochs.count(30), epochs.count(10)) == (24, 3, 21)


def test_demo_leaves_figure_6_to_the_study_and_trains_its_three_long_models_longer() -> None:
    epochs = [run.spec["schedule"]["epochs"] for run in pretrainings("demo")]
    assert (len(epochs), epochs.count(75), epochs.count(10)) == (18, 3, 15)


def test_the_full_short_model_is_one_run_in_six_places() -> None:
    plan = make_plan("paper", ABLATIONS)
    rows = {
        "table5": "full",
        "table6": "both",
        "table7": "full",
        "table8": "momentum_features",
        "table9": "depth0",
    }
    keys = {plan.tables[table].pretrainings[row] for table, row in rows.items()}
    keys |= {plan.tables["figure6"].pretrainings[row] for row in ("image75", "text25")}
    assert len(keys) == 1
    # Table 6's row without MRM is Table 5's third row.
    assert plan.tables["table6"].pretrainings["none"] == plan.tables["table5"].pretrainings["itc_itm_mlm_mim"]


def test_table_5_has_the_objectives_of_the_paper() -> None:
    plan = make_plan("paper", ABLATIONS, only=["table5"])
    actual = {}
    for row, (key,) in plan.tables["table5"].pretrainings.items():
        objectives = plan.runs[key].spec["objectives"]
        actual[row] = [name for name in ("mrm", "mlm", "mim") if objectives[name]]
    assert actual == {
        "itc_itm": [],
        "itc_itm_mlm": ["mlm"],
        "itc_itm_mlm_mim": ["mlm", "mim"],
        "itc_itm_mrm": ["mrm"],
        "itc_itm_mrm_mlm": ["mrm", "mlm"],
        "full": ["mrm", "mlm", "mim"],
    }


def test_the_paper_scale_is_the_papers() -> None:
    scale = read_scale("paper", ABLATIONS)
    spec, jobs = scale.pretrain, scale.jobs
    assert scale.caveat is None
    assert (spec.batch_size, spec.schedule.epochs, spec.schedule.warmup_steps) == (1536, 30, 2500)
    assert (spec.optimiser.lr, spec.optimiser.final_lr, spec.optimiser.weight_decay) == (1e-4, 1e-5, 0.01)
    assert (spec.masking.image_ratio, spec.masking.text_ratio, spec.target.momentum) == (0.75, 0.25, 0.995)
    appendix = {name: (job.schedule.epochs, job.batch_size, job.optimiser.lr) for name, job in jobs.items()}
    assert appendix["retrieval_coco"] == appendix["retrieval_flickr30k"] == (10, 160, 3e-5)
    assert appendix["vqa"] == (10, 192, 5e-5)
    assert appendix["nlvr2"] == (10, 80, 3e-5)
    assert appendix["grounding"] == (5, 160, 2e-5)
    assert jobs["zero_shot_flickr30k"].schedule.epochs == 0
    assert jobs["zero_shot_flickr30k"].transform.size == spec.model.image_size
    assert jobs["grounding"].transform.crop_scale is None
    assert {job.transform.size for name, job in jobs.items() if job.schedule.epochs} == {384}


@pytest.mark.parametrize("scale", ["demo", "smoke", "flickr8k"])
def test_small_scales_say_what_they_are_not(scale: str) -> None:
    assert read_scale(scale, ABLATIONS).caveat


def test_a_changed_row_changes_only_its_own_chain(own: Path) -> None:
    before = make_plan("smoke", own)
    spoil(
        own / "table7.yaml",
        "objectives.mrm.predictor: false",
        "objectives.mrm.predictor: false, target.momentum: 0.9",
    )
    after = make_plan("smoke", own)
    gone, new = set(before.runs) - set(after.runs), set(after.runs) - set(before.runs)
    assert (
        sorted(key.split("/")[0] for key in gone)
        == sorted(key.split("/")[0] for key in new)
        == (["finetune"] * 3 + ["pretrain"])
    )
    changed = [name for name in before.tables if before.tables[name].digest != after.tables[name].digest]
    assert changed == ["table7"]


def test_a_changed_world_changes_everything(own: Path) -> None:
    before = make_plan("smoke", own)
    spoil(own / "scales" / "smoke.yaml", "canvas: 64", "canvas: 128")
    after = make_plan("smoke", own)
    assert not set(before.runs) & set(after.runs)


def test_words_of_an_ablation_change_no_run(own: Path) -> None:
    before = set(make_plan("smoke", own).runs)
    spoil(own / "table7.yaml", "question: >-", "question: >-\n  Well.")
    assert set(make_plan("smoke", own).runs) == before


def test_seeds_make_a_run_each(own: Path) -> None:
    spoil(own / "table7.yaml", "paper: table7", "paper: table7\nseeds: 3")
    plan = make_plan("smoke", own, only=["table7"])
    assert len(plan.by_kind("pretrain")) == 9
    seeds = [plan.runs[key].spec["seed"] for key in plan.tables["table7"].pretrainings["full"]]
    assert seeds == [0, 1, 2]
    cell = plan.tables["table7"].cells[0]
    assert [plan.runs[plan.runs[key].inputs["init"]].spec["seed"] for key in cell.runs] == [0, 1, 2]


def test_a_digest_ignores_the_order_of_keys_and_the_name() -> None:
    one: dict[str, Any] = {"a": 1, "b": {"c": 2.5, "d": None}}
    two: dict[str, Any] = {"b": {"d": None, "c": 2.5}, "a": 1}
    assert digest(one) == digest(two) != digest(one | {"a": 2})
    assert (
        Run("pretrain", "x", one).digest
        == Run("pretrain", "y", two).digest
        != Run("finetune", "x", one).digest
    )


def test_a_digest_covers_the_inputs() -> None:
    one, two = Run("data", "coco", {"a": 1}), Run("data", "coco", {"a": 2})
    assert Run("pretrain", "x", {}, {"d": one.key}).digest != Run("pretrain", "x", {}, {"d": two.key}).digest


def test_changes_are_dotted_leaves() -> None:
    assert changes({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "d": 3}) == {"a.c": 4}
    assert changes({"a": {"b": 1}}, {"a": None}) == {"a": None}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "table7.yaml",
            "target.momentum",
            "target.momentun",
            "table7.yaml: row 'no_ema': unknown key 'target.momentun': did you mean 'momentum'?",
        ),
        (
            "table7.yaml",
            "job: vqa",
            "job: vqa2",
            "table7.yaml: column 'vqa': scale 'smoke' has no job 'vqa2'",
        ),
        (
            "table7.yaml",
            "question:",
            "qestion:",
            "table7.yaml: qestion: unknown key: did you mean 'question'?",
        ),
        ("table7.yaml", "key: no_ema", "key: full", "row key given twice: full"),
        ("table7.yaml", "paper: table7", "paper: table7\npaper: table8", "key 'paper' twice"),
        (
            "scales/smoke.yaml",
            "image_size: 32",
            "image_sise: 32",
            "pretrain.model.image_sise: unknown key: did you mean 'image_size'?",
        ),
        ("scales/smoke.yaml", "extends: paper", "extends: smoke", "scales extend each other in a circle"),
        ("scales/smoke.yaml", "canvas: 64", "canvas: 66", "must be a multiple of grid"),
    ],
)
def test_a_wrong_file_is_named_with_the_place_and_the_mend(
    own: Path, file: str, old: str, new: str, message: str
) -> None:
    spoil(own / file, old, new)
    with pytest.raises(SpecError) as error:
        make_plan("smoke", own)
    assert message in str(error.value)
    assert file in str(error.value)


def test_an_override_of_a_switched_off_part_is_refused() -> None:
    with pytest.raises(SpecError, match="'mrm.predictor' sets a part of 'mrm', which is switched off"):
        apply({"mrm": None}, {"mrm.predictor": False}, "here")


def test_every_file_opens_with_its_question_hypothesis_and_cost() -> None:
    for path in sorted(ABLATIONS.glob("*.yaml")):
        assert list(load_yaml(path))[:4] == ["title", "question", "hypothesis", "cost"], path.name


def test_runs_are_found_by_name_identity_or_start() -> None:
    plan: Plan = make_plan("smoke", ABLATIONS)
    (full,) = plan.tables["table5"].pretrainings["full"]
    run = plan.runs[full]
    for name in (run.id, run.name, run.id[:-4]):
        assert plan.find("pretrain", name) is run
    with pytest.raises(SpecError, match="is ambiguous"):
        plan.find("pretrain", "mamo-no")
    with pytest.raises(SpecError, match="is not a pretrain run of scale 'smoke'"):
        plan.find("pretrain", "albef")


def test_a_file_alone_makes_an_ablation(own: Path) -> None:
    """Without a word in any scale's file: made by name where its jobs are; with `scales`, part of those scales' whole."""
    text = (own / "table7.yaml").read_text().replace("paper: table7\n", "")
    (own / "mine.yaml").write_text(text)
    plan = make_plan("smoke", own, others=True)
    assert "mine" in plan.others and "mine" not in plan.tables
    assert set(plan.closure(plan.others["mine"].inputs)) <= set(plan.runs)
    assert not make_plan("smoke", own).others and set(make_plan("smoke", own).tables) == set(plan.tables)
    assert "mine" not in make_plan("flickr8k", own, others=True).others, "flickr8k has none of its jobs"
    (own / "mine.yaml").write_text(f"{text}\nscales: [smoke]\n")
    assert list(make_plan("smoke", own).tables)[-1] == "mine"
    demo = make_plan("demo", own, others=True)
    assert "mine" not in demo.tables | demo.others
    (own / "mine.yaml").write_text(f"{text}\nscales: [smok]\n")
    with pytest.raises(SpecError, match="mine.yaml: scales: no scale named 'smok': did you mean 'smoke'"):
        make_plan("smoke", own)


@pytest.mark.parametrize("scale", ["smoke", "demo", "paper"])
def test_the_search_behind_table_8_shares_what_tables_8_and_9_train(scale: str) -> None:
    plan = make_plan(scale, ABLATIONS, others=True)
    assert "table8_search" in plan.others and "table8_search" not in plan.tables
    search = {key for keys in plan.others["table8_search"].pretrainings.values() for key in keys}
    tables = {
        key
        for name in ("table8", "table9")
        for keys in plan.tables[name].pretrainings.values()
        for key in keys
    }
    assert (len(search), len(search & tables), len(tables - search)) == (12, 6, 0)
    specs = [plan.runs[key].spec["objectives"]["mim"] for key in search]
    assert {(mim["target"], mim["decoder_depth"]) for mim in specs} == {
        (target, depth)
        for target in ("pixels", "visual_tokens", "momentum_features")
        for depth in (0, 2, 4, 6)
    }


def test_a_scale_sets_the_seeds_of_its_tables(own: Path) -> None:
    path = own / "scales" / "smoke.yaml"
    text = path.read_text()
    path.write_text(f"{text}\nseeds: {{table7: 3}}\n")
    plan = make_plan("smoke", own, only=["table6", "table7"])
    assert [
        len(plan.tables[name].pretrainings[row]) for name, row in (("table6", "both"), ("table7", "full"))
    ] == [1, 3]
    assert set(plan.tables["table6"].pretrainings["both"]) < set(plan.tables["table7"].pretrainings["full"])
    # A number of seeds changes no run's identity.
    before = make_plan("smoke", ABLATIONS, only=["table7"])
    assert set(before.runs) <= set(make_plan("smoke", own, only=["table7"]).runs)
    path.write_text(f"{text}\nseeds: {{table77: 3}}\n")
    with pytest.raises(SpecError, match="smoke.yaml: seeds.table77: no such ablation"):
        make_plan("smoke", own)
    path.write_text(f"{text}\nseeds: {{table7: 0}}\n")
    with pytest.raises(SpecError, match="seeds.table7"):
        make_plan("smoke", own)


def test_a_call_sets_the_seeds_of_all_tables_or_of_some() -> None:
    one = make_plan("smoke", ABLATIONS, only=["table6", "table7"])
    some = make_plan("smoke", ABLATIONS, only=["table6", "table7"], seeds={"table7": 3})
    assert len(some.tables["table6"].pretrainings["both"]) == 1
    assert len(some.tables["table7"].pretrainings["full"]) == 3
    assert set(one.runs) < set(some.runs)
    # Every experiment, but not the counts of Table 10, which trains nothing.
    whole = make_plan("smoke", ABLATIONS, seeds=2)
    assert {len(keys) for table in whole.tables.values() for keys in table.pretrainings.values()} == {2}
    assert not whole.tables["table10"].pretrainings
    with pytest.raises(SpecError, match="seeds.tabel7: .* did you mean 'table7'"):
        make_plan("smoke", ABLATIONS, seeds={"tabel7": 3})


@pytest.mark.parametrize("seeds", [3, {"table5": 3, "table6": 2}])
def test_seeds_are_read_from_every_form_they_are_written_in(seeds: int | dict[str, int]) -> None:
    assert read_seeds(write_seeds(seeds)) == read_seeds(seeds) == seeds
    # Snakemake makes strings of the numbers within a mapping.
    assert read_seeds({"table5": "3"}) == {"table5": 3}


@pytest.mark.parametrize(
    "wrong", [0, -1, True, 1.5, "many", "table5=", "table5=0", "table5=2,3", {"table5": None}]
)
def test_a_wrong_number_of_seeds_is_named(wrong: object) -> None:
    with pytest.raises(SpecError, match="is not a number of runs per row"):
        read_seeds(wrong)
