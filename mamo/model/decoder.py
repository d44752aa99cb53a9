"""The answer decoder of VQA: a causal transformer that reads the fused sequence (section 4.3, appendix A).

An answer is the sequence [CLS] sub-words [SEP]; [CLS] begins it and is never predicted, [SEP] ends it and is.
All answers to a question are packed into one sequence: one [CLS], then the sub-words of every answer, each of
which sees that [CLS] and the earlier sub-words of its own answer only. So the question's keys and values and
the first step are computed once for all its answers, and padding costs next to nothing.

Shapes: B questions, A answers per question, T sub-words of an answer (with [SEP], without [CLS]), P packed
sub-words, S tokens of the fused sequence, V entries of the vocabulary, D width.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.fusion import Fused
from mamo.model.mamo import Mamo
from mamo.model.transformer import PostNormLayer, padding_bias

# Rows of logits at a time: 30 MB at BERT's vocabulary. Much more is several times slower on CPU.
LOGIT_ROWS = 256
CANDIDATES_AT_ONCE = 128
# A fusion layer's self-attention is what cross-attention starts from.
_CROSS = {"attention": "cross_attention", "norm_attention": "norm_cross"}


class FusedContext(NamedTuple):
    """The fused sequence of questions and images, which the decoder reads."""

    states: Tensor
    """(B, S, D): fused visual tokens, then fused text tokens."""
    bias: Tensor
    """(B, 1, 1, S): hides the question's padding."""


def context_of(fused: Fused, mask_BL: Tensor) -> FusedContext:
    """Join fused representations to the sequence [visual ; text], with a bias that hides the questions' padding."""
    seen = torch.cat([mask_BL.new_ones(fused.image.shape[:2]), mask_BL], 1)
    return FusedContext(torch.cat([fused.image, fused.text], 1), padding_bias(seen))


class PackedAnswers(NamedTuple):
    """All answers to each question as one sequence that starts with [CLS] at place 0."""

    tokens: Tensor
    """(B, P) sub-words that are read."""
    positions: Tensor
    """(B, P) place of each within its own answer."""
    bias: Tensor
    """(B, 1, P, P): hides padding, other answers and later sub-words."""
    targets: Tensor
    """(B, P) the sub-word after each; meaningless for [CLS], which many answers follow."""
    owners: Tensor
    """(B, P) the answer each belongs to, -1 for [CLS]."""
    predicting: Tensor
    """(B, P) true where ``targets`` counts."""


def pack_answers(ids_BAT: Tensor, mask_BAT: Tensor, cls_id: int) -> PackedAnswers:
    """Put the answers to a question behind one [CLS].

    A sub-word is read in order to predict the next one, so [SEP] and padding are left out.
    """
    batch, answers, length = ids_BAT.shape
    inputs, targets = ids_BAT[..., :-1].flatten(1), ids_BAT[..., 1:].flatten(1)
    real = mask_BAT[..., 1:].flatten(1).bool()
    # Real sub-words to the front, in their order; what is behind the longest question's is cut off.
    longest = int(real.sum(1).max()) if real.numel() else 0
    order = torch.sort(real.to(torch.uint8), dim=1, descending=True, stable=True).indices[:, :longest]
    owners = torch.arange(answers, device=ids_BAT.device).repeat_interleave(length - 1)[order]
    positions = torch.arange(1, length, device=ids_BAT.device).repeat(answers)[order]

    def after_cls(first: int, rest: Tensor) -> Tensor:
        return torch.cat([rest.new_full((batch, 1), first), rest], 1)

    owners, positions = after_cls(-1, owners), after_cls(0, positions)
    real = real.gather(1, order)
    # A sub-word sees [CLS] and the earlier sub-words of its own answer, as if it were alone.
    own = (owners[:, :, None] == owners[:, None, :]) & (positions[:, :, None] >= positions[:, None, :])
    visible = ((owners == -1)[:, None, :] | own) & after_cls(True, real)[:, None, :]
    return PackedAnswers(
        tokens=after_cls(cls_id, inputs.gather(1, order)),
        positions=positions,
        bias=torch.zeros(visible.shape, device=visible.device).masked_fill(~visible, -1e4)[:, None],
        targets=after_cls(0, targets.gather(1, order)),
        owners=owners,
        predicting=after_cls(False, real),
    )


