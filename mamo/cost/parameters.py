"""Count parameters from the models' shapes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mamo.specs.model import STEMS, ModelSpec
from mamo.specs.pretrain import PretrainSpec

BERT_POSITIONS = 512
BERT_VOCABULARY = 30_522  # bert-base-uncased
DALLE_CODES = 8192


def linear(inputs: int, outputs: int) -> int:
    """Weight and bias."""
    return inputs * outputs + outputs


def mlp(widths: Sequence[int]) -> int:
    """All layers of an MLP; ``widths`` from input to output."""
    return sum(linear(inputs, outputs) for inputs, outputs in pairwise(widths))


def layer(spec: ModelSpec, cross: bool = False) -> int:
    """A transformer layer; with cross-attention, another attention and norm."""
    width, hidden = spec.width, int(spec.width * spec.mlp_ratio)
    attention, norm = 4 * linear(width, width), 2 * width
    mlp = linear(width, hidden) + linear(hidden, width)
    return (2 if cross else 1) * (attention + norm) + mlp + norm


def embedding(spec: ModelSpec, vocab_size: int) -> int:
    """Words, positions, segments and their norm."""
    return (vocab_size + BERT_POSITIONS + 2) * spec.width + 2 * spec.width


def patch_values(spec: ModelSpec) -> int:
    """Numbers that a patch is embedded from: its pixels, or a stem's vector."""
    return STEMS[spec.stem].channels if spec.stem else 3 * spec.patch_size**2


def stem(spec: ModelSpec) -> int:
    """A frozen stem, which online and target network share."""
    return STEMS[spec.stem].parameters if spec.stem else 0


def network(spec: ModelSpec, vocab_size: int) -> int:
    """The network f with the heads of ITC and ITM."""
    width, tokens = spec.width, 1 + (spec.image_size // spec.patch_size) ** 2
    vision = stem(spec) + linear(patch_values(spec), width) + width + tokens * width + 2 * width
    fusion = width + tokens * width
    layers = spec.vision_layers + spec.text_layers + spec.fusion_layers
    heads = 2 * linear(width, spec.projection_width) + 1 + linear(width, 2)
    return vision + embedding(spec, vocab_size) + fusion + layers * layer(spec) + heads


def pretraining(spec: PretrainSpec, vocab_size: int) -> tuple[int, int]:
    """Trained parameters of a pre-training, and those of its target network."""
    wanted, width = spec.objectives, spec.model.width
    trained, target = network(spec.model, vocab_size) - stem(spec.model), 0
    if wanted.mlm:
        trained += vocab_size  # a bias: the weights are the word embeddings
    copied = 0
    for head in wanted.heads(spec.model, DALLE_CODES):
        trained += mlp(head.widths)
        trained += head.decoder_layers * layer(spec.model) + (2 * width if head.decoder_layers else 0)
        copied += mlp(head.widths) if head.in_target else 0
    if spec.needs_target:
        target = network(spec.model, vocab_size) + copied
    if wanted.distillation and wanted.distillation.alpha and wanted.mlm:
        target += vocab_size  # the bias of the target's own MLM head
    return trained, target


def answer_decoder(spec: ModelSpec, layers: int, vocab_size: int) -> int:
    """VQA's decoder: its own embeddings, the output's bias, and layers with cross-attention."""
    return embedding(spec, vocab_size) + vocab_size + layers * layer(spec, cross=True)


def paired_attention(width: int) -> int:
    """NLVR2's module."""
    return 2 * 4 * linear(width, width) + linear(2 * width, width) + linear(width, 1) + linear(2 * width, 2)
