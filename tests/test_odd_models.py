"""Models that are unusual and valid: every chapter tells of them without a gap, and its snippets give its numbers."""

import json
import re
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from tests.models import where_it_lies
from vit_demo import questions
from vit_demo.chapters import CHAPTERS, attention, depth, model, patches, picture, projection, tokens
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
    "one filter": dict(hidden_size=1, num_attention_heads=1),
    "patches of one pixel": dict(image_size=8, patch_size=1),
    "one class": dict(num_labels=1),
    "one head, no bias, another activation": dict(num_attention_heads=1, qkv_bias=False, hidden_act="quick_gelu"),
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
    monkeypatch.chdir(tmp_path)
    scene = chapter.scene(look)
    told = json.dumps(scene, allow_nan=False)
    assert len(told) < 3_000_000 and str(look.classifier.files.parent) not in told
    for check in [scene["check"], *scene.get("also", [])]:
        space = {}
        exec(where_it_lies(check["code"], look.classifier.files), space)
        assert space["answer"] == pytest.approx(check["value"], abs=1e-5)


@pytest.mark.parametrize("number, asked", [
    (4, {"what": "jigsaw"}), (4, {"what": "curve"}), (4, {"what": "resize"}), (5, {"what": "rollout"}), (6, {"what": "block", "layer": 1, "token": 0}), *((7, {"what": "map", "method": name}) for name in ("presence", "shapley", "occlusion", "gradcam")),
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


def test_neighbours_are_alike_only_where_their_cosine_says_so():
    assert "are alike:" in tokens.alike(0.5, 0.0) and "hardly more alike than any two:" in tokens.alike(0.05, 0.0)
    assert "less unlike than any two:" in tokens.alike(-0.19, -0.33) and "less alike than any two:" in tokens.alike(-0.5, 0.0)


def test_one_is_not_written_as_several(tmp_path):
    classifier = load(saved(tmp_path / "model", "one layer"))
    look = Look(classifier, trace(classifier, Image.open(SAMPLES[1][0])))
    scene = model.scene(look)
    assert scene["equation"].startswith("1 layer × (") and ["shape", "1 layer, 3 heads, width 48, 4 × 4 patches of 4 px"] in scene["data"]["facts"]
    assert attention.station(classifier) == "1 layer × 3 heads"
    assert model.taken({"epochs": 1, "seconds": 60}) == "1 epoch, 1 minute" and model.taken({"epochs": 2, "seconds": 120}) == "2 epochs, 2 minutes"


@pytest.mark.parametrize("name, told", [("plain", "The first 8 components hold"), ("one number a head", "The first 6 components hold 100\u00a0% of what all 6"),
                                        ("patches of one pixel", "The first 3 components hold 100\u00a0% of what all 48"), ("one filter", None)])
def test_no_more_components_are_counted_than_there_are(tmp_path, name, told):
    classifier = load(saved(tmp_path / "model", name))
    attempt = projection.scene(Look(classifier, trace(classifier, Image.open(SAMPLES[1][0]))))["attempt"]
    assert told in attempt if told else "component" not in attempt


@pytest.mark.parametrize("name, size, tokens, before", [("plain", 2, 65, 17), ("one patch, of a prime side", 1, 1370, 2), ("patches of one pixel", 2, 17, 65)])
def test_another_patch_side_is_one_that_there_is_with_its_true_cost(tmp_path, name, size, tokens, before):
    classifier = load(saved(tmp_path / "model", name))
    scene = patches.scene(Look(classifier, trace(classifier, Image.open(SAMPLES[1][0]))))
    assert re.search(rf"patches of {size} px .* {tokens:,} tokens instead of {before:,}.* {tokens ** 2:,} instead of {before ** 2:,}", scene["attempt"])
    assert next(row for row in scene["data"]["sizes"] if row["patch"] == size)["tokens"] == tokens


def told_of(folder: Path, image: Image.Image, **processor) -> tuple[str, str]:
    """What chapter 1 says to that picture with that processor and a model of 16 px, without markup: story and equation."""
    ViTImageProcessorPil(**processor).save_pretrained(saved(folder, "plain"))
    classifier = load(folder)
    scene = picture.scene(Look(classifier, trace(classifier, image)))
    return tuple(re.sub("<[^>]*>", "", scene[part]).replace("\u00a0", " ") for part in ("story", "equation"))


EXACT, CROP = dict(size={"height": 16, "width": 16}), dict(do_center_crop=True, crop_size={"height": 16, "width": 16})


@pytest.mark.parametrize("size, processor, told", [
    ((16, 16), EXACT, "16 × 16 pixels, just what this model was made for."),
    ((16, 16), CROP | dict(size={"shortest_edge": 20}), "; the model was made for 16 × 16, yet the picture is resized and cut down to its middle."),
    ((20, 30), CROP | dict(size={"shortest_edge": 20}), ", so the picture is cut down to its middle."),
    ((32, 32), EXACT, ", so the picture is resized, which leaves 25 % of its pixels."),
    ((200, 40), EXACT, ", so the picture is resized and squashed into another shape, which leaves 3.2 % of its pixels."),
    ((200, 40), CROP | dict(size={"shortest_edge": 16}), ", so the picture is resized and cut down to its middle."),
    ((200, 40), CROP | dict(size={"height": 20, "width": 20}), ", so the picture is resized, squashed into another shape and cut down to its middle."),
    ((20, 10), CROP | EXACT | dict(do_resize=False), ", so the picture is cut down to its middle and framed in black."),
    ((8, 8), EXACT, ", so the picture is resized.")])
def test_what_is_done_to_a_picture_is_told_as_it_was_done(tmp_path, size, processor, told):
    story, _ = told_of(tmp_path / "model", Image.radial_gradient("L").resize(size).convert("RGB"), **processor)
    assert f"{told} Each pixel" in story and ("resized" in story) == ("resized" in told)


@pytest.mark.parametrize("processor, told, divided", [
    ({}, "divided by 255, then shifted and stretched, which leaves them between −1 and 1.", "255"),
    (dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]), "stretched, which leaves them between −2.12 and 2.64.", "255"),
    (dict(rescale_factor=1 / 127.5, image_mean=[1, 1, 1], image_std=[1, 1, 1]), "divided by 127.5, then shifted and stretched, which leaves them between −1 and 1.", "127.5"),
    (dict(do_normalize=False), "divided by 255, which leaves them between 0 and 1.", "255"),
    (dict(image_mean=[0, 0, 0], image_std=[1, 1, 1]), "divided by 255, which leaves them between 0 and 1.", "255"),
    (dict(do_rescale=False, image_mean=[127.5] * 3, image_std=[127.5] * 3), "red, green and blue, that are shifted and stretched, which leaves them between −1 and 1.", "1"),
    (dict(do_rescale=False, do_normalize=False), "red, green and blue. These", "1")])
def test_what_is_done_to_the_numbers_is_told_as_it_is_done(tmp_path, processor, told, divided):
    story, equation = told_of(tmp_path / "model", Image.new("RGB", (16, 16)), **EXACT, **processor)
    assert told in story and f"(byte ÷ {divided} − mean)" in equation


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
