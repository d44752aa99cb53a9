"""Published weights under our names: timm's ViT, and BERT split into text encoder and fusion encoder (section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamo.files.stored import StoredError, verify
from mamo.model.mamo import Mamo
from mamo.model.vision import VisionEncoder, interpolate_positions
from mamo.specs.model import ModelSpec

ALIKE = 0.9999  # least cosine of features that are the same but for rounding

# Theirs and ours; {} is a layer's number. What follows the prefix (weight, bias) stays.
_VIT = [
    ("cls_token", "class_token"),
    ("pos_embed", "positions"),
    ("patch_embed.proj", "patch_embedding"),
    ("blocks.{}.norm1", "layers.{}.norm_attention"),
    ("blocks.{}.norm2", "layers.{}.norm_mlp"),
    ("blocks.{}.attn.proj", "layers.{}.attention.out"),
    ("blocks.{}.mlp.fc1", "layers.{}.mlp.expand"),
    ("blocks.{}.mlp.fc2", "layers.{}.mlp.contract"),
    ("norm", "norm"),
]
_BERT = [
    ("embeddings.word_embeddings", "embedding.words"),
    ("embeddings.position_embeddings", "embedding.positions"),
    ("embeddings.token_type_embeddings", "embedding.segments"),
    ("embeddings.LayerNorm", "embedding.norm"),
    ("encoder.layer.{}.attention.self.query", "layers.{}.attention.query"),
    ("encoder.layer.{}.attention.self.key", "layers.{}.attention.key"),
    ("encoder.layer.{}.attention.self.value", "layers.{}.attention.value"),
    ("encoder.layer.{}.attention.output.dense", "layers.{}.attention.out"),
    ("encoder.layer.{}.attention.output.LayerNorm", "layers.{}.norm_attention"),
    ("encoder.layer.{}.intermediate.dense", "layers.{}.mlp.expand"),
    ("encoder.layer.{}.output.dense", "layers.{}.mlp.contract"),
    ("encoder.layer.{}.output.LayerNorm", "layers.{}.norm_mlp"),
]


# Heads and poolers, which stand behind the features that are taken over.
_VIT_HEADS = re.compile(
    r"(head|pre_logits)\.|mask_token$"
)  # the mask token stands for patches in pre-training alone
_BERT_HEADS = re.compile(r"(pooler|cls|classifier|qa_outputs)\.|embeddings\.position_ids$")


def _rename(
    state: Mapping[str, Tensor], pairs: Iterable[tuple[str, str]], left_out: re.Pattern[str], what: str
) -> dict[str, Tensor]:
    """Return the tensors whose names begin like the first of a pair, under the second.

    Args:
        left_out: names of tensors that nothing here needs.

    Raises:
        StoredError: a tensor is neither known nor left out, so that the model would compute something else without it.
    """
    rules = [
        (re.compile(re.escape(old).replace(r"\{\}", r"(\d+)") + r"(?=\.|$)"), new.replace("{}", r"\1"))
        for old, new in pairs
    ]
    renamed, unknown = {}, []
    for name, tensor in state.items():
        for pattern, replacement in rules:
            if pattern.match(name):
                renamed[pattern.sub(replacement, name, count=1)] = tensor
                break
        else:
            if not left_out.match(name):
                unknown.append(name)
    if unknown:
        raise StoredError(_unplaced(unknown, what))
    return renamed


def _unplaced(names: Sequence[str], what: str) -> str:
    """Say which tensors have no place, and what that would change."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (
        f"the {what} weights do not fit the model: it has no place for {', '.join(names[:5])}{more}, and without them its "
        "features would be others; take weights of a model without them (docs/own-data.md says which)"
    )


