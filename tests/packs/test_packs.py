"""Packs: what goes in comes out the same elsewhere, what no longer resolves is refused by name, and no file is trusted."""

from __future__ import annotations

import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from packed import record_of, repack, write_tar
from PIL import Image

from mamo.cli.main import main
from mamo.data.store.writer import Writer
from mamo.files.record import Outcome, Record
from mamo.packs.archive import PackError
from mamo.packs.forget import forget
from mamo.packs.merge import Merged, merge_pack, read_pack
from mamo.packs.pack import write_pack
from mamo.packs.spread import spreads, summarise
from mamo.reporting.collect import collect
from mamo.reporting.site.runs import curves, run_lines
from mamo.runs.execute import execute
from mamo.runs.run import Context, Result, RunError
from mamo.runs.unpacked import MARK
from mamo.specs.identity import Run
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan, make_plan
from mamo.specs.recorded import resolve

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"
ITEMS = {
    "direction": ["tr", "tr", "ir", "ir", "ir", "ir"],
    "index": [0, 1, 0, 1, 2, 3],
    "rank": [1, 2, 1, 2, 2, 2],
}
METRICS = {"tr_r1": 50.0, "ir_r1": 25.0, "chance/tr_r1": 1.0}  # of ITEMS


@pytest.fixture
def plan() -> Plan:
    return make_plan("smoke", ABLATIONS, only=["table7"])


def finish(plan: Plan, key: str, results: Path, cpu: str = "Alpha", vqa: float = 40.0) -> None:
    """Leave what a finished run leaves, weights included."""
    run = plan.runs[key]
    directory = run.directory(results)
    directory.mkdir(parents=True, exist_ok=True)
    metrics: dict[str, float] = {}
    if run.kind == "finetune":
        metrics = {"accuracy": vqa} if run.spec["task"] == "vqa" else METRICS
        if run.spec["task"] != "vqa":
            table = pa.table(ITEMS)
            with pa.ipc.new_file(str(directory / "items.arrow"), table.schema) as writer:
                writer.write_table(table)
    if run.kind in ("pretrain", "finetune"):
        (directory / "curve.csv").write_text("step,loss\n1,2.5\n2,nan\n")
        (directory / "model.safetensors").write_bytes(b"weights" * 1000)
    if key.startswith("data/flickr30k"):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16)).save(buffer, "JPEG")
        with Writer(directory, dataset="flickr30k", kind="captions", store_size=16) as data:
            for i in range(2):
                image = data.add_image(f"{i}", buffer.getvalue())
                for _ in range(2):
                    data.add_record("test", image=image, text="a dog")
    (directory / "record.json").write_text(json.dumps(record_of(run, cpu, metrics=metrics), indent=1) + "\n")


@pytest.fixture
def made(plan: Plan, tmp_path: Path) -> Path:
    """Table 7 with everything finished at one site."""
    results = tmp_path / "here" / "smoke"
    for key in plan.runs:
        finish(plan, key, results)
    return results


def taken(out: Path, results: Path, site: str | None = None) -> Merged:
    return merge_pack(read_pack(out), results, site)


def test_every_spec_of_every_scale_resolves_to_its_digest() -> None:
    for scale in ("smoke", "paper"):
        for run in make_plan(scale, ABLATIONS, others=True).runs.values():
            assert resolve(Record.model_validate(record_of(run))).id == run.id


def test_a_pack_shows_what_the_results_showed(plan: Plan, made: Path, tmp_path: Path) -> None:
    """Values, intervals and runs are the same where neither weights nor data are, and packing again gives the same bytes."""
    out, again, there = tmp_path / "a.tar.xz", tmp_path / "b.tar.xz", tmp_path / "there" / "smoke"
    packed = write_pack("smoke", made, out)
    assert len(packed.runs) == len(plan.runs) and not packed.left_out
    merged = taken(out, there)
    assert len(merged.shown) == len(plan.runs) and not merged.refused and not merged.apart
    assert not list(there.rglob("*.safetensors")) and not list(there.rglob("images"))
    table = plan.tables["table7"]
    values = collect(plan, table, made, ABLATIONS)
    units = {line.column: line.images for line in values.statistics}
    assert units["flickr30k_ir"] == 2 and units["coco_ir"] == 4, "which captions share an image must travel"
    assert collect(plan, table, there, ABLATIONS) == values
    assert run_lines(plan, there) == run_lines(plan, made) and curves(plan, there) == curves(plan, made)
    write_pack("smoke", there, again)
    assert out.read_bytes() == again.read_bytes()
    assert len(taken(out, there).there) == len(plan.runs), "taken in twice, nothing happens"


