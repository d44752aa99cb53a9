"""Test that what the documentation names exists: links, settings with their values, files, commands, error messages."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from mamo.cli.main import parser
from mamo.data.datasets import DATASETS
from mamo.specs.finetune import FinetuneSpec
from mamo.specs.overrides import models_of
from mamo.specs.plan import make_plan
from mamo.specs.scale import Scale, read_scale

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
MADE = {"results", "logs", "node_modules", "build", "dist"}
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part in MADE or part.startswith(".") for part in path.relative_to(ROOT).parts)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SETTING = re.compile(r"(?:data|weights|pretrain|jobs)(?:\.\w+)+")
ids = [str(path.relative_to(ROOT)) for path in PAGES]


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def quoted(path: Path) -> list[str]:
    """Everything between backticks outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", prose(path))


def anchors(path: Path) -> set[str]:
    """The names by which headings can be linked, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(<?([^)\s>]+)>?[^)]*\)", re.sub(r"`[^`\n]+`", "", prose(page))):
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target} leads nowhere"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{page.name}: {target} names no heading"


def test_every_page_is_in_the_index() -> None:
    """The pages of data sets in the page on data, all others in the index."""
    index = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("README.md", "data.md"))
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in DOCS]
    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []


def test_every_data_set_has_a_page_with_its_command() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS if path.parent.name == "datasets")
    for name in DATASETS:
        assert re.search(rf"^# .*`{name}`", text, re.MULTILINE), name
        assert re.search(rf"^mamo prepare --scale \w+ --releases FOLDER {name}$", text, re.MULTILINE), name
    for word in ("where from", "terms", "used for"):
        assert text.count(f"| {word} |") == len([path for path in DOCS if path.parent.name == "datasets"])


@cache
def paper() -> Scale:
    return read_scale("paper", ROOT / "ablations")


def is_setting(dotted: str) -> bool:
    """Check whether a dotted name leads through the specs; ``jobs`` and ``data.datasets`` are followed by a name of the
    paper's."""
    section, *rest = dotted.split(".")
    if section == "jobs":
        name, *rest = rest
        if name not in paper().jobs:
            return False
        known: list[type[BaseModel]] = [
            m for m in models_of(FinetuneSpec) if isinstance(paper().jobs[name], m)
        ]
    else:
        known = models_of(Scale.model_fields[section].annotation)
        if dotted.startswith("data.datasets."):
            if rest[1] not in paper().data.datasets:
                return False
            known, rest = models_of(known[0].model_fields["datasets"].annotation), rest[2:]
    for part in rest:
        fields = [model.model_fields[part] for model in known if part in model.model_fields]
        if not fields:
            return False
        known = [model for field in fields for model in models_of(field.annotation)]
    return True


def named_settings(page: Path) -> Iterator[str]:
    for text in quoted(page):
        name = text.partition(":")[0]
        if SETTING.fullmatch(name) and not name.endswith((".smk", ".csv")):
            yield text


def test_is_setting_tells_settings_from_typos() -> None:
    assert is_setting("pretrain.objectives.mrm.predictor") and is_setting("jobs.vqa.min_answer_count")
    assert is_setting("data.world.coco.train") and is_setting("data.datasets.sbu.missing_limit")
    for wrong in ("pretrain.objectives.mrm.predicter", "jobs.vqa.layer", "jobs.captioning.data"):
        assert not is_setting(wrong)


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.name)
def test_named_settings_exist(page: Path) -> None:
    assert [text for text in named_settings(page) if not is_setting(text.partition(":")[0])] == []


def test_deviations_give_the_values_of_the_papers_scale() -> None:
    values = paper().model_dump(mode="json")
    checked = 0
    for text in named_settings(ROOT / "docs" / "deviations.md"):
        name, given, value = text.partition(": ")
        if given:
            actual: Any = values
            for part in name.split("."):
                actual = (
                    actual[part] if isinstance(actual, dict) else "off"
                )  # a part of a section that is null
            if value == "off":
                assert actual == value, f"{name} is {actual} at scale paper, and the page says it is off"
                continue
            # YAML 1.1 takes 1.0e-8 for a text.
            stated = float(value) if re.fullmatch(r"[\d.]+e-\d+", value) else yaml.safe_load(value)
            assert actual == stated, f"{name} is {actual} at scale paper, and the page says {value}"
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.name)
def test_named_files_exist(page: Path) -> None:
    files = [
        text
        for text in quoted(page)
        if re.fullmatch(r"(mamo|workflow|ablations|tests)/[\w./-]+", text) and "NAME" not in text
    ]
    # These are what the reader is shown how to add.
    assert [
        file
        for file in files
        if not (ROOT / file).exists() and not file.endswith(("words.yaml", "momentum.yaml", "mine.yaml"))
    ] == []


def commands(page: Path) -> Iterator[list[str]]:
    """The calls of ``mamo`` in code blocks and between backticks, without the shell's part of the line."""
    fences = FENCE.findall(page.read_text(encoding="utf-8"))
    blocks = [block for language, block in fences if language in ("", "bash", "sh", "console")]
    for text in [*quoted(page), *(line for block in blocks for line in block.splitlines())]:
        text = re.split(r"\s(?:\||>|&&|#)|;", text.removeprefix("$ ").strip())[0]
        words = text.split()
        if words and re.fullmatch(r"(?:\S*/)?mamo", words[0]) and len(words) > 1:
            yield shlex.split(text)[1:]