class AnswerDecoder(nn.Module):
    """Scores answers given the fused sequence of (image, question).

    Everything starts from pre-trained weights (appendix A). Layer i copies layer i of the fusion encoder,
    modulo its number of layers. The fusion encoder has no cross-attention: it attends to both modalities by
    self-attention over their concatenation. That self-attention is what learned to read tokens of both
    modalities, so its weights, and its norm's, are what cross-attention starts from too. Embeddings copy
    those of the text encoder; the output layer shares their word embedding and adds a bias that starts at
    zero.
    """

    def __init__(self, network: Mamo, layers: int, cls_id: int) -> None:
        super().__init__()
        spec = network.spec
        self.cls_id = cls_id
        self.embedding = copy.deepcopy(network.text.embedding)
        self.bias = nn.Parameter(torch.zeros(network.vocab_size))
        self.layers = nn.ModuleList()
        for number in range(layers):
            layer = PostNormLayer(spec.width, spec.heads, spec.mlp_ratio, spec.dropout, cross=True)
            # With more layers than the fusion encoder has, its own are copied again from the first on.
            source = network.fusion.layers[number % spec.fusion_layers].state_dict()
            cross = {}
            for name, tensor in source.items():
                part, rest = name.split(".", 1)
                if part in _CROSS:
                    cross[f"{_CROSS[part]}.{rest}"] = tensor
            layer.load_state_dict(source | cross)
            self.layers.append(layer)

    def states(self, packed: PackedAnswers, context: FusedContext) -> Tensor:
        """Compute the states of the packed sub-words: (B, P, D)."""
        embedding = self.embedding
        x = embedding.words(packed.tokens) + embedding.positions(packed.positions)
        x = embedding.dropout(embedding.norm(x + embedding.segments.weight[0]))
        for layer in self.layers:
            x = layer(x, packed.bias, context.states, context.bias)
        return x

    def log_probabilities(self, states_MD: Tensor) -> Tensor:
        """Compute log-probabilities of the next sub-word, in float32: (M, D) -> (M, V)."""
        # Outside autocast: candidates that differ in the third digit would tie in bf16.
        with torch.autocast(states_MD.device.type, enabled=False):
            logits = F.linear(states_MD.float(), self.embedding.words.weight.float(), self.bias.float())
            return logits.log_softmax(-1)

    def first(self, context: FusedContext) -> Tensor:
        """Compute log-probabilities of an answer's first sub-word: (B, V)."""
        nothing = torch.zeros(len(context.states), 0, 1, dtype=torch.long, device=context.states.device)
        return self.log_probabilities(self.states(pack_answers(nothing, nothing, self.cls_id), context)[:, 0])

    def rank(
        self, context: FusedContext, ids_MT: Tensor, mask_MT: Tensor, shortlist: int
    ) -> tuple[Tensor, Tensor]:
        """Score a list of candidates by their log-probability.

        The likeliest first sub-words decide which ``shortlist`` candidates are scored in full; candidates that share a first
        sub-word keep the order of the list.

        Args:
            ids_MT: sub-words of the M candidates, closed by [SEP], without [CLS].
            mask_MT: 1: a sub-word, 0: padding.

        Returns:
            indices of candidates and their log-probabilities, both (B, shortlist).
        """
        batch, candidates = len(context.states), len(ids_MT)
        # One step of the decoder serves all candidates; a full score of each of thousands would not be affordable (ALBEF).
        if shortlist < candidates:
            first = self.first(context)[:, ids_MT[:, 0]]
            chosen = torch.sort(first, dim=1, descending=True, stable=True).indices[:, :shortlist]
        else:
            chosen = torch.arange(candidates, device=context.states.device).expand(batch, -1)
        parts = [self(ids_MT[part], mask_MT[part], context) for part in chosen.split(CANDIDATES_AT_ONCE, 1)]
        return chosen, torch.cat(parts, 1)

    def forward(self, ids_BAT: Tensor, mask_BAT: Tensor, context: FusedContext) -> Tensor:
        """Score each answer by its log-probability, the sum over its sub-words with the closing [SEP]: (B, A), float32.

        Args:
            ids_BAT: sub-words of each answer, closed by [SEP], without [CLS].
            mask_BAT: 1: a sub-word, 0: padding. Scores of answers that are nothing but padding mean nothing.
            context: of the B questions.
        """
        packed = pack_answers(ids_BAT, mask_BAT, self.cls_id)
        states = self.states(packed, context)
        # [CLS] predicts the first sub-word of every answer; it is computed once.
        total = self.log_probabilities(states[:, 0]).gather(1, ids_BAT[..., 0])
        predicting = states[packed.predicting].split(LOGIT_ROWS)
        targets = packed.targets[packed.predicting].split(LOGIT_ROWS)
        parts = [
            self.log_probabilities(rows).gather(1, target[:, None])[:, 0]
            for rows, target in zip(predicting, targets, strict=True)
        ]
        question, place = packed.predicting.nonzero(as_tuple=True)
        answer = packed.owners[question, place] + question * total.shape[1]
        return total.flatten().index_add(0, answer, torch.cat(parts)).view_as(total)