def change(results: Path, plan: Plan, key: str, how: Callable[[dict[str, Any]], None]) -> None:
    path = plan.runs[key].record(results)
    record = json.loads(path.read_text())
    how(record)
    path.write_text(json.dumps(record))


def repacked(out: Path, name: str, how: Callable[[bytes], bytes]) -> None:
    """Change one file of a pack."""

    def change_one(files: dict[str, bytes]) -> None:
        (member,) = [file for file in files if file.endswith(name)]
        files[member] = how(files[member])

    repack(out, change_one)


def test_what_does_not_resolve_is_left_out_of_a_pack_with_all_that_needs_it(
    plan: Plan, made: Path, tmp_path: Path
) -> None:
    key = plan.tables["table7"].pretrainings["no_predictor"][0]
    change(made, plan, key, lambda record: record["spec"]["optimiser"].update(lr=0.5))
    packed = write_pack("smoke", made, tmp_path / "a.tar.xz")
    assert "resolve to" in packed.left_out[key]
    needing = {name for name, run in plan.runs.items() if key in run.inputs.values()}
    assert set(packed.left_out) == {key} | needing and len(needing) == 3


@pytest.mark.parametrize(
    ("what", "file", "how", "why"),
    [
        ("pretrain", "record.json", lambda r: r["spec"]["schedule"].update(epochs=11), "settings resolve to"),
        ("pretrain", "record.json", lambda r: r.update(revision=1), "made by revision 1 of pretrain"),
        ("pretrain", "record.json", lambda r: r["spec"].update(colour="red"), "unknown key"),
        (
            "pretrain",
            "record.json",
            lambda r: r["inputs"].update(text="weights/text-0123456789"),
            "resolve to",
        ),
        ("pretrain", "record.json", lambda r: r.update(scale="demo"), "another scale"),
        ("finetune", "record.json", lambda r: r["metrics"].update(tr_r1=99.0), "gives 50.0000 for 'tr_r1'"),
        ("finetune", "record.json", lambda r: r.update(outcome={}), "has no outcome"),
        ("finetune", "items.arrow", None, "items.arrow: cannot be read"),
        ("finetune", "curve.csv", None, "curve.csv"),
    ],
)
def test_a_run_that_is_not_what_it_says_is_refused_by_name(
    plan: Plan, made: Path, tmp_path: Path, what: str, file: str, how: Any, why: str
) -> None:
    out, there = tmp_path / "a.tar.xz", tmp_path / "there" / "smoke"
    write_pack("smoke", made, out)
    table = plan.tables["table7"]
    key = table.pretrainings["no_ema"][0]
    if what == "finetune":
        key = next(c.runs[0] for c in table.cells if (c.row, c.column) == ("no_ema", "coco_tr"))

    def spoil(content: bytes) -> bytes:
        if how is None:
            return b"step,loss\n1,__import__('os')\n"
        record = json.loads(content)
        how(record)
        return json.dumps(record).encode()

    repacked(out, f"{key}/{file}", spoil)
    merged = taken(out, there)
    assert why in merged.refused[f"alpha/{key}"]
    needing = {f"alpha/{name}" for name, run in plan.runs.items() if key in run.inputs.values()}
    assert set(merged.refused) == {f"alpha/{key}"} | needing
    assert not (there / key).exists() and not any(
        (there / name.split("/", 1)[1]).exists() for name in needing
    )
    assert len(merged.shown) == len(plan.runs) - 1 - len(needing), "the others are taken in"


