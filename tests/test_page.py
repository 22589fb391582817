"""The page over HTTP: its public endpoints, and what bad input gets."""

import io
import os
import struct
import zlib

import httpx
import pytest
import torch
from huggingface_hub import HfApi
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.models import LABELS, save_model
from tests.served import call, serve, upload
from vit_demo import questions
from vit_demo.chapters import CHAPTERS
from vit_demo.classifier import load
from vit_demo.explain.methods import METHODS
from vit_demo.explain.relevance import target
from vit_demo.models import Models
from vit_demo.samples import SAMPLES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("page") / "model")


@pytest.fixture(scope="module")
def page(folder):
    with serve(Models(str(folder))) as address:
        yield address


def plain_top_k(folder, picture: Image.Image, k: int) -> dict:
    model, processor = ViTForImageClassification.from_pretrained(folder), ViTImageProcessorPil.from_pretrained(folder)
    with torch.no_grad():
        top = model(**processor(picture, return_tensors="pt")).logits[0].softmax(-1).topk(k)
    return {model.config.id2label[i]: p for i, p in zip(top.indices.tolist(), top.values.tolist(), strict=True)}


def png(width: int, height: int) -> bytes:
    """The header of a picture of that size, and no more."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(b"0"))


def test_predict_equals_plain_transformers(page, folder):
    for (path, _, _), k in zip(SAMPLES[:3], (5, 1, 10), strict=True):
        event, told = call(page, "predict", upload(page, path.name, path.read_bytes()), k)
        assert event == "complete"
        assert told == pytest.approx(plain_top_k(folder, Image.open(path), k), abs=1e-5)
        assert list(told.values()) == sorted(told.values(), reverse=True)


@pytest.mark.parametrize("k, count", [(0, 1), (3.7, 3), (10 ** 6, 10)])
def test_k_is_held_within_bounds(page, k, count):
    path = SAMPLES[0][0]
    assert len(call(page, "predict", upload(page, path.name, path.read_bytes()), k)[1]) == count


@pytest.mark.parametrize("name, content, line", [
    ("a.png", b"", "not a readable picture"), ("a.png", b"hello", "not a readable picture"),
    ("a.jpg", SAMPLES[0][0].read_bytes()[:200], "damaged or incomplete"),
    ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a readable picture"),
    ("a.png", png(20000, 20000), "make it smaller"),
])
def test_a_bad_upload_gets_one_clear_line(page, name, content, line):
    if not content:
        content = b" "
    event, told = call(page, "predict", upload(page, name, content), 5)
    text = str(told)
    assert event == "error" and line in text
    assert "/" not in text.replace("w/h", "") and "Traceback" not in text and "\n" not in text


def test_no_picture_is_asked_for(page):
    event, told = call(page, "predict", None, 5)
    assert event == "error" and "upload a picture first" in str(told)


def test_pictures_of_any_kind_are_taken(page, folder):
    for mode in ("L", "LA", "P", "RGBA", "1"):
        file = io.BytesIO()
        Image.open(SAMPLES[2][0]).convert(mode).save(file, "PNG")
        assert call(page, "predict", upload(page, f"{mode}.png", file.getvalue()), 1)[0] == "complete"


def test_the_public_endpoints_are_three_and_say_what_they_take(page):
    info = httpx.get(f"{page}/gradio_api/info").json()
    named = {path: ([p["parameter_name"] for p in told["parameters"]], told["description"]) for path, told in info["named_endpoints"].items()}
    assert {path: takes for path, (takes, _) in named.items()} == {
        "/predict": ["picture", "k"], "/scene": ["picture", "chapter", "layer", "head"], "/answer": ["picture", "chapter", "question"]}
    assert not info["unnamed_endpoints"] and all(len(said) > 90 for _, said in named.values())
    for number, chapter in enumerate(CHAPTERS, 1):
        asked = questions.ASKED.get(chapter, {})
        assert all(f'"{what}"' in named["/answer"][1] for what in asked), chapter.NAME
        assert all(f'"{word}"' in named["/answer"][1] for words in asked.values() for word in words)
        assert f"{number} " in named["/scene"][1]


def test_a_scene_over_http_holds_the_numbers_of_plain_transformers(page, folder):
    path = SAMPLES[1][0]
    event, scene = call(page, "scene", upload(page, path.name, path.read_bytes()), 7, 1, 1)
    best, probability = next(iter(plain_top_k(folder, Image.open(path), 1).items()))
    assert event == "complete" and scene["title"] == CHAPTERS[6].TITLE and best in scene["story"]
    assert scene["check"]["value"] == pytest.approx(probability, abs=1e-5)
    model, processor = ViTForImageClassification.from_pretrained(folder), ViTImageProcessorPil.from_pretrained(folder)
    with torch.no_grad():
        assert scene["data"]["logits"] == pytest.approx(model(**processor(Image.open(path), return_tensors="pt")).logits[0].tolist(), abs=1e-4)


def test_an_answer_over_http_is_the_map_itself(page, folder):
    path, classifier = SAMPLES[1][0], load(folder)
    event, told = call(page, "answer", upload(page, path.name, path.read_bytes()), 7, {"wanted": "dog", "against": 3, "method": "gradcam"})
    expected = METHODS["gradcam"].map(classifier.viewing, classifier.pixel_values([Image.open(path)]), target(classifier.viewing, LABELS.index("dog"), 3))
    assert event == "complete" and told["values"] == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("endpoint, words, line", [
    ("scene", (10, 1, 1), "Chapter is a whole number from 1 to 9 here, not 10."), ("scene", (2.5, 1, 1), "not 2.5"), ("scene", ("x", 1, 1), "not x"),
    ("scene", (5, 4, 1), "Layer is a whole number from 1 to 3 here, not 4."), ("scene", (5, 1, 0), "Head is a whole number from 1 to 3"),
    ("answer", (1, {}), "Chapter 1 answers no questions"), ("answer", (7, {"method": ["a"]}), "method cannot be"),
])
def test_what_an_endpoint_does_not_understand_is_one_line(page, endpoint, words, line):
    path = SAMPLES[0][0]
    event, told = call(page, endpoint, upload(page, path.name, path.read_bytes()), *words)
    assert event == "error" and line in told["error"]


@pytest.mark.parametrize("endpoint, words", [("scene", (1, 1, 1)), ("answer", (7, {}))])
def test_every_endpoint_wants_a_picture(page, endpoint, words):
    event, told = call(page, endpoint, None, *words)
    assert event == "error" and told["error"] == "Choose or upload a picture first."


def test_neither_the_server_nor_its_files_can_be_read(page):
    for path in ("/etc/passwd", "app.py", str(SAMPLES[0][0])):
        assert httpx.get(f"{page}/gradio_api/file={path}").status_code in (403, 404)
    assert httpx.get(f"{page}/monitoring").status_code in (403, 404)


@pytest.mark.parametrize("size, status", [(20_000_000, 200), (21_500_000, 413)])
def test_a_file_may_have_twenty_megabytes(page, size, status):
    assert httpx.post(f"{page}/gradio_api/upload", files={"files": ("large.png", b"0" * size)}).status_code == status


def test_a_path_of_the_server_is_no_picture(page):
    event, told = call(page, "predict", {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, 5)
    assert event == "error" and "root:" not in str(told)


def test_the_token_is_nowhere_to_be_seen(hub, folder, caplog):
    """A private model is shown with the owner's token; no page, log or error holds it, and no visitor opens another one with it."""
    hub.seed("models", "tester/page-private", folder)
    HfApi().update_repo_settings("tester/page-private", private=True)
    models = Models("tester/page-private")
    assert models.wanted.done.wait(60) and models.wanted.classifier, models.wanted.problem
    with serve(models) as address:
        seen = [httpx.get(f"{address}{path}").text for path in ("/", "/config", "/gradio_api/info", "/theme.css")]
        seen += [str(call(address, "scene", upload(address, "a.png", SAMPLES[0][0].read_bytes()), 9, 1, 1))]
    hub.seed("models", "tester/page-secret", folder)
    HfApi().update_repo_settings("tester/page-secret", private=True)
    other = models.fetch("tester/page-secret")
    assert other.done.wait(60) and "no such public model" in other.problem
    assert "page-private" in seen[-1]
    assert not any(os.environ["HF_TOKEN"] in text for text in [*seen, caplog.text, other.problem, repr(models.wanted), repr(models.wanted.classifier.origin)])
