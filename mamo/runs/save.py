"""Save weights, and build networks from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from mamo.data.tokenizer import Tokenizer
from mamo.files.stored import StoredError, read_object
from mamo.files.writing import atomic_write, write_text
from mamo.model.mamo import Mamo
from mamo.specs.model import ModelSpec

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
ONLINE = "online.network."
_WORDS = 1_000_000


def save_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file, atomically."""
    # Copies: safetensors refuses tensors that share memory.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    with atomic_write(path) as part:
        save_file(copies, part)


def save_network_config(network: Mamo, directory: Path) -> None:
    """Write the configuration needed to build the network again."""
    config = {"model": network.spec.model_dump(mode="json"), "vocab_size": network.vocab_size}
    write_text(directory / CONFIG, json.dumps(config, indent=1) + "\n")


def load_network(directory: Path) -> Mamo:
    """Load the online network f of a pre-training run, at its own resolution.

    Raises:
        FileNotFoundError: the directory holds no weights.
        StoredError: a file of it is damaged.
    """
    from mamo.model.pretrained import load_exactly, read_state

    network = build_network(read_object(directory / CONFIG), directory / CONFIG)
    path = directory / WEIGHTS
    state = read_state(path)
    load_exactly(network, {n.removeprefix(ONLINE): t for n, t in state.items() if n.startswith(ONLINE)}, path)
    return network


def build_network(config: Mapping[str, Any], path: Path) -> Mamo:
    """Build the network that a configuration describes.

    Raises:
        StoredError: ``path`` describes none.
    """
    words = config.get("vocab_size")
    if isinstance(words, bool) or not isinstance(words, int) or not 0 < words <= _WORDS:
        raise StoredError(f"{path}: 'vocab_size' is {str(words)[:60]!r}, not a number of words")
    try:
        return Mamo(ModelSpec.model_validate(config.get("model")), words)
    except (ValidationError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise StoredError(f"{path}: 'model' describes no network: {str(error)[:500]}") from error


def new_network(spec: ModelSpec, tokenizer: Tokenizer, vision: Path, text: Path) -> Mamo:
    """Build a network that starts from a ViT's and a BERT's weights (section 3.1)."""
    from mamo.model.pretrained import load_bert, load_vit, read_state

    network = Mamo(spec, tokenizer.vocab_size)
    load_vit(network.vision, read_state(vision))
    load_bert(network, read_state(text))
    for directory, name in ((vision, "heads"), (text, "num_attention_heads")):
        config = read_object(directory / CONFIG) if (directory / CONFIG).is_file() else {}
        if config.get(name, spec.heads) != spec.heads:  # tensor shapes do not show the number of heads
            raise StoredError(
                f"{directory / CONFIG}: the weights have {config[name]} heads, the model {spec.heads}: set model.heads"
            )
    return network
