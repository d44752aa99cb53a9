"""No file is trusted: nothing read is executed, nothing that data say becomes markup or a word of a shell."""

from __future__ import annotations

import ast
import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mistune
import pytest

from mamo.cli import licences

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = r'<script>alert(1)</script> | `x` $y$ \input{/etc/passwd} <img src=x onerror="alert(1)"> %&_#'
FORBIDDEN = {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.loads", "marshal.load",
             "shelve.open", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "shutil.unpack_archive", "joblib.load",
             "dill.loads", "cloudpickle.loads", "np.fromfile", "subprocess.getoutput"}  # fmt: skip
# The one unpickler, which resolves no name.
PICKLES = "mamo/data/releases/plain_pickle.py"


def dangers(source: str, file: str = "x.py") -> Iterator[str]:
    """The calls of a module that execute what they read, write where an archive says, or go through a shell."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        words = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in FORBIDDEN or name.endswith((".extractall", ".extract")):
            yield f"{file}:{node.lineno}: {name}"
        if name == "torch.load" and words.get("weights_only") != "True":
            yield f"{file}:{node.lineno}: torch.load of more than weights"
        if name == "np.load" and words.get("allow_pickle", "False") != "False":
            yield f"{file}:{node.lineno}: np.load of pickles"
        if name == "yaml.load" and words.get("Loader") not in ("_UniqueLoader", "yaml.SafeLoader"):
            yield f"{file}:{node.lineno}: yaml.load that is not safe"
        if words.get("shell", "False") != "False" or words.get("trust_remote_code", "False") != "False":
            yield f"{file}:{node.lineno}: {name} with a shell, or with somebody's code"
        if name.endswith("Unpickler") and file != PICKLES:
            yield f"{file}:{node.lineno}: {name}"


def test_no_module_executes_what_it_reads() -> None:
    actual = [
        danger
        for path in sorted((ROOT / "mamo").rglob("*.py"))
        for danger in dangers(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]
    assert actual == []


@pytest.mark.parametrize(
    "line",
    ["eval(x)", "torch.load(p)", "torch.load(p, weights_only=False)", "yaml.load(x, Loader=yaml.Loader)", "tar.extractall(p)",
     "subprocess.run(x, shell=True)", "np.load(p, allow_pickle=True)", "pickle.loads(x)", "pickle.Unpickler(f).load()",
     "AutoModel.from_pretrained(n, trust_remote_code=True)"],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(line: str) -> None:
    assert list(dangers(line))


# Numbers, and words that are made of numbers (options of mamo.runs.launch): nothing that a file says.
PLAIN = {"threads", "params.number", "params.threads", "params.ranks"}


def test_every_word_of_the_workflows_shell_is_quoted() -> None:
    words = []
    for path in sorted((ROOT / "workflow/rules").glob("*.smk")):
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^    shell:\n((?:        .*\n)+)", text, re.M)
        blocks += re.findall(r"^    return f\"\{ENVIRONMENT\}.*$", text, re.M)
        assert blocks or "shell:" not in text
        for block in blocks:
            words += re.findall(
                r"\{\{?((?:wildcards|input|output|log|params|threads)[\w.]*(?::\w+)?)\}", block
            )
        assert "shlex.quote" not in text.replace(
            "return shlex.quote", ""
        )  # braces would be filled in: quoted() it is
    assert len(words) > 15
    assert [word for word in words if not word.endswith(":q") and word not in PLAIN] == []


class _Tags(list[str]):
    def __init__(self, text: str) -> None:
        from html.parser import HTMLParser

        super().__init__()
        tags = self

        class Parser(HTMLParser):
            def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
                tags.append(tag)
                tags.extend(name for name, _ in attributes if name.startswith("on"))

        Parser().feed(text)


def rendered(markdown: str) -> str:
    """Markdown as a viewer shows it that passes HTML on."""
    return str(mistune.create_markdown(escape=False, plugins=["table"])(markdown))


def test_a_hostile_label_is_text_in_a_tables_page_and_in_latex(tmp_path: Path) -> None:
    from mamo.reporting.collect import collect
    from mamo.reporting.latex import NEEDS
    from mamo.reporting.pages import pages_of
    from mamo.reporting.publish import publish
    from mamo.specs.plan import make_plan

    plan = make_plan("smoke", ROOT / "ablations", only=["table5"])
    table = plan.tables["table5"]
    rows = tuple(row.model_copy(update={"label": HOSTILE}) for row in table.ablation.rows)
    table = replace(table, ablation=table.ablation.model_copy(update={"rows": rows}))
    page = pages_of(plan, ROOT / "ablations")["table5"]
    publish(plan, table, collect(plan, table, tmp_path), page, tmp_path, ROOT / "ablations")
    text = rendered((tmp_path / "table5.md").read_text(encoding="utf-8"))
    tags = _Tags(text)
    assert "table" in tags and not {"script", "img", "onerror"} & set(tags)
    assert "<script>alert(1)</script>" in html.unescape(text)
    latex = (tmp_path / "table5.tex").read_text(encoding="utf-8")
    assert r"\input" not in latex and r"\textbackslash{}input\{/etc/passwd\}" in latex and r"\$y\$" in latex
    assert not re.search(r"(?<!\\)%", latex.removeprefix(NEEDS))


@pytest.mark.parametrize("key", [HOSTILE, "``a``", "`", "a\n\n<script>alert(1)</script>"])
def test_a_hostile_image_name_is_text_in_a_figures_page(key: str) -> None:
    from mamo.reporting.figure_pages import figure_page
    from mamo.specs.plan import make_plan

    plan = make_plan("smoke", ROOT / "ablations", only=["figure1"])
    values = {"caption": "c", "layer": 1, "models": [], "examples": [{"image": key, "text": HOSTILE}]}
    values |= {"title": "t", "method": "words"}
    text = rendered(figure_page(plan, "figure1", values, "<!-- mark -->", ""))
    assert not {"script", "onerror"} & set(_Tags(text))
    assert f"<code>{html.escape(' '.join(key.split()))}</code>" in text.replace("&#x27;", "'")


def test_a_hostile_caption_is_text_in_a_drawing(tmp_path: Path) -> None:
    import site_records

    from mamo.drawing.draw import draw_figure

    values = site_records.maps()
    for example in values["examples"]:
        example["text"], example["words"] = HOSTILE, [HOSTILE, "$\\frac{", "$$"]
    draw_figure(values | {"models": values["models"][:1]}, "t", [tmp_path / "a.svg", tmp_path / "a.png"])
    assert not {"script", "img", "onerror"} & set(_Tags((tmp_path / "a.svg").read_text(encoding="utf-8")))


def test_a_hostile_caption_is_text_in_a_notebooks_page() -> None:
    """The last cell of the notebook of answers, with hostile values, through the exporter that the workflow calls."""
    nbformat = pytest.importorskip("nbformat")
    from nbconvert import HTMLExporter

    cells = json.loads((ROOT / "notebooks/answers.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"][-1]
    own = {"answer": HOSTILE, "probability": 0.5}
    names: dict[str, Any] = {
        "values": {"examples": [{"text": HOSTILE, "answer": HOSTILE, "models": {"mamo": own}}]}
    }
    lines = ast.parse("".join(code["source"]))
    last = lines.body.pop()
    assert isinstance(last, ast.Expr)
    exec(compile(lines, "cell", "exec"), names)  # noqa: S102  the notebook's own code
    frame = eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307
    output = nbformat.v4.new_output(
        "display_data", {"text/html": frame._repr_html_(), "text/plain": repr(frame)}
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])])
    page = str(ROOT / "notebooks/page.html.j2")
    exporter = HTMLExporter(exclude_input=True, template_name="basic", template_file=page)
    body, _ = exporter.from_notebook_node(notebook)
    assert "alert(1)</script>" not in body and "&lt;script&gt;alert(1)&lt;/script&gt;" in body


def test_every_locked_package_is_listed_with_its_licence() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    text = (ROOT / licences.PAGE).read_text(encoding="utf-8")
    packages = text.split("## Packages")[1]
    listed = {line.split("|")[1].strip(): line for line in packages.splitlines() if line.startswith("| ")}
    locked = licences.locked(lock)
    assert len(locked) > 100
    stale = [
        name for name, versions in locked.items() if f"| {name} | {versions} | " not in listed.get(name, "")
    ]
    gone = set(listed) - set(locked) - {"package"}
    assert not stale and not gone, f"call `mamo licences`: {stale[:5]} {sorted(gone)[:5]}"
    assert "CC BY-SA 4.0" in text and "not installed here" not in text


def test_every_locked_package_has_a_hash() -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8").strip())
    assert len(entries) > 100
    assert [entry.split("==")[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_a_new_warning_of_our_own_code_fails_the_tests(tmp_path: Path) -> None:
    """pytest with this project's settings, over a module that warns as ours and as a library's."""
    (tmp_path / "test_warnings.py").write_text(
        "import warnings\n"
        "def test_ours():\n    warnings.warn_explicit('new', DeprecationWarning, 'f.py', 1, module='mamo.data.store.images')\n"
        "def test_theirs():\n    warnings.warn_explicit('new', DeprecationWarning, 'f.py', 1, module='mamoth.images')\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert "1 failed, 1 passed" in done.stdout and "FAILED test_warnings.py::test_ours" in done.stdout, (
        done.stdout
    )