def vit_state(timm_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's ViT weights under :class:`VisionEncoder`'s names.

    The fused qkv is cut in three. LayerScale is folded into the projection that it scales: gamma * (W x + b) is
    (gamma W) x + gamma b. Where the class token has no position (DeiT III), it gets one of zeros.

    Raises:
        StoredError: a tensor that the encoder has no place for, such as register tokens or norms of queries and keys.
    """
    rest, split = dict(timm_state), dict[str, Tensor]()
    for name in list(rest):
        match = re.fullmatch(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", name)
        if match:
            layer, part = match.groups()
            for role, piece in zip(("query", "key", "value"), rest.pop(name).chunk(3), strict=True):
                split[f"layers.{layer}.attention.{role}.{part}"] = piece.contiguous()
            continue
        match = re.fullmatch(r"(blocks\.\d+)\.ls([12])\.gamma", name)
        if match:
            projection = f"{match[1]}.{'attn.proj' if match[2] == '1' else 'mlp.fc2'}"
            gamma = rest.pop(name)
            for part in ("weight", "bias"):
                scaled = rest.get(f"{projection}.{part}")
                if scaled is None or len(scaled) != len(gamma):
                    raise StoredError(
                        f"the ViT weights do not fit the model: {name} scales no {projection}.{part}"
                    )
                rest[f"{projection}.{part}"] = scaled * gamma.reshape(-1, *[1] * (scaled.ndim - 1))
    positions = rest.get("pos_embed")
    if positions is not None and positions.ndim == 3 and _square(positions.shape[1]):
        rest["pos_embed"] = torch.cat([torch.zeros_like(positions[:, :1]), positions], 1)
    return _rename(rest, _VIT, _VIT_HEADS, "ViT") | split


def _square(number: int) -> bool:
    return round(number**0.5) ** 2 == number


def bert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return BERT's weights with flat names, ``embedding.*`` and ``layers.0`` ..., whichever head it was saved with.

    Raises:
        StoredError: a tensor that neither the encoders nor a head of BERT's have a place for.
    """
    plain = {re.sub(r"^bert\.", "", name): tensor for name, tensor in state.items()}
    plain = {name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): t
             for name, t in plain.items()}  # fmt: skip
    return _rename(plain, _BERT, _BERT_HEADS, "BERT")


