"""Visual question answering: a decoder learns to generate answers and ranks a list of them (appendix A).

Shapes: B questions, A answers of the question that has the most, M candidates, T sub-words of an answer, L of a question, V
visual tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mamo.data.batches.collate import Batch
from mamo.data.batches.transforms import EvalTransform
from mamo.data.releases import candidates
from mamo.data.releases.vqa2 import REST
from mamo.data.releases.vqa_server import SCORES, SUBMISSION, blank_scores, submission
from mamo.data.store.manifest import Row
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.tokenizer import Tokenizer
from mamo.jobs.vqa import EVALUATED_ON_VAL, VALIDATION_QUESTIONS
from mamo.model.decoder import AnswerDecoder, FusedContext, context_of
from mamo.model.mamo import Mamo
from mamo.specs.finetune import JobSpec, VqaSpec
from mamo.tasks.evaluating import encoded_records, evaluating
from mamo.tasks.expectations import StepExpectations
from mamo.tasks.task import DownstreamTask, Evaluation, without_alignment
from mamo.tasks.vqa_accuracy import QuestionOnly, mean_by, question_scores


class VqaTask(DownstreamTask):
    """Conditional language modelling of answers; evaluation picks among a fixed list of candidates.

    Args:
        answers: candidates in normalised form, most frequent first (``mamo.data.releases.candidates``).

    Raises:
        ValueError: no candidates.
    """

    spec: VqaSpec

    def __init__(
        self,
        network: Mamo,
        spec: VqaSpec,
        tokenizer: Tokenizer,
        transform_eval: EvalTransform,
        answers: Sequence[str],
    ) -> None:
        super().__init__(network, spec, tokenizer, transform_eval)
        # Evaluation ranks a fixed list: a free answer that nobody gave could only be wrong (appendix A).
        if not answers:
            raise ValueError(
                "no answer candidates: lower min_answer_count, or prepare vqa2 with its annotations"
            )
        self.answers = list(answers)
        self.decoder = AnswerDecoder(network, spec.decoder_layers, tokenizer.cls_id)
        ids, mask = self._encode_answers(self.answers)
        self.register_buffer("candidate_ids", ids, persistent=False)
        self.register_buffer("candidate_mask", mask, persistent=False)
        self.candidate_ids: Tensor
        self.candidate_mask: Tensor

    @classmethod
    def build(
        cls, network: Mamo, spec: JobSpec, tokenizer: Tokenizer, data: Prepared, world: Path | None
    ) -> VqaTask:
        """Build the task with the candidate answers of its first data set."""
        assert isinstance(spec, VqaSpec)
        answers = candidates.read(data.path, spec.min_answer_count)
        return cls(network, spec, tokenizer, EvalTransform(spec.transform), answers)

    def _encode_answers(self, answers: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokenise answers: sub-words closed by [SEP], without [CLS], and their mask, (M, T) each."""
        ids, mask = self.tokenizer.encode(answers, self.network.spec.max_words)
        return ids[:, 1:], mask[:, 1:]

    def context(self, visual_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> FusedContext:
        """Encode questions and fuse them with their images' features."""
        text = self.network.encode_text(ids_BL, mask_BL)
        return context_of(self.network.fuse(visual_BVD, text, mask_BL), mask_BL)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the weighted negative log-likelihood of all answers, per question.

        Args:
            batch: image (B, 3, S, S), ids and mask (B, L) of the questions, ``answers`` B lists of texts and
                ``weights`` B lists of their weights.
        """
        image, ids, mask = batch["image"], batch["ids"], batch["mask"]
        # Questions have different numbers of answers: all are tokenised in one go, and laid into a padded (B, A, T).
        counts = torch.tensor([len(answers) for answers in batch["answers"]])
        given = torch.arange(int(counts.max())) < counts[:, None]
        flat_ids, flat_mask = self._encode_answers(
            [answer for answers in batch["answers"] for answer in answers]
        )
        ids_BAT = flat_ids.new_full((*given.shape, flat_ids.shape[1]), self.tokenizer.pad_id)
        mask_BAT = torch.zeros_like(ids_BAT)
        weights_BA = torch.zeros(given.shape)
        ids_BAT[given], mask_BAT[given] = flat_ids, flat_mask
        weights_BA[given] = torch.tensor([weight for weights in batch["weights"] for weight in weights])

        context = self.context(self.network.encode_image(image), ids, mask)
        log_BA = self.decoder(ids_BAT.to(image.device), mask_BAT.to(image.device), context)
        # Places without an answer have weight 0.
        return {"loss": -(weights_BA.to(image.device) * log_BA).sum() / len(image)}

    def rank(self, context: FusedContext) -> tuple[Tensor, Tensor]:
        """Score the task's candidates; see :meth:`mamo.model.decoder.AnswerDecoder.rank`."""
        return self.decoder.rank(context, self.candidate_ids, self.candidate_mask, self.spec.shortlist)

    def expectations(self) -> StepExpectations:
        """Expect no gradient in the heads of alignment."""
        return without_alignment(self.network)

    def predict(self, data: Prepared, records: Sequence[Row]) -> list[str]:
        """Name the best candidate for each question."""
        best = torch.zeros(len(records), dtype=torch.long)
        images = [(record["image"],) for record in records]
        questions = [record["question"] for record in records]
        with evaluating(self, self.spec.precision):
            # An image is encoded once for all questions about it.
            for part in encoded_records(self, data, images, questions):
                context = self.context(part.visual[:, 0], part.ids, part.mask)
                chosen, scores = self.rank(context)
                # The shortlist is in the order of first sub-words, so the best whole answer may stand anywhere in it.
                best[part.records] = chosen.gather(1, scores.argmax(1, keepdim=True))[:, 0].cpu()
        return [self.answers[i] for i in best.tolist()]

    def validate(self, data: Prepared) -> float:
        """Return the official accuracy in percent on the first questions of val."""
        stored = data.records("val")
        records = _answered(data, "val", [stored[i] for i in range(min(len(stored), VALIDATION_QUESTIONS))])
        scores = question_scores(self.predict(data, records), records)
        return sum(scores) / len(scores)

    def items_of(self, data: Prepared, evaluation: Evaluation) -> dict[str, int]:
        """Expect all questions of the split that was evaluated."""
        return {"": data.manifest["splits"][evaluation.split]["records"]}

    def test(self, data: Prepared) -> Evaluation:
        """Measure official accuracy on the test split, or on val where the test split's answers are not public.

        The flag ``evaluated_on_val`` says which. The answers to all test
        questions come along as a file in the form that the evaluation server takes, with one to enter its scores in.
        """
        splits = data.manifest["splits"]
        test = list(data.records("test")) if "test" in splits else []
        predictions = self.predict(data, test)
        public = any(record["answers"] for record in test)
        # The server wants an answer to every question, those without public answers too.
        files = {}
        if test:
            rest = list(data.records(REST)) if REST in splits else []
            files[SUBMISSION] = submission([*test, *rest], [*predictions, *self.predict(data, rest)])
            if not public:
                files[SCORES] = blank_scores()
        # The test split's answers are not public for VQA v2: then val, held out from training, takes its place.
        records = test
        if not public:
            records = list(data.records("val"))
            predictions = self.predict(data, records)
        split = "test" if public else "val"
        _answered(data, split, records)

        scores = question_scores(predictions, records)
        types = [record["type"] for record in records]
        # What questions are worth without the image: the chance level that means something here.
        guess = QuestionOnly(data.records("train"))
        guesses = question_scores([guess(record["question"], record["type"]) for record in records], records)
        metrics = {
            "accuracy": sum(scores) / len(scores),
            "chance/accuracy": sum(guesses) / len(guesses),
        }
        items = {"question_id": [record["question_id"] for record in records], "score": scores, "type": types}
        return Evaluation(
            metrics,
            items,
            files,
            split=split,
            flags={EVALUATED_ON_VAL: not public},
            breakdown={f"accuracy/{name}": score for name, score in mean_by(types, scores).items()},
        )


def _answered(data: Prepared, split: str, records: list[Row]) -> list[Row]:
    lacking = sum(not record["answers"] and not record.get("annotators") for record in records)
    if lacking or not records:
        what = f"{lacking} of {len(records)} questions lack answers" if records else "there are no questions"
        raise PreparedError(f"{data.path}, split '{split}': {what}; prepare it from complete annotations")
    return records
