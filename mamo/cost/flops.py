"""Count floating-point operations of the networks from their shapes.

A matrix product of (m, k) and (k, n) counts 2 m k n, as in torch's own counter; sums, norms, softmax and
other work that is linear in the activations does not count. Sizes: T tokens of a sequence, S tokens read, Q tokens computed,
N patches, P visible patches, L sub-words, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mamo.cost import parameters
from mamo.cost.parameters import DALLE_CODES
from mamo.specs.model import STEM_STRIDE, STEMS, ModelSpec
from mamo.specs.pretrain import PretrainSpec


def linear_flops(rows: float, inputs: float, outputs: float) -> float:
    """Count the operations of a linear map of ``rows`` vectors."""
    return 2 * rows * inputs * outputs


def mlp_flops(rows: float, widths: Sequence[int]) -> float:
    """Count the operations of an MLP on ``rows`` vectors; ``widths`` from input to output."""
    return sum(linear_flops(rows, inputs, outputs) for inputs, outputs in pairwise(widths))


@dataclass(frozen=True)
class Network:
    """The operations of one pair's way through f (section 3.1), forwards."""

    spec: ModelSpec
    vocab_size: int

    @property
    def patches(self) -> int:
        """N."""
        return (self.spec.image_size // self.spec.patch_size) ** 2

    def attention(self, queries: float, read: float | None = None) -> float:
        """Count the operations of multi-head attention with its projections; self-attention unless ``read`` is given."""
        width = self.spec.width
        source = queries if read is None else read
        projections = 2 * linear_flops(queries, width, width) + 2 * linear_flops(source, width, width)
        return projections + 4 * queries * source * width

    def layer(self, tokens: float, read: float | None = None) -> float:
        """Count the operations of a transformer layer of ``tokens`` tokens, which may be only some of the ``read`` ones."""
        hidden = int(self.spec.width * self.spec.mlp_ratio)
        return self.attention(tokens, read) + 2 * linear_flops(tokens, self.spec.width, hidden)

    def patch_embedding(self, visible: float | None = None) -> float:
        """Count what a backward saves at the embedding of all patches or of the visible ones.

        No gradient goes back to the pixels, and none into a stem.
        """
        return self._embedding(visible) + 2 * self.stem(visible)

    def _embedding(self, visible: float | None = None) -> float:
        patches = self.patches if visible is None else visible
        return linear_flops(patches, parameters.patch_values(self.spec), self.spec.width)

    def stem(self, visible: float | None = None) -> float:
        """Count the operations of a stem's convolutions; passes over the same images, which share them, count each its own."""
        found = STEMS.get(self.spec.stem or "")
        patches = self.patches if visible is None else visible
        places = patches * (self.spec.patch_size / STEM_STRIDE) ** 2
        return 2 * places * found.multiplications if found else 0.0

    def vision(self, visible: float | None = None) -> float:
        """Count the operations of the image encoder."""
        tokens = 1 + (self.patches if visible is None else visible)
        return self.stem(visible) + self._embedding(visible) + self.spec.vision_layers * self.layer(tokens)

    def text(self, words: float) -> float:
        """Count the operations of the text encoder."""
        return self.spec.text_layers * self.layer(words)

    def fusion(self, words: float, outputs: float | None = None) -> float:
        """Count the operations of the fusion encoder; its last layer computes only the tokens that are read (``outputs``)."""
        tokens = 1 + self.patches + words
        last = self.layer(tokens if outputs is None else outputs, tokens)
        return (self.spec.fusion_layers - 1) * self.layer(tokens) + last

    def projections(self) -> float:
        """Count the operations of both ITC projections."""
        return 2 * linear_flops(1, self.spec.width, self.spec.projection_width)

    def contrast(self, batch: float) -> float:
        """Count the operations of a pair's similarities with all others, in both directions."""
        return 2 * linear_flops(1, self.spec.projection_width, batch)

    def matching(self, words: float) -> float:
        """Count the operations of ITM's score of one pair of encoded image and text: the fused [CLS] and its classifier."""
        return self.fusion(words, 1) + linear_flops(1, self.spec.width, 2)

    def alignment(self, words: float, batch: float) -> float:
        """Count the operations of one pair's ITC + ITM in a batch: ITM scores the pair itself, and it with a wrong image and a
        wrong text."""
        encoded = self.vision() + self.text(words)
        return encoded + self.projections() + self.contrast(batch) + 3 * self.matching(words)

    def decoder(self, tokens: float, layers: int, words: float) -> float:
        """Count the operations of VQA's answer decoder on packed sub-words, reading the fused sequence."""
        read = 1 + self.patches + words
        return layers * (self.layer(tokens) + self.attention(tokens, read))

    def vocabulary(self, rows: float) -> float:
        """Count the operations of logits over the vocabulary."""
        return linear_flops(rows, self.spec.width, self.vocab_size)

    def paired_attention(self, words: float) -> float:
        """Count the operations of NLVR2's two attentions, the joining layer and the pooling of both sides."""
        tokens, width = 1 + self.patches + words, self.spec.width
        pooled = linear_flops(tokens, width, 1) + 2 * tokens * width
        return 2 * (self.attention(tokens, tokens) + linear_flops(tokens, 2 * width, width) + pooled)

    def decoder_parameters(self, layers: int) -> int:
        """Count the parameters of VQA's answer decoder."""
        return parameters.answer_decoder(self.spec, layers, self.vocab_size)

    def paired_attention_parameters(self) -> int:
        """Count the parameters of NLVR2's module."""
        return parameters.paired_attention(self.spec.width)


def pretraining_pair(
    spec: PretrainSpec,
    vocab_size: int,
    words: float,
    chosen: float,
    contrasted: float,
    group: float,
    most: float | None = None,
) -> float:
    """Count one pair's share of a pre-training step: forward, backward (twice the forward) and the target network's forward.

    Args:
        words: L, tokens of a text as padded.
        chosen: sub-words of a text that are masked.
        contrasted: pairs of the global batch, which ITC compares each pair with.
        group: pairs that a rank has, which the draw of ITM's negatives compares each pair with.
        most: masked sub-words of the text that has the most; the last fusion layer computes that many for every text.
    """
    most = chosen if most is None else most
    network, objectives = Network(spec.model, vocab_size), spec.objectives
    width, patches = spec.model.width, network.patches
    removed = min(max(round(spec.masking.image_ratio * patches), 1), patches - 1)
    forward = network.vision() + network.text(words)
    embedded, extra = network.patch_embedding(), 0.0
    if objectives.itc:
        forward += network.projections()
        forward += 0.0 if objectives.distillation else network.contrast(contrasted)
    if objectives.itm:
        forward += 3 * (network.fusion(words, 1) + linear_flops(1, width, 2))
        extra += linear_flops(
            1, spec.model.projection_width, group
        )  # without a backward: negatives are drawn
    heads = objectives.heads(spec.model, DALLE_CODES)
    if objectives.masks_image:
        # A decoder reads all image tokens, so the last fusion layer computes them all.
        last = 1 + patches if any(head.decoder_layers for head in heads) else removed
        forward += network.vision(patches - removed) + network.fusion(words, last)
        embedded += network.patch_embedding(patches - removed)
    if objectives.masks_text:
        forward += network.text(words) + network.fusion(words, most)
    if objectives.mlm:
        forward += network.vocabulary(chosen)
    for head in heads:
        operations = mlp_flops(removed * head.on_image + chosen * head.on_text, head.widths)
        forward += operations + head.decoder_layers * network.layer(1 + patches)
        extra += operations if head.in_target else 0.0
    if spec.predicts_features:
        extra += network.vision()
    if objectives.predicts_fused:
        extra += network.text(words) + network.fusion(words, removed + most)
    if objectives.distillation:
        candidates = network.contrast(contrasted + objectives.distillation.queue)
        extra += network.vision() + network.text(words) + network.projections()
        extra += 2 * candidates  # gradients go back to the online side only
        if objectives.distillation.alpha:
            extra += candidates
            if objectives.mlm:
                masked = network.text(words) + network.fusion(words) + network.vocabulary(chosen)
                extra += network.vision() + masked
    # No gradient goes back to the pixels, so the patch embeddings' backward is one product, not two.
    return 3 * forward - embedded + extra
