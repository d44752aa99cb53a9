"""Generated Visual Genome: region descriptions with boxes, and questions with one answer."""

from __future__ import annotations

from mamo.data.world.grammar import NUMBERS
from mamo.data.world.questions import ask
from mamo.data.world.regions import describe_regions
from mamo.data.world.releases.publisher import Publisher
from mamo.data.world.scene import stream


def write_visual_genome(publisher: Publisher) -> None:
    """Write ``visual_genome/``, every third image in the release's second folder; none of its images is COCO's."""
    spec = publisher.spec
    images, regions, questions = [], [], []
    for place, scene in enumerate(publisher.scenes("visual_genome", spec.visual_genome)):
        image_id = place + 1
        folder = "VG_100K_2" if place % 3 == 2 else "VG_100K"
        file = f"visual_genome/{folder}/{image_id}.jpg"
        publisher.path(file).write_bytes(publisher.encode(scene))
        publisher.note(scene, file, str(image_id), "visual_genome", "train")
        size = {"width": spec.canvas, "height": spec.canvas}
        images.append(
            {"image_id": image_id, "url": f"{folder}/{image_id}.jpg", "coco_id": None, "flickr_id": None}
            | size
        )
        rng = stream(spec.seed, "visual_genome", "regions", place)
        described = describe_regions(rng, scene, publisher.boxes(scene), spec.canvas, spec.regions_per_image)
        entry = []
        for number, (phrase, _, (x, y, width, height)) in enumerate(described):
            identity = {"region_id": 100 * image_id + number, "image_id": image_id}
            entry.append(identity | {"phrase": phrase, "x": x, "y": y, "width": width, "height": height})
        regions.append({"id": image_id, "regions": entry})
        rng = stream(spec.seed, "visual_genome", "questions", place)
        entry = []
        for number, question in enumerate(ask(rng, scene, spec.kinds, spec.visual_genome_questions)):
            answer = question.answer
            if answer.isdigit() and rng.random() < 0.5:
                answer = NUMBERS[int(answer)]
            answer = f"{answer[0].upper()}{answer[1:]}."
            words = f"{question.text[0].upper()}{question.text[1:]}"
            identity = {"qa_id": 100 * image_id + number, "image_id": image_id}
            entry.append(identity | {"question": words, "answer": answer, "a_objects": [], "q_objects": []})
        questions.append({"id": image_id, "qas": entry})
    publisher.write_json("visual_genome/image_data.json", images)
    publisher.write_json("visual_genome/region_descriptions.json", regions)
    publisher.write_json("visual_genome/question_answers.json", questions)
