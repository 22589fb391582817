"""Models that are unusual and valid: every chapter tells of them without a gap, and its snippets give its numbers."""

import json
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from vit_demo import questions
from vit_demo.chapters import CHAPTERS, depth, patches, picture, tokens
from vit_demo.chapters.scene import Look
from vit_demo.classifier import load
from vit_demo.looks import Visit, look_at
from vit_demo.samples import SAMPLES
from vit_demo.trace import TraceCache, trace

PLAIN = dict(image_size=16, patch_size=4, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, num_labels=5)
ODD = {
    "one patch, of a prime side": dict(image_size=37, patch_size=37),
    "two patches": dict(image_size=[8, 16], patch_size=8),
    "one layer": dict(num_hidden_layers=1),
    "one number a head": dict(hidden_size=6, num_attention_heads=6),
    "one class": dict(num_labels=1),
    "classes that are all alike": dict(num_labels=40),
}


def saved(folder: Path, name: str) -> Path:
    torch.manual_seed(0)
    settings = PLAIN | ODD.get(name, {})
    names = {number: f"class {number}" for number in range(settings.pop("num_labels"))}
    made = ViTForImageClassification(ViTConfig(**settings, initializer_range=0.2, id2label=names, label2id={label: number for number, label in names.items()}))
    if name == "classes that are all alike":
        torch.nn.init.zeros_(made.classifier.weight)
    made.save_pretrained(folder)
    side = settings["image_size"]
    height, width = side if isinstance(side, list) else (side, side)
    ViTImageProcessorPil(size={"height": height, "width": width}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=ODD)
def look(request, tmp_path_factory):
    classifier = load(saved(tmp_path_factory.mktemp("odd") / "model", request.param))
    return Look(classifier, trace(classifier, Image.open(SAMPLES[1][0])), picture_file=f"vit_demo/samples/{SAMPLES[1][0].name}")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.NAME)
def test_every_chapter_has_its_numbers_and_gives_them_again(chapter, look, tmp_path, monkeypatch):
    (tmp_path / "vit_demo").symlink_to(Path(patches.__file__).parent.parent)
    (tmp_path / look.classifier.name).symlink_to(look.classifier.files)
    monkeypatch.chdir(tmp_path)
    scene = chapter.scene(look)
    assert len(json.dumps(scene, allow_nan=False)) < 3_000_000
    for check in [scene["check"], *scene.get("also", [])]:
        space = {}
        exec(check["code"], space)
        assert space["answer"] == pytest.approx(check["value"], abs=1e-5)


@pytest.mark.parametrize("number, asked", [
    (4, {"what": "jigsaw"}), (4, {"what": "curve"}), (5, {"what": "rollout"}), *((7, {"what": "map", "method": name}) for name in ("presence", "shapley", "occlusion", "gradcam")),
    (8, {"what": "erase", "kept": []}), (8, {"what": "reveal", "kept": [0]}), (8, {"what": "each"}),
])
def test_what_is_asked_of_them_is_answered(look, number, asked):
    *_, last = CHAPTERS[number - 1].answer(look, questions.read(look, number, asked))
    json.dumps(last, allow_nan=False)


def test_of_classes_that_are_all_alike_the_first_answers(tmp_path):
    classifier = load(saved(tmp_path / "model", "classes that are all alike"))
    look = Look(classifier, trace(classifier, Image.open(SAMPLES[1][0])))
    assert look.ranked == list(range(40)) and "class 0" in depth.scene(look)["story"]


@pytest.mark.parametrize("name, told", [("one patch, of a prime side", None), ("two patches", None), ("one layer", "hardly more alike than any two")])
def test_of_places_nothing_is_told_that_the_cosines_do_not_say(tmp_path, name, told):
    classifier = load(saved(tmp_path / "model", name))
    story = tokens.scene(Look(classifier, trace(classifier, Image.open(SAMPLES[1][0]))))["story"]
    assert (told in story) if told else "alike" not in story


def test_cutting_off_is_not_squashing(tmp_path):
    folder = saved(tmp_path / "model", "plain")
    wide = Image.new("RGB", (200, 40))
    classifier = load(folder)
    assert "squashed into that shape" in picture.scene(Look(classifier, trace(classifier, wide)))["story"]
    ViTImageProcessorPil(size={"shortest_edge": 16}, do_center_crop=True, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    classifier = load(folder)
    story = picture.scene(Look(classifier, trace(classifier, wide)))["story"]
    assert "squashed" not in story and "outside of its middle is cut off" in story


def rotated() -> bytes:
    """A photo whose file says that it lies on its side."""
    held, image = BytesIO(), Image.radial_gradient("L").crop((0, 0, 120, 200)).convert("RGB")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(held, "JPEG", exif=exif)
    return held.getvalue()


def see_through() -> bytes:
    held, image = BytesIO(), Image.radial_gradient("L").convert("RGBA")
    image.putalpha(Image.linear_gradient("L"))
    image.save(held, "PNG")
    return held.getvalue()


def deep() -> bytes:
    held = BytesIO()
    Image.radial_gradient("L").convert("I").point(lambda level: level * 257).convert("I;16").save(held, "PNG")
    return held.getvalue()


@pytest.mark.parametrize("make", [rotated, see_through, deep], ids=lambda make: make.__name__)
@pytest.mark.parametrize("chapter", [picture, patches, tokens, depth], ids=lambda chapter: chapter.NAME)
def test_a_snippet_reads_the_visitors_own_picture_as_the_page_does(chapter, make, tmp_path, monkeypatch):
    folder = saved(tmp_path / "model", "plain")
    (tmp_path / "your-picture.png").write_bytes(make())
    monkeypatch.chdir(tmp_path)
    check = chapter.scene(look_at(Visit(sample=None, upload=make()), load(folder), TraceCache(10**8)))["check"]
    space = {}
    exec(check["code"], space)
    assert space["answer"] == pytest.approx(check["value"], abs=1e-5)
