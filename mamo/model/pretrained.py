"""Published weights under our names: timm's ViT, and BERT split into text encoder and fusion encoder (section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mamo.model.mamo import Mamo
from mamo.model.vision import VisionEncoder, interpolate_positions
from mamo.specs.stored import StoredError, verify

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


def _rename(state: Mapping[str, Tensor], pairs: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    """The tensors whose names begin like the first of a pair, under the second; others (classifiers, poolers) are left out."""
    rules = [
        (re.compile(re.escape(old).replace(r"\{\}", r"(\d+)") + r"(?=\.|$)"), new.replace("{}", r"\1"))
        for old, new in pairs
    ]
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            if pattern.match(name):
                renamed[pattern.sub(replacement, name, count=1)] = tensor
                break
    return renamed


def vit_state(timm_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's ViT weights under :class:`VisionEncoder`'s names; the fused qkv is cut in three."""
    split: dict[str, Tensor] = {}
    for name, tensor in timm_state.items():
        found = re.match(r"^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$", name)
        if found:
            layer, part = found.groups()
            for role, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                split[f"layers.{layer}.attention.{role}.{part}"] = piece.contiguous()
    return _rename(timm_state, _VIT) | split


def bert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BERT's weights with flat names, ``embedding.*`` and ``layers.0`` ..., whichever head it was saved with."""
    plain = {re.sub(r"^bert\.", "", name): tensor for name, tensor in state.items()}
    plain = {name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): t
             for name, t in plain.items()}  # fmt: skip
    return _rename(plain, _BERT)


def to_bert(flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`bert_state`: names that transformers' ``BertModel`` reads."""
    return _rename(flat, [(ours, theirs) for theirs, ours in _BERT])


def load_vit(encoder: VisionEncoder, timm_state: Mapping[str, Tensor]) -> None:
    """Put timm's weights into the encoder; positions of another resolution are interpolated.

    Raises:
        ValueError: a weight is missing or of another shape.
    """
    # Weights that the workbench trained itself already bear our names.
    state = dict(timm_state) if "class_token" in timm_state else vit_state(timm_state)
    if "positions" in state:
        state["positions"] = interpolate_positions(state["positions"], encoder.grid)
    _load(encoder, state, "ViT")


def load_bert(network: Mamo, state: Mapping[str, Tensor]) -> None:
    """Split BERT: embeddings and first layers to the text encoder, the last layers to the fusion encoder (section 3.1).

    Raises:
        ValueError: a weight is missing, of another shape, or the numbers of layers do not add up.
    """
    flat = bert_state(state)
    spec = network.spec
    layers = 1 + max((int(name.split(".")[1]) for name in flat if name.startswith("layers.")), default=-1)
    if layers != spec.text_layers + spec.fusion_layers:
        raise ValueError(
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
    _load(network.text, text, "BERT")
    # The mask token and the image positions of the fusion encoder are MAMO's own: BERT has none.
    own = {
        name: tensor for name, tensor in network.fusion.state_dict().items() if not name.startswith("layers.")
    }
    _load(network.fusion, fusion | own, "BERT")


def _load(module: torch.nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    expected = module.state_dict()
    missing = sorted(set(expected) - set(state))
    wrong = [f"{name}: {tuple(state[name].shape)} where {tuple(expected[name].shape)} is needed"
             for name in expected if name in state and state[name].shape != expected[name].shape]  # fmt: skip
    if missing or wrong:
        listed = "; ".join([*(f"{name} is missing" for name in missing[:5]), *wrong[:5]])
        raise ValueError(f"the {what} weights do not fit the model: {listed}")
    module.load_state_dict({name: state[name] for name in expected})


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a ``.safetensors`` file, or of a torch file holding tensors only.

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
    with path.open("rb"):
        pass  # of a file that it may not read, safetensors says that it is not there
    verify(path.parent, path.name)
    mend = "take the original file anew, or delete the run that made it and make it again"
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged files raise nearly anything, some of it of no public class
        raise StoredError(
            f"{path}: refused as weights ({type(error).__name__}: {str(error)[:300]}); {mend}"
        ) from error
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise StoredError(f"{path}: holds something else than tensors by name; {mend}")
    return state


def fill(module: torch.nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors into a module that has exactly these.

    Raises:
        StoredError: a tensor is missing, unknown or of another shape.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise StoredError(f"{path}: is not of this model: {str(error)[:1000]}") from error