# Programs that a reader has before `.venv` is activated, and those whose page says where to get them.
SYSTEM = {
    "apptainer",
    "docker",
    "done",
    "export",
    "find",
    "git",
    "kill",
    "make",
    "pip",
    "printf",
    "rm",
    "source",
    "tar",
}
FETCHED = {"img2dataset", "pipx"}


def programs(page: Path) -> Iterator[str]:
    """The program of each line of a page's shell blocks, in order; settings of variables and ``time`` before it are skipped."""
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in ("bash", "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.removeprefix("$ ").split()
                while words and (re.match(r"\w+=\S*$", words[0]) or words[0] == "time"):
                    words = words[1:]
                if words and not line.startswith((" ", "#")):
                    yield words[0] if words[0] != "source" else " ".join(words[:2])


def missing_programs(page: Path) -> list[str]:
    """The programs that a page calls before they are on the reader's path."""
    environment = Path(sys.executable).parent
    activated, missing = False, []
    for program in programs(page):
        if program == "source .venv/bin/activate":
            activated = True
        elif program.startswith(".venv/bin/"):
            missing += [program] if not (environment / Path(program).name).exists() else []
        elif program not in SYSTEM | FETCHED and not (activated and (environment / program).exists()):
            missing.append(program)
    return missing


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_are_on_the_path_when_a_page_uses_them(page: Path) -> None:
    missing = missing_programs(page)
    assert not missing, f"{page.name}: write `source .venv/bin/activate` before {', '.join(missing)}"


def test_a_command_before_the_activation_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\nmake venv\nSCALE=demo mamo plan\nsource .venv/bin/activate\nmamo plan\n```\n",
        encoding="utf-8",
    )
    assert missing_programs(page) == ["mamo"]
    page.write_text("```bash\n.venv/bin/mamo plan\n.venv/bin/mamoo plan\n```\n", encoding="utf-8")
    assert missing_programs(page) == [".venv/bin/mamoo"]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(page):
        try:
            parser().parse_args(words)
        except SystemExit as stopped:
            assert not stopped.code, f"{page.name}: mamo {' '.join(words)}: {capsys.readouterr().err}"


def test_runs_and_tables_of_named_commands_are_planned() -> None:
    plans = {
        name: make_plan(name, ROOT / "ablations", others=True)
        for name in ("smoke", "demo", "study", "flickr8k", "flickr8k_minilm", "paper")
    }
    kinds = {"prepare": "data", "weights": "weights", "pretrain": "pretrain", "finetune": "finetune"}
    for page in DOCS:
        for command, *words in commands(page):
            if "--help" in (command, *words) or "--version" in (command, *words):
                continue
            args = parser().parse_args([command, *words])
            name = getattr(args, "scale", None) or "smoke"
            if name == "mine":  # the scale that readers are shown how to write
                continue
            plan = plans[name]
            runs = getattr(args, "run", None) or ()
            for run in [runs] if isinstance(runs, str) else runs:
                if command in kinds and run != "RUN":
                    plan.find(kinds[command], run)
            for table in getattr(args, "tables", ()):
                # 'words' and 'momentum' are what the reader is shown how to add.
                assert table in plan.tables | plan.others | plan.figures or table in ("words", "momentum"), (
                    f"{page.name}: {plan.scale.name} has no {table}"
                )


def test_the_example_scale_and_ablation_are_valid(tmp_path: Path) -> None:
    settings = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    blocks = [block for language, block in FENCE.findall(settings) if language == "yaml"]
    assert len(blocks) == 2
    own = Path(shutil.copytree(ROOT / "ablations", tmp_path / "ablations"))
    (own / "scales" / "mine.yaml").write_text(blocks[0], encoding="utf-8")
    (own / "words.yaml").write_text(blocks[1], encoding="utf-8")
    plan = make_plan("mine", own, only=["words"])
    assert {run.spec["masking"]["text_ratio"] for run in plan.by_kind("pretrain")} == {0.25, 0.5}
    assert {run.spec["batch_size"] for run in plan.by_kind("pretrain")} == {32}


@pytest.mark.parametrize(
    ("page", "table"), [("paper-scale.md", "table5"), ("own-data.md", "table5"), ("photos.md", "flickr8k")]
)
def test_the_example_scales_are_valid(tmp_path: Path, page: str, table: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = [block for language, block in FENCE.findall(text) if language == "yaml"]
    assert blocks
    own = Path(shutil.copytree(ROOT / "ablations", tmp_path / "ablations"))
    for block in blocks:
        (own / "scales" / "mine.yaml").write_text(block, encoding="utf-8")
        assert make_plan("mine", own, only=[table]).by_kind("pretrain")


def test_quoted_messages_are_those_of_the_code() -> None:
    """Texts that are split over lines are joined, as Python joins them; what is filled in is left out."""
    texts: list[str] = []
    for path in sorted((ROOT / "mamo").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    page = prose(ROOT / "docs" / "troubleshooting.md")
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(messages) > 20
    assert [message for message in messages if not any(message in text for text in texts)] == []
