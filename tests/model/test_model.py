"""The network f: shapes, visible-only encoding, resizing, published weights, parameter counts."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import tiny
import torch
from torch.nn import functional as F

from mamo.model.mamo import Mamo
from mamo.model.pretrained import load_bert, load_vit, to_bert
from mamo.model.target import make_target, update_target
from mamo.model.text import TextEncoder
from mamo.model.transformer import Attention, causal_bias, initialise
from mamo.model.vision import VisionEncoder, interpolate_positions
from mamo.specs.model import ModelSpec


def test_visible_only_encoding_equals_the_full_one_when_all_is_visible() -> None:
    torch.manual_seed(0)
    encoder = VisionEncoder(tiny.model_spec()).eval()
    image = torch.randn(2, 3, 32, 32)
    everything = torch.arange(16).expand(2, 16)
    torch.testing.assert_close(encoder(image), encoder(image, everything))


def test_an_image_of_another_size_is_encoded_as_by_a_resized_encoder() -> None:
    torch.manual_seed(0)
    encoder = VisionEncoder(tiny.model_spec()).eval()
    image = torch.randn(2, 3, 48, 48)
    at_once = encoder(image)
    assert at_once.shape == (2, 1 + 36, 32)
    encoder.resize(48)
    torch.testing.assert_close(at_once, encoder(image))


@pytest.mark.parametrize("width", [128, 768, 3072])
def test_initial_weights_give_outputs_of_the_same_size_at_any_width(width: int) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(width, 512)
    initialise(layer, width)
    outputs = layer(torch.randn(256, width))
    assert outputs.std().item() == pytest.approx(
        0.02 * 768**0.5, rel=0.03
    )  # what BERT-base and ViT-B start with


def test_removed_patches_cannot_be_seen() -> None:
    torch.manual_seed(0)
    encoder = VisionEncoder(tiny.model_spec()).eval()
    image = torch.randn(1, 3, 32, 32)
    other = image.clone()
    other[..., 8:] = 7.0  # everything but the first column of patches
    keep = torch.tensor([[0, 4, 8, 12]])
    torch.testing.assert_close(encoder(image, keep), encoder(other, keep))
    assert encoder(image, keep).shape == (1, 5, 32)


def test_full_set_puts_visible_features_back_and_the_mask_token_elsewhere(tmp_path: Path) -> None:
    network = tiny.network(tiny.tokenizer(tmp_path))
    visible = torch.randn(1, 3, 32)
    full = network.fusion.full_set(visible, torch.tensor([[5, 11]]))
    torch.testing.assert_close(full[0, [0, 6, 12]], visible[0])
    others = [i for i in range(1, 17) if i not in (6, 12)]
    torch.testing.assert_close(full[0, others], network.fusion.mask_token[0].expand(14, -1))


def test_padding_changes_nothing(tmp_path: Path) -> None:
    words = tiny.tokenizer(tmp_path)
    network = tiny.network(words).eval()
    visual = network.encode_image(torch.randn(1, 3, 32, 32))
    ids, mask = words.encode(["a dog"])
    longer = torch.nn.functional.pad(ids, (0, 5), value=9), torch.nn.functional.pad(mask, (0, 5))
    short = network.fuse(visual, network.encode_text(ids, mask), mask)
    long = network.fuse(visual, network.encode_text(*longer), longer[1])
    torch.testing.assert_close(short.image, long.image)
    torch.testing.assert_close(short.text, long.text[:, : ids.shape[1]])


def test_causal_bias_hides_the_future() -> None:
    bias = causal_bias(torch.tensor([[1, 1, 0]]))[0, 0]
    assert (bias == 0).tolist() == [[True, False, False], [True, True, False], [True, True, False]]


def test_resizing_keeps_what_positions_mean() -> None:
    ramp = torch.linspace(0, 1, 4)[None, :, None].expand(4, 4, 1).reshape(1, 16, 1)
    positions = torch.cat([torch.full((1, 1, 1), 9.0), ramp], 1)
    larger = interpolate_positions(positions, 8)
    assert larger.shape == (1, 65, 1) and larger[0, 0, 0] == 9.0
    grid = larger[0, 1:, 0].reshape(8, 8)
    assert (grid[:, 1:] > grid[:, :-1]).all() and torch.allclose(grid[0], grid[7])


def test_a_resized_network_takes_larger_images(tmp_path: Path) -> None:
    network = tiny.network(tiny.tokenizer(tmp_path))
    network.resize(48)
    visual = network.encode_image(torch.randn(2, 3, 48, 48))
    fused = network.fuse(visual, torch.randn(2, 5, 32), torch.ones(2, 5, dtype=torch.long))
    assert visual.shape == (2, 37, 32) and fused.image.shape == (2, 37, 32)


def test_ema_arithmetic_by_hand() -> None:
    online = torch.nn.Linear(2, 1)
    target = make_target(online)
    before = target.weight.clone()
    with torch.no_grad():
        online.weight.add_(1.0)
    update_target(target, online, 0.9)
    torch.testing.assert_close(target.weight, 0.9 * before + 0.1 * (before + 1.0))
    update_target(target, online, 0.0)
    torch.testing.assert_close(target.weight, online.weight)
    assert not any(p.requires_grad for p in target.parameters())


def test_our_vit_is_timms() -> None:
    timm = pytest.importorskip("timm.models.vision_transformer")
    spec = tiny.model_spec()
    torch.manual_seed(0)
    theirs = timm.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=0
    ).eval()  # fmt: skip
    ours = VisionEncoder(spec).eval()
    load_vit(ours, theirs.state_dict())
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(image), theirs.forward_features(image), rtol=1e-4, atol=1e-5)


def test_a_saved_bert_lands_layer_by_layer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128, vocab_size=120
    )
    torch.manual_seed(0)
    bert = transformers.BertForMaskedLM(config).eval()
    bert.save_pretrained(tmp_path)
    from mamo.model.pretrained import read_state

    network = Mamo(tiny.model_spec(), 120).eval()
    load_bert(network, read_state(tmp_path))
    layers = bert.bert.encoder.layer
    for i, layer in enumerate([*network.text.layers, *network.fusion.layers]):
        torch.testing.assert_close(layer.attention.query.weight, layers[i].attention.self.query.weight)
        torch.testing.assert_close(layer.mlp.contract.weight, layers[i].output.dense.weight)
    # The text encoder followed by the fusion layers is the whole of BERT.
    ids = torch.randint(5, 120, (2, 7))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    x = network.encode_text(ids, mask)
    for layer in network.fusion.layers:
        x = layer(x, torch.zeros(2, 1, 1, 7).masked_fill(mask[:, None, None] == 0, -1e4))
    expected = bert.bert(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(x[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-5)


def test_a_bert_trained_here_is_read_by_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours = TextEncoder(tiny.model_spec(text_layers=4), 120).eval()
    theirs = transformers.BertModel(
        transformers.BertConfig(
            hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=128, vocab_size=120
        ),
        add_pooling_layer=False,
    ).eval()
    missing = theirs.load_state_dict(to_bert(ours.state_dict()), strict=False)
    assert not missing.missing_keys and not missing.unexpected_keys
    ids = torch.randint(5, 120, (2, 7))
    mask = torch.ones_like(ids)
    expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours(ids, mask), expected, rtol=1e-4, atol=1e-5)


def test_wrong_numbers_of_layers_are_refused(tmp_path: Path) -> None:
    state = to_bert(TextEncoder(tiny.model_spec(text_layers=3), 120).state_dict())
    with pytest.raises(ValueError, match=r"BERT has 3 layers, the model 2 \+ 2"):
        load_bert(Mamo(tiny.model_spec(), 120), state)


def test_parameter_counts_at_paper_scale() -> None:
    with torch.device("meta"):
        network = Mamo(ModelSpec(), vocab_size=30522)

    def count(*parts: torch.nn.Module) -> int:
        return sum(p.numel() for part in parts for p in part.parameters())

    # ViT-B/16 without classifier: 85.8M.
    assert count(network.vision) == 85_798_656
    # BERT-base counted with its pre-training heads, 110,106,428, is our two encoders plus what we do not use:
    bert = count(network.text) + count(*network.fusion.layers)
    pooler, transform, decoder_bias, next_sentence = (
        768 * 768 + 768,
        768 * 768 + 768 + 2 * 768,
        30522,
        2 * 768 + 2,
    )
    assert bert + pooler + transform + decoder_bias + next_sentence == 110_106_428


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_fused_kernel_of_gpus_gives_what_plain_products_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: torch.dtype
) -> None:
    """The branch that CUDA takes, on a CPU: padding hidden, keys and values from elsewhere, gradients too."""
    words = tiny.tokenizer(tmp_path)
    network, batch = tiny.network(words, seed=2), tiny.batch(words)
    weights = torch.randn(8, 3, 32, generator=torch.Generator().manual_seed(1))

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            visual = network.encode_image(batch["image"])
            text = network.encode_text(batch["ids"], batch["mask"])
            x, bias = network.fusion.before_last(visual, text, batch["mask"])
            out = network.fusion.last(x[:, :3], x, bias)
        (out.float() * weights).sum().backward()
        gradient = network.text.layers[0].attention.key.weight.grad
        assert gradient is not None
        return out.float(), gradient.clone()

    plain = run()
    kernel = Mock(wraps=F.scaled_dot_product_attention)
    monkeypatch.setattr(Attention, "_fuses", lambda self, x: True)
    monkeypatch.setattr(F, "scaled_dot_product_attention", kernel)
    fused = run()
    assert kernel.call_count == 2 + 2 + 2  # layers of image, text and fusion encoder
    loose = 0.03 if precision == torch.bfloat16 else 1e-5
    torch.testing.assert_close(fused[0], plain[0], rtol=loose, atol=loose)
    similar = torch.cosine_similarity(fused[1].flatten(), plain[1].flatten(), 0)
    assert similar > 1 - loose


def test_shapes_at_the_papers_sizes() -> None:
    """On the meta device: 224 pixels in pre-training, 75 % of the patches removed; 384 in fine-tuning; VQA's decoder."""
    from mamo.model.decoder import AnswerDecoder, context_of, pack_answers

    spec = ModelSpec()
    with torch.device("meta"):
        network = Mamo(spec, 30_522)
        ids, mask = torch.zeros(2, 40, dtype=torch.long), torch.ones(2, 40, dtype=torch.long)
        keep = torch.zeros(2, 49, dtype=torch.long)
        assert network.vision(torch.zeros(2, 3, 224, 224), keep).shape == (2, 50, 768)
        assert network.encode_image(torch.zeros(2, 3, 224, 224), keep).shape == (2, 197, 768)
        network.resize(384)
        visual, text = network.encode_image(torch.zeros(2, 3, 384, 384)), network.encode_text(ids, mask)
        assert visual.shape == (2, 577, 768) and network.project_image(visual).shape == (2, 256)
        fused = network.fuse(visual, text, mask)
        assert fused.image.shape == (2, 577, 768) and fused.text.shape == (2, 40, 768)
        decoder = AnswerDecoder(network, 6, 101)
        context = context_of(fused, mask)
        assert context.states.shape == (2, 617, 768)
        nothing = torch.zeros(2, 0, 1, dtype=torch.long)
        assert decoder.states(pack_answers(nothing, nothing, 101), context).shape == (2, 1, 768)


@pytest.mark.parametrize(
    ("role", "module", "named"),
    [
        ("vision", "timm", ("model.safetensors", "weights.vision.name")),
        (
            "text",
            "transformers",
            ("config.json, model.safetensors, vocab.txt and tokenizer.json", "weights.text.name"),
        ),
    ],
)
def test_weights_that_cannot_be_had_name_the_files_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, module: str, named: tuple[str, str]
) -> None:
    from mamo.runs.execute import execute
    from mamo.runs.run import RunError
    from mamo.specs.plan import make_plan

    def offline(*_: object, **__: object) -> None:
        raise OSError("we are offline")

    there = SimpleNamespace(from_pretrained=offline, get_config_dict=offline)
    stand_in = SimpleNamespace(create_model=offline, BertConfig=there, BertModel=there, AutoTokenizer=there)
    monkeypatch.setitem(sys.modules, module, stand_in)
    plan = make_plan("paper", Path(__file__).parents[2] / "ablations")
    with pytest.raises(RunError) as caught:
        execute(plan, plan.find("weights", role), tmp_path)
    assert "we are offline" in str(caught.value) and all(word in str(caught.value) for word in named)
