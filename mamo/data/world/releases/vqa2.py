"""Generated VQA v2: questions and ten answers each, about the images of COCO; and the images of its test set."""

from __future__ import annotations

from collections.abc import Iterable

from mamo.data.world.questions import ask, ten_answers
from mamo.data.world.releases.karpathy import COCO_IDS, coco_name
from mamo.data.world.releases.publisher import Publisher
from mamo.data.world.scene import Scene, stream


def write_vqa2(publisher: Publisher, coco: dict[str, list[Scene]]) -> None:
    """Write ``vqa/`` and ``coco/test2015``; the answers of test-dev too, which the real release withholds.

    Args:
        publisher: where to write.
        coco: the scenes of ``coco/`` by Karpathy's splits.
    """
    test = publisher.scenes("coco/test2015", publisher.spec.coco.test2015)
    for image_id, scene in _numbered("test2015", test):
        publisher.photograph(scene, f"coco/test2015/{coco_name('test2015', image_id)}", "vqa2", "test")
    _write(publisher, "train2014", _numbered("train", coco["train"]))
    _write(
        publisher,
        "val2014",
        [pair for split in ("restval", "val", "test") for pair in _numbered(split, coco[split])],
    )
    _write(publisher, "test-dev2015", _numbered("test2015", test))
    _write(publisher, "test2015", _numbered("test2015", test), with_answers=False)


def _numbered(split: str, scenes: Iterable[Scene]) -> list[tuple[int, Scene]]:
    return list(enumerate(scenes, COCO_IDS[split]))


def _write(
    publisher: Publisher, part: str, images: list[tuple[int, Scene]], with_answers: bool = True
) -> None:
    spec = publisher.spec
    questions, annotations = [], []
    for image_id, scene in images:
        rng = stream(spec.seed, "vqa2", image_id)
        for place, question in enumerate(ask(rng, scene, spec.kinds, spec.questions_per_image)):
            question_id = 1000 * image_id + place
            text = f"{question.text[0].upper()}{question.text[1:]}"
            questions.append({"image_id": image_id, "question": text, "question_id": question_id})
            answers = [
                {"answer": answer, "answer_confidence": "yes", "answer_id": number}
                for number, answer in enumerate(ten_answers(rng, question), 1)
            ]
            annotations.append(
                {
                    "question_type": question.type,
                    "multiple_choice_answer": question.answer,
                    "answers": answers,
                    "image_id": image_id,
                    "answer_type": question.answer_type,
                    "question_id": question_id,
                }
            )
    head = {"info": {"description": "generated"}, "data_type": "mscoco", "data_subtype": part, "license": {}}
    file = f"vqa/v2_OpenEnded_mscoco_{part}_questions.json"
    publisher.write_json(file, head | {"task_type": "Open-Ended", "questions": questions})
    if with_answers:
        publisher.write_json(f"vqa/v2_mscoco_{part}_annotations.json", head | {"annotations": annotations})
