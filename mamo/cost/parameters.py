"""Count parameters from the models' shapes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mamo.specs.model import STEM_STRIDE, STEMS, ModelSpec
from mamo.specs.pretrain import PretrainSpec

BERT_POSITIONS = 512
BERT_VOCABULARY = 30_522  # bert-base-uncased
DALLE_CODES = 8192


def linear_parameters(inputs: int, outputs: int) -> int:
    """Weight and bias."""
    return inputs * outputs + outputs


def mlp_parameters(widths: Sequence[int]) -> int:
    """Count the parameters of all layers of an MLP; ``widths`` from input to output."""
    return sum(linear_parameters(inputs, outputs) for inputs, outputs in pairwise(widths))


def layer(spec: ModelSpec, cross: bool = False) -> int:
    """Count the parameters of a transformer layer; with cross-attention, another attention and norm."""
    width, hidden = spec.width, int(spec.width * spec.mlp_ratio)
    attention, norm = 4 * linear_parameters(width, width), 2 * width
    mlp = linear_parameters(width, hidden) + linear_parameters(hidden, width)
    return (2 if cross else 1) * (attention + norm) + mlp + norm


def embedding(spec: ModelSpec, vocab_size: int) -> int:
    """Count the parameters of words, positions, segments and their norm."""
    return (vocab_size + BERT_POSITIONS + 2) * spec.width + 2 * spec.width


def patch_values(spec: ModelSpec) -> int:
    """Count the numbers that a patch is embedded from: its pixels, or a stem's vector."""
    if spec.stem:
        return (spec.patch_size // STEM_STRIDE) ** 2 * STEMS[spec.stem].channels
    return 3 * spec.patch_size**2


def stem(spec: ModelSpec) -> int:
    """Count the parameters of a frozen stem, which online and target network share."""
    return STEMS[spec.stem].parameters if spec.stem else 0


def network(spec: ModelSpec, vocab_size: int) -> int:
    """Count the parameters of the network f with the heads of ITC and ITM."""
    width, tokens = spec.width, 1 + (spec.image_size // spec.patch_size) ** 2
    embedded = linear_parameters(patch_values(spec), width)
    vision = stem(spec) + embedded + width + tokens * width + 2 * width
    fusion = width + tokens * width
    layers = spec.vision_layers + spec.text_layers + spec.fusion_layers
    heads = 2 * linear_parameters(width, spec.projection_width) + 1 + linear_parameters(width, 2)
    return vision + embedding(spec, vocab_size) + fusion + layers * layer(spec) + heads


def pretraining(spec: PretrainSpec, vocab_size: int) -> tuple[int, int]:
    """Trained parameters of a pre-training, and those that its target network adds: the frozen stem is shared."""
    objectives, width = spec.objectives, spec.model.width
    own = network(spec.model, vocab_size) - stem(spec.model)
    trained, target = own, 0
    if objectives.mlm:
        trained += vocab_size  # a bias: the weights are the word embeddings
    copied = 0
    for head in objectives.heads(spec.model, DALLE_CODES):
        trained += mlp_parameters(head.widths)
        trained += head.decoder_layers * layer(spec.model) + (2 * width if head.decoder_layers else 0)
        copied += mlp_parameters(head.widths) if head.in_target else 0
    if spec.needs_target:
        target = own + copied
    if objectives.distillation and objectives.distillation.alpha and objectives.mlm:
        target += vocab_size  # the bias of the target's own MLM head
    return trained, target


def answer_decoder(spec: ModelSpec, layers: int, vocab_size: int) -> int:
    """Count the parameters of VQA's decoder: its own embeddings, the output's bias, and layers with cross-attention."""
    return embedding(spec, vocab_size) + vocab_size + layers * layer(spec, cross=True)


def paired_attention(width: int) -> int:
    """Count the parameters of NLVR2's module."""
    return (
        2 * 4 * linear_parameters(width, width)
        + linear_parameters(2 * width, width)
        + linear_parameters(width, 1)
        + linear_parameters(2 * width, 2)
    )
