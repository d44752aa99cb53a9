"""Weights on disk, and networks from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from mamo.data.tokenizer import Tokenizer
from mamo.model.mamo import Mamo
from mamo.specs.model import ModelSpec
from mamo.training.run import beside, write_text

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
ONLINE = "online.network."


def save_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file, beside its place and then renamed."""
    # Copies: safetensors refuses tensors that share memory.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    with beside(path) as part:
        save_file(copies, part)


def save_network_config(network: Mamo, directory: Path) -> None:
    """What it takes to build the network again."""
    config = {"model": network.spec.model_dump(mode="json"), "vocab_size": network.vocab_size}
    write_text(directory / CONFIG, json.dumps(config, indent=1) + "\n")


def load_network(directory: Path) -> Mamo:
    """The online network f of a pre-training run, at its own resolution.

    Raises:
        FileNotFoundError: the directory holds no weights.
    """
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    network = Mamo(ModelSpec.model_validate(config["model"]), config["vocab_size"])
    state = load_file(directory / WEIGHTS)
    network.load_state_dict({n.removeprefix(ONLINE): t for n, t in state.items() if n.startswith(ONLINE)})
    return network


def new_network(spec: ModelSpec, tokenizer: Tokenizer, vision: Path, text: Path) -> Mamo:
    """A network that starts from a ViT's and a BERT's weights (section 3.1)."""
    from mamo.model.pretrained import load_bert, load_vit, read_state

    network = Mamo(spec, tokenizer.vocab_size)
    load_vit(network.vision, read_state(vision))
    load_bert(network, read_state(text))
    return network