CONTENTS = ("pack.json", json.dumps({"format": 1, "scale": "smoke", "runs": [], "shown": []}).encode())


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ([CONTENTS, ("../record.json", b"")], "not a file of a pack"),
        ([CONTENTS, ("/etc/passwd", b"")], "not a file of a pack"),
        ([CONTENTS, ("alpha/data/../../../x/record.json", b"")], "not a file of a pack"),
        ([CONTENTS, ("alpha/data/.hidden-1/record.json", b"")], "not a file of a pack"),
        ([CONTENTS, ("alpha/tables/x-1/record.json", b"")], "not a file of a pack"),
        ([CONTENTS, ("alpha/data/x-1/record.json", b"{}")], "does not list"),
        ([CONTENTS, CONTENTS], "twice"),
        ([("figures/a.json", b"{}")], "no pack.json"),
        ([("pack.json", b"[]")], "cannot be read"),
        ([("pack.json", b'{"format": 2}')], "format 2"),
        ([("pack.json", b'{"format": 1, "scale": "s", "shown": [], "runs": ["../../x"]}')], "not a run"),
    ],
)
def test_an_archive_of_something_else_is_refused_whole(
    tmp_path: Path, files: list[tuple[str, bytes]], why: str
) -> None:
    write_tar(tmp_path / "a.tar.xz", files)
    with pytest.raises(PackError, match=why):
        read_pack(tmp_path / "a.tar.xz")


def test_links_bombs_and_cut_files_are_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.tar.xz"
    with tarfile.open(out, "w:xz") as archive:
        entry = tarfile.TarInfo("alpha/data/x-1/record.json")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(PackError, match="not a file of a pack"):
        read_pack(out)
    write_pack("smoke", made, out)
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PackError, match=r"cut off|cannot be read"):
        read_pack(out)
    out.write_bytes(b"PK" + whole)
    with pytest.raises(PackError, match="cannot be read as a pack"):
        read_pack(out)
    # A header that promises more than there can be, in front of nothing.
    entry = tarfile.TarInfo("pack.json")
    entry.size = 1 << 40
    out.write_bytes(lzma.compress(entry.tobuf()))
    with pytest.raises(PackError, match="larger than a pack can be"):
        read_pack(out)
    monkeypatch.setattr("mamo.packs.archive.TOTAL", 1 << 14)
    out.write_bytes(whole)
    with pytest.raises(PackError, match="larger than a pack can be"):
        read_pack(out)


