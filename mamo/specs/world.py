"""Sizes of the embedded world, the generated stand-in for the paper's data sets. The defaults are the demo's."""

from __future__ import annotations

from pydantic import Field, model_validator

from mamo.specs.base import Spec


class CocoSizes(Spec):
    """Images of the generated COCO, by Karpathy's splits; VQA questions are asked about all of them."""

    train: int = Field(3000, ge=1, le=99_999, description="images in Karpathy's train split")
    restval: int = Field(0, ge=0, le=99_999, description="images of val2014 which count as training images")
    val: int = Field(250, ge=1, le=99_999, description="images of the validation gallery")
    test: int = Field(
        500, ge=1, le=99_999, description="images of the test gallery; VQA's held-out validation images"
    )
    test2015: int = Field(
        300, ge=1, le=99_999, description="images of VQA's test-dev questions, without captions"
    )


class FlickrSizes(Spec):
    """Images of the generated Flickr30K."""

    train: int = Field(1500, ge=1, le=99_999, description="training images")
    val: int = Field(250, ge=1, le=99_999, description="images of the validation gallery")
    test: int = Field(500, ge=1, le=99_999, description="images of the test gallery")


class Nlvr2Sizes(Spec):
    """Statements of the generated NLVR2; rounded up to groups of four pairs per sentence."""

    train: int = Field(4000, ge=1, le=99_999, description="training statements")
    dev: int = Field(600, ge=1, le=99_999, description="development statements")
    test: int = Field(600, ge=1, le=99_999, description="statements of test1 (test-P)")


class RefcocoSizes(Spec):
    """Images of the generated RefCOCO+, each with one or two named objects and about three expressions for each."""

    train: int = Field(
        1200, ge=1, le=99_999, description="of COCO's training images, those with two objects or more"
    )
    val: int = Field(250, ge=1, le=99_999, description="further images of train2014 for validation")
    testA: int = Field(
        250, ge=1, le=99_999, description="further images of train2014 whose expressions name animals"
    )
    testB: int = Field(
        250, ge=1, le=99_999, description="further images of train2014 whose expressions name other things"
    )


class WorldSpec(Spec):
    """Everything that decides the bytes of the generated releases."""

    seed: int = Field(
        1, description="seed of all draws; every set derives its own stream from it and its name"
    )
    canvas: int = Field(192, ge=64, le=1024, description="width and height of the images in pixels")
    grid: int = Field(4, ge=3, le=8, description="cells per side of the board on which the objects stand")
    kinds: int = Field(
        24, ge=8, le=32, description="kinds of things (animals, fruit, vehicles, household items)"
    )
    objects: tuple[float, ...] = Field(
        (0.08, 0.32, 0.35, 0.20, 0.05),
        min_length=2,
        max_length=8,
        description="shares of scenes with one object, two, three and so on",
    )
    twins: bool = Field(
        True, description="training images of COCO and Flickr30K in pairs that differ in one respect"
    )
    gallery_twins: float = Field(
        0.3, ge=0, le=1, description="share of the val and test galleries that come in such pairs"
    )
    web_noise: float = Field(
        0.3, ge=0, le=1, description="share of SBU captions with a false statement; CC3M has half of it"
    )
    questions_per_image: int = Field(6, ge=1, le=12, description="VQA questions about each image")
    coco: CocoSizes = CocoSizes()
    flickr30k: FlickrSizes = FlickrSizes()
    visual_genome: int = Field(1500, ge=1, le=99_999, description="images of Visual Genome")
    regions_per_image: int = Field(
        5, ge=1, le=12, description="Visual Genome's region descriptions of each image"
    )
    visual_genome_questions: int = Field(
        4, ge=1, le=12, description="Visual Genome's questions about each image"
    )
    sbu: int = Field(1500, ge=1, le=99_999, description="images of SBU Captions")
    cc3m: int = Field(3000, ge=1, le=99_999, description="images of Conceptual Captions")
    nlvr2: Nlvr2Sizes = Nlvr2Sizes()
    refcoco_plus: RefcocoSizes = RefcocoSizes()

    @model_validator(mode="after")
    def _cells_in_pixels(self) -> WorldSpec:
        if self.canvas % self.grid:
            raise ValueError(
                f"canvas ({self.canvas}) must be a multiple of grid ({self.grid}), so that cells meet patches"
            )
        if self.canvas // self.grid < 16:
            raise ValueError(
                f"canvas ({self.canvas}) / grid ({self.grid}) leaves cells below 16 pixels: nothing to recognise"
            )
        if min(self.objects) < 0 or abs(sum(self.objects) - 1) > 1e-6:
            raise ValueError(f"objects {self.objects}: the shares must not be negative and must add up to 1")
        if len(self.objects) > self.grid**2:
            raise ValueError(f"{len(self.objects)} objects do not fit on {self.grid} x {self.grid} cells")
        return self
