"""Published weights: what differs from our encoders is folded in, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from mamo.files.stored import StoredError
from mamo.model.mamo import Mamo
from mamo.model.pretrained import check_bert, check_vit, load_bert, load_vit, to_bert
from mamo.model.text import TextEncoder
from mamo.model.vision import VisionEncoder
from mamo.runs.make_weights import _load_published


def vit(**options: Any) -> Any:
    """A small ViT of timm's, every weight of it away from where it starts."""
    timm = pytest.importorskip("timm.models.vision_transformer")
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 5}
    model = timm.VisionTransformer(**sizes | options).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize(
    "options", [{"init_values": 0.1}, {"no_embed_class": True}, {"init_values": 0.1, "no_embed_class": True}]
)
def test_layer_scale_and_a_class_token_without_position_are_folded_in(options: dict[str, Any]) -> None:
    theirs, ours = vit(**options), VisionEncoder(tiny.model_spec()).eval()
    load_vit(ours, theirs.state_dict())
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(image), theirs.forward_features(image), rtol=1e-3, atol=1e-4)
    assert check_vit(theirs) == 4


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"reg_tokens": 2}, "reg_token"),
        ({"qk_norm": True}, r"blocks.0.attn.q_norm.weight"),
        ({"pre_norm": True}, "norm_pre.weight"),
        ({"qkv_bias": False}, "layers.0.attention.key.bias is missing"),
        ({"class_token": False, "global_pool": "avg"}, "fc_norm.weight"),
        ({"depth": 3}, "layers.2.attention.key.bias"),
    ],
)
def test_tensors_of_a_vit_without_a_place_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(StoredError, match=named):
        load_vit(VisionEncoder(tiny.model_spec()), vit(**options).state_dict())


def test_a_vit_that_no_tensor_tells_apart_is_refused_by_its_features() -> None:
    with pytest.raises(StoredError, match="other features than its own"):
        check_vit(vit(act_layer=torch.nn.ReLU))


def test_tensors_of_a_bert_without_a_place_are_refused_by_name() -> None:
    state = to_bert(TextEncoder(tiny.model_spec(text_layers=4), 120).state_dict())
    head = {"bert.pooler.dense.bias": torch.zeros(32), "cls.predictions.bias": torch.zeros(120)}
    load_bert(Mamo(tiny.model_spec(), 120), state | head)
    for name in (
        "encoder.layer.1.attention.self.distance_embedding.weight",
        "encoder.layer.0.crossattention.self.query.weight",
        "encoder.layer.0.output.dense.lora_A.weight",
    ):
        with pytest.raises(StoredError, match="lora_A" if "lora" in name else name):
            load_bert(Mamo(tiny.model_spec(), 120), state | {name: torch.zeros(2)})


@pytest.mark.parametrize(("name", "value"), [("hidden_act", "relu"), ("model_type", "roberta")])
def test_a_bert_of_other_layers_is_refused(name: str, value: str) -> None:
    check_bert({"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12})
    with pytest.raises(StoredError, match=f"{name} '{value}'"):
        check_bert({"model_type": "bert", name: value})


@pytest.mark.parametrize(
    ("published", "complete"), [("BertModel", True), ("BertForMaskedLM", True), ("cut", False)]
)
def test_published_texts_weights_are_read_without_a_word_about_heads(
    published: str, complete: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=50
    )
    model = getattr(transformers, published if complete else "BertModel")(config)
    state = {n: t for n, t in model.state_dict().items() if complete or "layer.1.output.dense" not in n}
    model.save_pretrained(tmp_path, state_dict=state)
    if not complete:
        with pytest.raises(StoredError, match=r"lacks encoder.layer.1.output.dense.bias"):
            _load_published(transformers.BertModel, str(tmp_path), add_pooling_layer=False)
        return
    capfd.readouterr()
    actual, unknown = _load_published(transformers.BertModel, str(tmp_path), add_pooling_layer=False)
    assert all(name.startswith(("pooler.", "cls.")) for name in unknown) and unknown
    words = model.state_dict()["bert." * (published != "BertModel") + "embeddings.word_embeddings.weight"]
    torch.testing.assert_close(actual.state_dict()["embeddings.word_embeddings.weight"], words)
    said = "".join(capfd.readouterr())
    assert "corrupted" not in said and "MISSING" not in said and "UNEXPECTED" not in said
