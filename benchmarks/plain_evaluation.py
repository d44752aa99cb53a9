"""Re-ranking by ITM and ranking of answers, as one would write them down at first: the measure of the product's arrangement."""

from __future__ import annotations

import torch
from torch import Tensor

from mamo.model.decoder import FusedContext
from mamo.model.mamo import Mamo
from mamo.model.transformer import causal_bias
from mamo.tasks.vqa import VqaTask


def score(network: Mamo, visual: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    """ITM's "matched" over "not matched" of pairs, all tokens through all fusion layers: (P,)."""
    logits = network.itm_logits(network.fuse(visual, text, mask)).float()
    return logits[:, 1] - logits[:, 0]


def rerank_anew(
    network: Mamo, image: Tensor, ids: Tensor, mask: Tensor, texts_NK: Tensor, images_MK: Tensor
) -> tuple[Tensor, Tensor]:
    """Every query with its candidates goes through the whole network, texts padded to the gallery's longest.

    Args:
        image: (N, 3, S, S). ids, mask: (M, L).
        texts_NK: each image's candidates among the texts. images_MK: each text's among the images.

    Returns:
        scores of both directions, (N, K) and (M, K).
    """
    of_images, of_texts = [], []
    for query, candidates in enumerate(texts_NK):
        visual = network.encode_image(image[query : query + 1]).expand(len(candidates), -1, -1)
        text = network.encode_text(ids[candidates], mask[candidates])
        of_images.append(score(network, visual, text, mask[candidates]))
    for query, candidates in enumerate(images_MK):
        text = network.encode_text(ids[query : query + 1], mask[query : query + 1])
        visual = network.encode_image(image[candidates])
        count = len(candidates)
        text, seen = text.expand(count, -1, -1), mask[query : query + 1].expand(count, -1)
        of_texts.append(score(network, visual, text, seen))
    return torch.stack(of_images), torch.stack(of_texts)


def rerank_cached(
    network: Mamo, image: Tensor, ids: Tensor, mask: Tensor, texts_NK: Tensor, images_MK: Tensor
) -> tuple[Tensor, Tensor]:
    """Re-rank like :func:`rerank_anew`, with images and texts encoded once, as released code of the kind does."""
    visual, text = network.encode_image(image), network.encode_text(ids, mask)
    of_images = [
        score(network, visual[query].expand(len(candidates), -1, -1), text[candidates], mask[candidates])
        for query, candidates in enumerate(texts_NK)
    ]
    of_texts = [
        score(
            network,
            visual[candidates],
            text[query].expand(len(candidates), -1, -1),
            mask[query].expand(len(candidates), -1),
        )
        for query, candidates in enumerate(images_MK)
    ]
    return torch.stack(of_images), torch.stack(of_texts)


def rank_answers(task: VqaTask, image: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Each question's image is encoded for it; each shortlisted answer is a sequence of its own that reads its own copy of the
    fused question, with logits over the vocabulary at every place.

    Args:
        image: (B, 3, S, S), one for each question. ids, mask: (B, L).

    Returns:
        indices of candidates and their log-probabilities, both (B, shortlist).
    """
    decoder, candidates = task.decoder, task.candidate_ids
    context = task.context(task.network.encode_image(image), ids, mask)
    begin = ids.new_full((len(ids), 1), task.tokenizer.cls_id)
    first = decode(task, begin, torch.ones_like(begin), context)[:, 0]
    size = min(task.spec.shortlist, len(task.answers))
    order = first[:, candidates[:, 0]].sort(dim=1, descending=True, stable=True).indices
    chosen = order[:, :size]
    answers, given = candidates[chosen].flatten(0, 1), task.candidate_mask[chosen].flatten(0, 1)
    begin = answers.new_full((len(answers), 1), decoder.cls_id)
    read = torch.cat([begin, answers[:, :-1]], 1)
    seen = torch.cat([torch.ones_like(begin), given[:, :-1]], 1)
    repeated = FusedContext(
        context.states.repeat_interleave(size, 0), context.bias.repeat_interleave(size, 0)
    )
    log_p = decode(task, read, seen, repeated).gather(2, answers[..., None])[..., 0]
    return chosen, (log_p * given).sum(1).view_as(chosen)


def decode(task: VqaTask, ids: Tensor, mask: Tensor, context: FusedContext) -> Tensor:
    """Log-probabilities of the next sub-word at every place: (R, T) -> (R, T, V)."""
    decoder = task.decoder
    x, bias = decoder.embedding(ids), causal_bias(mask)
    for layer in decoder.layers:
        x = layer(x, bias, context.states, context.bias)
    return decoder.log_probabilities(x)
