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
from mamo.specs.model import STEMS, ModelSpec
from mamo.specs.pretrain import PretrainSpec


def linear(rows: float, inputs: float, outputs: float) -> float:
    """A linear map of ``rows`` vectors."""
    return 2 * rows * inputs * outputs


def mlp(rows: float, widths: Sequence[int]) -> float:
    """An MLP on ``rows`` vectors; ``widths`` from input to output."""
    return sum(linear(rows, inputs, outputs) for inputs, outputs in pairwise(widths))


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
        """Multi-head attention with its projections; self-attention unless ``read`` tokens are given."""
        width = self.spec.width
        source = queries if read is None else read
        projections = 2 * linear(queries, width, width) + 2 * linear(source, width, width)
        return projections + 4 * queries * source * width

    def layer(self, tokens: float, read: float | None = None) -> float:
        """A transformer layer of ``tokens`` tokens, which may be only some of the ``read`` ones."""
        hidden = int(self.spec.width * self.spec.mlp_ratio)
        return self.attention(tokens, read) + 2 * linear(tokens, self.spec.width, hidden)

    def patch_embedding(self, visible: float | None = None) -> float:
        """What a backward saves at the embedding of all patches or of the visible ones.

        No gradient goes back to the pixels, and none into a stem.
        """
        return self._embedding(visible) + 2 * self.stem

    def _embedding(self, visible: float | None = None) -> float:
        patches = self.patches if visible is None else visible
        return linear(patches, parameters.patch_values(self.spec), self.spec.width)

    @property
    def stem(self) -> float:
        """The convolutions of a stem, which go over hidden patches too."""
        found = STEMS.get(self.spec.stem or "")
        return 2 * self.patches * found.multiplications if found else 0.0

    def vision(self, visible: float | None = None) -> float:
        """The image encoder."""
        tokens = 1 + (self.patches if visible is None else visible)
        return self.stem + self._embedding(visible) + self.spec.vision_layers * self.layer(tokens)

    def text(self, words: float) -> float:
        """The text encoder."""
        return self.spec.text_layers * self.layer(words)

    def fusion(self, words: float, wanted: float | None = None) -> float:
        """The fusion encoder; its last layer computes only the ``wanted`` tokens."""
        tokens = 1 + self.patches + words
        last = self.layer(tokens if wanted is None else wanted, tokens)
        return (self.spec.fusion_layers - 1) * self.layer(tokens) + last

    def projections(self) -> float:
        """Both ITC projections."""
        return 2 * linear(1, self.spec.width, self.spec.projection_width)

    def contrast(self, batch: float) -> float:
        """A pair's similarities with all others, in both directions."""
        return 2 * linear(1, self.spec.projection_width, batch)

    def matching(self, words: float) -> float:
        """ITM's score of one pair of encoded image and text: the fused [CLS] and its classifier."""
        return self.fusion(words, 1) + linear(1, self.spec.width, 2)

    def alignment(self, words: float, batch: float) -> float:
        """One pair's ITC + ITM in a batch: ITM scores the pair itself, and it with a wrong image and a wrong text."""
        encoded = self.vision() + self.text(words)
        return encoded + self.projections() + self.contrast(batch) + 3 * self.matching(words)

    def decoder(self, tokens: float, layers: int, words: float) -> float:
        """VQA's answer decoder on packed sub-words, reading the fused sequence."""
        read = 1 + self.patches + words
        return layers * (self.layer(tokens) + self.attention(tokens, read))

    def vocabulary(self, rows: float) -> float:
        """Logits over the vocabulary."""
        return linear(rows, self.spec.width, self.vocab_size)

    def paired_attention(self, words: float) -> float:
        """NLVR2's two attentions, the joining layer and the pooling of both sides."""
        tokens, width = 1 + self.patches + words, self.spec.width
        pooled = linear(tokens, width, 1) + 2 * tokens * width
        return 2 * (self.attention(tokens, tokens) + linear(tokens, 2 * width, width) + pooled)

    def decoder_parameters(self, layers: int) -> int:
        """Parameters of VQA's answer decoder."""
        return parameters.answer_decoder(self.spec, layers, self.vocab_size)

    def paired_attention_parameters(self) -> int:
        """Parameters of NLVR2's module."""
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
    """One pair's share of a pre-training step: forward, backward (twice the forward) and the target network's forward.

    Args:
        words: L, tokens of a text as padded.
        chosen: sub-words of a text that are masked.
        contrasted: pairs of the global batch, which ITC compares each pair with.
        group: pairs that a rank has, which the draw of ITM's negatives compares each pair with.
        most: masked sub-words of the text that has the most; the last fusion layer computes that many for every text.
    """
    most = chosen if most is None else most
    network, wanted = Network(spec.model, vocab_size), spec.objectives
    width, patches = spec.model.width, network.patches
    removed = min(max(round(spec.masking.image_ratio * patches), 1), patches - 1)
    forward = network.vision() + network.text(words)
    embedded, extra = network.patch_embedding(), 0.0
    if wanted.itc:
        forward += network.projections()
        forward += 0.0 if wanted.distillation else network.contrast(contrasted)
    if wanted.itm:
        forward += 3 * (network.fusion(words, 1) + linear(1, width, 2))
        extra += linear(1, spec.model.projection_width, group)  # without a backward: negatives are drawn
    heads = wanted.heads(spec.model, DALLE_CODES)
    if wanted.masks_image:
        # A decoder reads all image tokens, so the last fusion layer computes them all.
        last = 1 + patches if any(head.decoder_layers for head in heads) else removed
        forward += network.vision(patches - removed) + network.fusion(words, last)
        embedded += network.patch_embedding(patches - removed)
    if wanted.masks_text:
        forward += network.text(words) + network.fusion(words, most)
    if wanted.mlm:
        forward += network.vocabulary(chosen)
    for head in heads:
        operations = mlp(removed * head.on_image + chosen * head.on_text, head.widths)
        forward += operations + head.decoder_layers * network.layer(1 + patches)
        extra += operations if head.in_target else 0.0
    if spec.predicts_features:
        extra += network.vision()
    if wanted.predicts_fused:
        extra += network.text(words) + network.fusion(words, removed + most)
    if wanted.distillation:
        candidates = network.contrast(contrasted + wanted.distillation.queue)
        extra += network.vision() + network.text(words) + network.projections()
        extra += 2 * candidates  # gradients go back to the online side only
        if wanted.distillation.alpha:
            extra += candidates
            if wanted.mlm:
                masked = network.text(words) + network.fusion(words) + network.vocabulary(chosen)
                extra += network.vision() + masked
    # No gradient goes back to the pixels, so the patch embeddings' backward is one product, not two.
    return 3 * forward - embedded + extra
