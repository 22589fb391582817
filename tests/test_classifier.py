"""Classifier and load(): folders, the viewing twin, and agreement with the library's own pipeline."""

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from transformers import ViTForImageClassification, ViTImageProcessorPil, pipeline

from tests.models import LABELS, save_model
from vit_demo import classifier as classifier_module
from vit_demo.classifier import BUNDLED, load
from vit_demo.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def noise() -> list[Image.Image]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(32, 32), (50, 40), (7, 90), (1, 1)]
    return [Image.frombytes("RGB", size, bytes(torch.randint(256, (3 * size[0] * size[1],), generator=generator)
                                               .tolist())) for size in sizes]


def test_a_folder_opens_as_saved(folder):
    tiny = load(folder)
    assert tiny.name == "tiny" and tiny.revision is None and tiny.files == folder
    assert tiny.labels == tuple(LABELS) and tiny.model.config.label2id["truck"] == 9
    assert not tiny.model.training and tiny.model.config._attn_implementation == "sdpa"
    saved = ViTForImageClassification.from_pretrained(folder).state_dict()
    assert all(torch.equal(tensor, saved[key]) for key, tensor in tiny.model.state_dict().items())


def test_logits_are_those_of_the_library(folder, noise):
    tiny = load(str(folder))
    model = ViTForImageClassification.from_pretrained(folder).eval()
    pixel_values = ViTImageProcessorPil.from_pretrained(folder)(noise, return_tensors="pt").pixel_values
    assert torch.equal(tiny.pixel_values(noise), pixel_values) and pixel_values.shape == (4, 3, 32, 32)
    with torch.no_grad():
        assert_close(tiny.logits(noise), model(pixel_values).logits)
    assert_close(tiny.probabilities(noise[1]), tiny.logits(noise)[1].softmax(0))


@pytest.mark.parametrize("size", [(36 * 200, 9), (9, 36 * 200)])
def test_of_a_strip_the_middle_is_what_a_cropping_processor_gives(folder, tmp_path, size, monkeypatch):
    """And it never makes all of it larger: 500,000 × 1 pixels would take gigabytes."""
    ViTForImageClassification.from_pretrained(folder).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}, do_center_crop=True).save_pretrained(tmp_path)
    ramp = torch.linspace(0, 255, max(size)).byte()
    strip = Image.frombytes("L", size, bytes((ramp.repeat(9) if size[0] > 9 else ramp.repeat_interleave(9)).tolist())).convert("RGB")
    tiny, seen = load(tmp_path), []
    whole = tiny.processor(strip, return_tensors="pt").pixel_values
    resize = ViTImageProcessorPil.resize
    monkeypatch.setattr(ViTImageProcessorPil, "resize", lambda self, image, *given, **more: seen.append(image.shape) or resize(self, image, *given, **more))
    assert_close(tiny.pixel_values([strip]), whole, atol=0.02, rtol=0)
    assert [max(shape) for shape in seen] == [8 * 9]


def test_top_k_is_the_pipelines(folder, noise):
    tiny, classify = load(folder), pipeline("image-classification", str(folder))
    for image in noise:
        expected = [(answer["label"], answer["score"]) for answer in classify(image, top_k=4)]
        answers = tiny.top_k(image, 4)
        assert [label for label, _ in answers] == [label for label, _ in expected]
        assert_close([p for _, p in answers], [p for _, p in expected], atol=1e-6, rtol=0)
    assert len(tiny.top_k(noise[0], 99)) == 10


def test_viewing_shares_every_tensor_and_sees(folder, noise):
    tiny = load(folder)
    pixel_values = tiny.pixel_values(noise)
    with torch.no_grad():
        seen = tiny.viewing(pixel_values, output_attentions=True)
    assert len(seen.attentions) == 3
    assert_close(seen.logits, tiny.logits(noise), atol=1e-4, rtol=0)
    mine, twins = tiny.model.state_dict(), tiny.viewing.state_dict()
    assert mine.keys() == twins.keys()
    assert all(mine[key].data_ptr() == twins[key].data_ptr() for key in mine)
    assert tiny.viewing is tiny.viewing and tiny.model.config._attn_implementation == "sdpa"


def test_float16_files_are_computed_in_float32(tmp_path, noise):
    half = load(save_model(tmp_path / "half", dtype=torch.float16))
    assert {tensor.dtype for tensor in half.model.state_dict().values()} == {torch.float32}
    assert half.logits(noise).dtype == torch.float32


@pytest.mark.parametrize("size, patch", [((224, 224), 16), ((16, 32), 4), ((32, 32), [8, 8])])
def test_other_sizes(tmp_path, noise, size, patch):
    other = load(save_model(tmp_path / "other", size=size, patch=patch))
    assert other.pixel_values(noise).shape == (4, 3, *size)
    assert other.logits(noise).isfinite().all()


def test_metrics(tmp_path):
    folder = save_model(tmp_path / "tiny")
    assert load(folder).metrics == {}
    (folder / "metrics.json").write_text(json.dumps({"test_accuracy": 0.5}))
    assert load(folder).metrics == {"test_accuracy": 0.5}
    (folder / "metrics.json").write_text("[1")
    assert load(folder).metrics == {}


def test_no_bundled_model_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(classifier_module, "BUNDLED", tmp_path)
    with pytest.raises(UserError, match="no bundled model"):
        load()


@pytest.mark.skipif(not (BUNDLED / "config.json").is_file(), reason="the bundled model is not there")
def test_the_bundled_model_opens():
    bundled = load()
    assert bundled.name == "bundled" and len(bundled.labels) == 10
    assert sum(p.numel() for p in bundled.model.parameters()) <= 6e6


@pytest.mark.skipif("VIT_DEMO_DATA" not in os.environ, reason="VIT_DEMO_DATA names no data folder")
def test_real_vit_tiny_opens(noise):
    tiny = load(Path(os.environ["VIT_DEMO_DATA"]) / "vit-tiny")
    assert len(tiny.labels) == 200 and tiny.pixel_values(noise[:1]).shape == (1, 3, 224, 224)


def test_weights_that_cannot_be_read_are_one_line(folder, monkeypatch):
    """Another user's, or gone while other models made room."""
    def gone(*given, **more):
        raise FileNotFoundError("/secret/model.safetensors")

    monkeypatch.setattr("vit_demo.classifier.ViTForImageClassification.from_pretrained", gone)
    with pytest.raises(UserError, match="^tiny: its weights cannot be read; check the permissions of its files$"):
        load(folder)