def test_sites_stay_apart_and_show_their_spread(plan: Plan, made: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other" / "smoke", tmp_path / "b.tar.xz"
    for key in plan.runs:
        finish(plan, key, other, cpu="Beta 7", vqa=43.0)
    write_pack("smoke", other, out)
    before = collect(plan, plan.tables["table7"], made, ABLATIONS)
    merged = taken(out, made)
    assert len(merged.apart) == len(plan.runs) and not merged.refused and not merged.shown
    assert collect(plan, plan.tables["table7"], made, ABLATIONS) == before, (
        "pages show the runs that were there"
    )
    tree = made / "sites" / "beta-7"
    assert collect(plan, plan.tables["table7"], tree, ABLATIONS).cells != before.cells
    lines = {(line.group, line.metric): line for line in summarise(spreads(made))}
    vqa = lines["vqa", "accuracy"]
    # 40 and 43 in each of three rows: standard deviation 3 / sqrt(2).
    assert (vqa.runs, vqa.widest) == (3, 3.0) and vqa.deviation == pytest.approx(3 / 2**0.5)
    assert lines["retrieval", "tr_r1"].deviation == 0 and ("retrieval", "chance/tr_r1") not in lines
    both = tmp_path / "both.tar.xz"
    assert len(write_pack("smoke", made, both).runs) == 2 * len(plan.runs)
    again = tmp_path / "again" / "smoke"
    merged = taken(both, again)
    assert (len(merged.shown), len(merged.apart)) == (len(plan.runs), len(plan.runs))
    assert collect(plan, plan.tables["table7"], again, ABLATIONS) == before


def test_other_numbers_of_the_same_site_need_a_name(plan: Plan, made: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other" / "smoke", tmp_path / "b.tar.xz"
    for key in plan.runs:
        finish(plan, key, other, vqa=43.0)
    write_pack("smoke", other, out)
    merged = taken(out, made)
    assert len(merged.refused) == 3 and all(
        "other numbers of the same site" in w for w in merged.refused.values()
    )
    assert len(merged.there) == len(plan.runs) - 3, "the same numbers twice are no conflict"
    assert len(taken(out, made, "second").apart) == 3
    with pytest.raises(PackError, match="several sites"):
        write_pack("smoke", made, out)
        taken(out, tmp_path / "x" / "smoke", "third")


def test_a_fine_tuning_stays_with_its_own_pretraining(plan: Plan, made: Path, tmp_path: Path) -> None:
    """Here one pre-training is done and its fine-tunings are not; there another seed of the same is wholly done."""
    table = plan.tables["table7"]
    init = table.pretrainings["no_ema"][0]
    needing = [key for key, run in plan.runs.items() if run.inputs.get("init") == init]
    for key in needing:
        plan.runs[key].record(made).unlink()
    other, out = tmp_path / "other" / "smoke", tmp_path / "b.tar.xz"
    for key in plan.runs:
        finish(plan, key, other, cpu="Beta")
    write_pack("smoke", other, out)
    merged = taken(out, made)
    assert {f"beta/{key}" for key in needing} <= set(merged.apart) and not merged.shown
    # Where the pre-training is missing too, both fill the gap.
    plan.runs[init].record(made).unlink()
    for key in (init, *needing):
        path = made / "sites" / "beta" / key / "record.json"
        path.unlink()
    assert set(taken(out, made).shown) == {f"beta/{key}" for key in (init, *needing)}


def test_data_and_starting_weights_are_made_again_where_a_new_run_needs_them(
    plan: Plan,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, there = tmp_path / "a.tar.xz", tmp_path / "there" / "smoke"
    new = plan.tables["table7"].pretrainings["no_ema"][0]
    needing = [key for key, run in plan.runs.items() if run.inputs.get("init") == new]
    for key in (new, *needing):
        plan.runs[key].record(made).unlink()
    write_pack("smoke", made, out)
    taken(out, there)
    executed: list[str] = []

    def executor(run: Run) -> Callable[[Context], Result]:
        def make(context: Context) -> Result:
            for role in run.inputs:
                context.input(role)  # refuses what has no files
            executed.append(run.key)
            return Result(Outcome("converged", ""), {}, {})

        return make

    monkeypatch.setattr("mamo.runs.execute._executor", executor)
    execute(plan, plan.runs[new], there)
    needed = plan.closure([new])
    assert set(executed) == needed and len(executed) == len(needed)
    assert not any((there / key / MARK).exists() for key in needed)
    assert "came from a pack" in capsys.readouterr().err
    # A fine-tuning whose pre-training came without weights says what to do, and does it once it is forgotten.
    base = plan.tables["table7"].pretrainings["full"][0]
    job = next(run for run in plan.runs.values() if run.inputs.get("init") == base)
    job.record(there).unlink()
    job.directory(there).joinpath(".record.json").unlink()
    before = list(executed)
    with pytest.raises(RunError, match="mamo results forget"):
        execute(plan, job, there)
    assert executed == before, "no data are made for what cannot be"
    path = plan.runs[base].record(there)
    text = path.read_text()
    ended = {"outcome": {"status": "diverged", "reason": "mrm"}, "details": {"trained_on": True}}
    path.write_text(json.dumps(json.loads(text) | ended))
    with pytest.raises(RunError, match="mamo results forget"):  # it has weights elsewhere, though it diverged
        execute(plan, job, there)
    path.write_text(text)
    moved = forget(plan.runs[base], there)
    assert moved[0] == there / "sites" / "alpha" / base and len(moved) == 3, "two fine-tunings go with it"
    execute(plan, plan.runs[base], there)
    assert execute(plan, job, there).converged
    with pytest.raises(SpecError, match="was not taken from a pack"):
        forget(plan.runs[base], there)


def test_the_command_says_what_was_done(
    plan: Plan,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ABLATIONS.parent)
    out, here, there = str(tmp_path / "a.tar.xz"), str(made.parent), str(tmp_path / "there")
    assert (
        main(["results", "pack", "--scale", "smoke", "--results", here, "--out", out, "--site", "lab"]) == 0
    )
    assert f"{len(plan.runs)} runs of lab" in capsys.readouterr().out
    assert main(["results", "unpack", out, "--results", there]) == 0
    assert f"{len(plan.runs)} runs, 0 beside another site's" in capsys.readouterr().out
    assert main(["results", "unpack", out, "--results", there]) == 2
    assert "mamo results merge" in capsys.readouterr().err
    assert main(["results", "merge", str(tmp_path / "no.tar.xz"), "--results", there]) == 1
    repacked(
        Path(out), f"{next(k for k in plan.runs if k.startswith('pretrain'))}/record.json", lambda _: b"{}"
    )
    assert main(["results", "merge", out, "--results", str(tmp_path / "x")]) == 1
    assert "refused: lab/pretrain/" in capsys.readouterr().err
    assert main(["results", "sites", "--scale", "smoke", "--results", there]) == 0
    assert "no run was made by more than one site" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["results"])