def to_bert(flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the inverse of :func:`bert_state`: names that transformers' ``BertModel`` reads."""
    return _rename(flat, [(ours, theirs) for theirs, ours in _BERT], re.compile("$^"), "BERT")


def load_vit(encoder: VisionEncoder, timm_state: Mapping[str, Tensor]) -> None:
    """Put timm's weights into the encoder; positions of another resolution are interpolated.

    Raises:
        StoredError: a weight is missing, of another shape, or one that the encoder has no place for.
    """
    # Weights that the workbench trained itself already bear our names.
    state = dict(timm_state) if "class_token" in timm_state else vit_state(timm_state)
    positions = state.get("positions")
    if positions is not None:
        if positions.ndim != 3 or not _square(positions.shape[1] - 1):
            raise StoredError(
                f"the ViT weights do not fit the model: positions of shape {tuple(positions.shape)} are no square of patches "
                "and a class token"
            )
        state["positions"] = interpolate_positions(positions, encoder.grid)
    _load_renamed(encoder, state, "ViT")


def check_vit(model: Any) -> int:
    """Check that our encoder gives the same features as a timm model once it has its weights.

    Returns:
        The number of its attention heads.

    Raises:
        StoredError: naming what our encoder has no place for, or that the features differ.
    """
    state = model.state_dict()
    known = vit_state(state)
    try:
        heads, (side, other) = int(model.blocks[0].attn.num_heads), model.patch_embed.img_size
        layers, width = len(model.blocks), known["class_token"].shape[-1]
        patch, hidden = (
            known["patch_embedding.weight"].shape[-1],
            known["layers.0.mlp.expand.weight"].shape[0],
        )
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise StoredError(f"it is no plain ViT with a class token: {error} is missing") from error
    spec = ModelSpec(
        image_size=side,
        patch_size=patch,
        width=width,
        heads=heads,
        vision_layers=layers,
        mlp_ratio=hidden / width,
    )
    encoder = VisionEncoder(spec).eval()
    load_vit(encoder, state)
    # Tensors alone do not say it: the activation, an epsilon or the number of heads can be another one.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        image = torch.randn(1, 3, side, other)
        theirs, ours = model.eval().forward_features(image), encoder(image)
    if theirs.shape != ours.shape:
        raise StoredError(f"its features have the shape {tuple(theirs.shape)}, ours {tuple(ours.shape)}")
    cosine = float(torch.nn.functional.cosine_similarity(theirs, ours, dim=-1).min())
    if not cosine > ALIKE:
        raise StoredError(f"with its weights our ViT gives other features than its own (cosine {cosine:.3f})")
    return heads


def check_bert(config: Mapping[str, Any]) -> None:
    """Check that our layers compute what a published BERT's configuration says.

    Raises:
        StoredError: naming the setting that is another one.
    """
    ours = {
        "model_type": ("bert",),
        "hidden_act": ("gelu",),
        "layer_norm_eps": (1e-12,),
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
    }
    for name, values in ours.items():
        if name in config and config[name] not in values:
            raise StoredError(
                f"its config.json has {name} {config[name]!r}, and our text encoder {values[0]!r}"
            )


def load_bert(network: Mamo, state: Mapping[str, Tensor]) -> None:
    """Split BERT: embeddings and first layers to the text encoder, the last layers to the fusion encoder (section 3.1).

    Raises:
        StoredError: a weight is missing, of another shape, or the numbers of layers do not add up.
    """
    flat = bert_state(state)
    spec = network.spec
    layers = 1 + max((int(name.split(".")[1]) for name in flat if name.startswith("layers.")), default=-1)
    if layers != spec.text_layers + spec.fusion_layers:
        raise StoredError(
            f"BERT has {layers} layers, the model {spec.text_layers} + {spec.fusion_layers}: "
            "change model.text_layers or model.fusion_layers, or take other text weights"
        )
    text, fusion = {}, {}
    for name, tensor in flat.items():
        part, *rest = name.split(".")
        if part == "layers" and int(rest[0]) >= spec.text_layers:
            fusion[".".join(["layers", str(int(rest[0]) - spec.text_layers), *rest[1:]])] = tensor
        else:
            text[name] = tensor
    _load_renamed(network.text, text, "BERT")
    # The mask token and the image positions of the fusion encoder are MAMO's own: BERT has none.
    own = {
        name: tensor for name, tensor in network.fusion.state_dict().items() if not name.startswith("layers.")
    }
    _load_renamed(network.fusion, fusion | own, "BERT")


def _load_renamed(module: torch.nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    # Not load_state_dict's own report: it lists everything, and does not say what to do.
    expected = module.state_dict()
    unknown = sorted(set(state) - set(expected))
    if unknown:
        raise StoredError(_unplaced(unknown, what))
    missing = sorted(set(expected) - set(state))
    wrong = [f"{name}: {tuple(state[name].shape)} where {tuple(expected[name].shape)} is needed"
             for name in expected if name in state and state[name].shape != expected[name].shape]  # fmt: skip
    if missing or wrong:
        listed = "; ".join([*(f"{name} is missing" for name in missing[:5]), *wrong[:5]])
        raise StoredError(f"the {what} weights do not fit the model: {listed}")
    module.load_state_dict(state)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file, or of a torch file that holds nothing else.

    Raises:
        FileNotFoundError: naming the files that would do.
        PermissionError: the file may not be read.
        StoredError: the file is damaged, differs from the record of the run that wrote it, or holds anything but tensors;
            nothing in it is executed.
    """
    if path.is_dir():
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (path / name).is_file():
                path = path / name
                break
        else:
            raise FileNotFoundError(
                f"{path}: holds neither model.safetensors nor pytorch_model.bin; put the weights there"
            )
    # Of a file that may not be read, safetensors says that it does not exist.
    with path.open("rb"):
        pass
    verify(path.parent, path.name)
    fix = "take the original file again, or delete the run that made it and make it again"
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # weights_only: a pickle from elsewhere must not run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged files raise nearly anything, some of it of no public class
        raise StoredError(
            f"{path}: refused as weights ({type(error).__name__}: {str(error)[:300]}); {fix}"
        ) from error
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise StoredError(f"{path}: holds something else than tensors by name; {fix}")
    return state


def load_exactly(module: torch.nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors into a module that has exactly these.

    Raises:
        StoredError: a tensor is missing, unknown or of another shape.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise StoredError(f"{path}: is not of this model: {str(error)[:1000]}") from error
