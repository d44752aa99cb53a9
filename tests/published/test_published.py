"""Trained models outside of the workbench: exported folders, and loading them with one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import published_models
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file
from trained import ANSWERS, answering, finish, photo

import mamo
from mamo.cli.main import main
from mamo.data.batches.transforms import EvalTransform
from mamo.data.releases import candidates
from mamo.published.export import export
from mamo.published.load import LoadError
from mamo.published.pretrained import TaskError
from mamo.runs.run import RunError
from mamo.specs.identity import Run
from mamo.specs.plan import Plan
from mamo.tasks.pretrain import PretrainTask

plan = published_models.plan
pretrained = published_models.pretrained


def test_an_exported_model_is_the_trained_one(
    plan: Plan, pretrained: tuple[Run, Path, PretrainTask], tmp_path: Path
) -> None:
    run, results, task = pretrained
    export(plan, run, results, tmp_path / "out")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files >= {"model.safetensors", "config.json", "tokenizer.json", "vocab.txt", "README.md"}
    names = load_file(tmp_path / "out/model.safetensors")
    assert all(name.startswith("network.") for name in names)  # neither target network nor objectives

    texts = tiny.TEXTS[:3]
    images = [photo(tmp_path, f"{i}.jpg", 60 * i + 40) for i in range(3)]
    pixels = torch.stack([EvalTransform(task.spec.transform)(path.read_bytes()) for path in images])
    ids, mask = tiny.Tokenizer.load(tmp_path / "out").encode(texts, 16)
    with torch.no_grad():
        expected = task.network.project_image(task.network.encode_image(pixels))
        expected = expected @ task.network.project_text(task.network.encode_text(ids, mask)).T
    for source in (tmp_path / "out", str(tmp_path / "out"), run.directory(results)):
        model = mamo.load(source)
        torch.testing.assert_close(model.similarity(images, texts), expected)
        assert not model.network.training and model.task is None
    matched = model.match(images, texts)
    assert matched.shape == (3,) and ((0 < matched) & (matched < 1)).all()
    torch.testing.assert_close(model.match(images[1:2], texts[1:2]), matched[1:2])
    with pytest.raises(ValueError, match="3 images and 1 texts"):
        model.match(images, texts[:1])


def test_images_are_taken_as_people_have_them(
    plan: Plan, pretrained: tuple[Run, Path, PretrainTask], tmp_path: Path
) -> None:
    """Opened or by name, of any mode, turned as the camera noted."""
    run, results, _ = pretrained
    model = mamo.load(run.directory(results))
    plain = Image.open(photo(tmp_path, "a.png", 200))
    upside_down = photo(tmp_path, "b.jpg", 200, turned=True)
    features = model.encode_images([plain, tmp_path / "a.png", plain.convert("RGBA"), plain.convert("L")])
    for other in features[1:]:
        torch.testing.assert_close(other, features[0], rtol=1e-3, atol=1e-3)
    turned = model.encode_images([upside_down, plain.transpose(Image.Transpose.ROTATE_180)])
    torch.testing.assert_close(turned[0], turned[1], rtol=0.05, atol=0.05)
    assert not torch.allclose(turned[0], features[0], rtol=0.05, atol=0.05)


def test_a_model_that_answers_questions(
    plan: Plan, pretrained: tuple[Run, Path, PretrainTask], tmp_path: Path
) -> None:
    _, results, _ = pretrained
    run = answering(plan, results)
    directory = run.directory(results)
    export(plan, run, results, tmp_path / "out")
    images = [photo(tmp_path, f"{i}.jpg", 80 * i + 40) for i in range(2)]
    questions = ["what is on the grass", "what is it"]
    given = [mamo.load(source).answer(images, questions) for source in (tmp_path / "out", directory)]
    assert given[0] == given[1] and set(given[0]) <= set(ANSWERS)
    card = (tmp_path / "out/README.md").read_text()
    assert "| accuracy | 41.25 |" in card and "model.answer(" in card and "similarity" not in card
    with pytest.raises(TaskError, match="trained last without ITC and ITM.*use .answer"):
        mamo.load(tmp_path / "out").similarity(images, questions)
    (tmp_path / "out" / candidates.FILE).unlink()
    with pytest.raises(LoadError, match="lacks candidates.json"):
        mamo.load(tmp_path / "out")


def test_transformers_reads_the_exported_tokenizer(
    plan: Plan, pretrained: tuple[Run, Path, PretrainTask], tmp_path: Path
) -> None:
    from transformers import BertTokenizerFast

    run, results, _ = pretrained
    export(plan, run, results, tmp_path / "out")
    theirs = BertTokenizerFast.from_pretrained(tmp_path / "out")
    ours = mamo.load(tmp_path / "out").tokenizer.encode(tiny.TEXTS[:1])[0][0].tolist()
    assert theirs(tiny.TEXTS[0])["input_ids"] == ours


def test_the_command_and_what_it_refuses(
    plan: Plan,
    pretrained: tuple[Run, Path, PretrainTask],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, results, _ = pretrained
    words = ["export", "--scale", "smoke", "--results", str(results.parent)]
    assert main([*words, "mamo", str(tmp_path / "out")]) == 0
    assert "mamo.load" in capsys.readouterr().out
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith("---\n") and run.id in card and "generated world" in card
    assert main([*words, "mamo", str(tmp_path / "out")]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert main([*words, "mamo-epochs_10", str(tmp_path / "other")]) == 1
    assert "is not made yet: first run" in capsys.readouterr().err
    assert main([*words, "nonsense", str(tmp_path / "other")]) == 2
    finish(run, results, outcome={"status": "diverged", "reason": "x"})
    with pytest.raises(RunError, match="has no weights of its own"):
        export(plan, run, results, tmp_path / "third")


def test_what_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LoadError, match=r"lacks config.json, model.safetensors.*mamo export"):
        mamo.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(LoadError, match="model_type is 'bert', not 'mamo'"):
        mamo.load(tmp_path)
    import huggingface_hub

    asked: list[str] = []

    def offline(name: str, **_: Any) -> str:
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(
        LoadError, match="not a folder here, and could not be fetched .*put config.json, model.safetensors"
    ):
        mamo.load("someone/mamo-base")
    assert asked == ["someone/mamo-base"]
