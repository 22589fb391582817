"""The whole path over the Hub's real protocol: pictures from the Hub -> train -> measure -> publish -> every reader agrees."""

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from tests.served import call, serve, upload
from tests.training_data import coloured, parquet_dataset, png
from training import evaluate, publish, train
from vit_demo.classifier import load
from vit_demo.models import Models

DATASET, REPO = "tester/three-colours", "tester/tour"
TINY = ["--preset", "tiny-cpu", "--image-size", "16", "--hidden-size", "24", "--num-hidden-layers", "2", "--intermediate-size", "48",
        "--batch-size", "12", "--epochs", "6", "--workers", "1"]


@pytest.fixture(scope="module")
def tour(hub, tmp_path_factory):
    """All commands, each as a person types it, one after the other."""
    folder = tmp_path_factory.mktemp("tour")
    hub.seed("datasets", DATASET, parquet_dataset(folder / "pictures", train=96, test=24, size=(16, 16)))
    output = train.main(["--dataset", DATASET, "--output", str(folder / "run"), *TINY])
    found = evaluate.main([str(output), "--dataset", DATASET])
    published = publish.main([str(output), "--repo", REPO])
    return SimpleNamespace(output=output, metrics=json.loads((output / "metrics.json").read_text()), found=found, published=published)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [coloured(number % 3, 500 + number, (20, 14)) for number in range(6)]


def test_it_learns_and_both_measurements_agree(tour):
    assert tour.metrics["test_accuracy"] > 0.9 and tour.metrics["dataset"]["name"] == DATASET
    assert tour.found["accuracy"] == tour.metrics["test_accuracy"]
    assert tour.found["loss"] == pytest.approx(tour.metrics["test_loss"], abs=1e-6)
    assert tour.found["fingerprint"] == tour.metrics["dataset"]["test_fingerprint"]


def test_what_the_hub_gives_back_answers_as_what_was_trained(tour, pictures):
    here, there = load(tour.output), load(REPO)
    assert there.revision == tour.published.commit and there.labels == here.labels == ("red", "green", "blue")
    assert torch.equal(here.logits(pictures), there.logits(pictures))
    assert there.metrics == tour.metrics


def test_plain_transformers_answer_the_same(tour, pictures):
    ours = [dict(load(REPO).top_k(picture, 3)) for picture in pictures]
    for answers, expected in zip(pipeline("image-classification", REPO)(pictures, top_k=3), ours, strict=True):
        assert [answer["label"] for answer in answers] == list(expected)
        assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(expected, abs=1e-6)
    model, processor = AutoModelForImageClassification.from_pretrained(REPO), AutoImageProcessor.from_pretrained(REPO)
    with torch.no_grad():
        chosen = model(**processor(pictures, return_tensors="pt")).logits.argmax(-1)
    assert [model.config.id2label[i] for i in chosen.tolist()] == [next(iter(expected)) for expected in ours]


def test_the_app_answers_with_it(tour, pictures):
    models = Models(REPO)
    if models.wanted:  # it comes in the background while the bundled model answers
        assert models.wanted.done.wait(60)
    with serve(models) as page:
        for picture in pictures[:2]:
            event, told = call(page, "predict", upload(page, "mine.png", png(picture)), 3)
            assert event == "complete" and told == pytest.approx(dict(load(REPO).top_k(picture, 3)), abs=1e-5)


def test_publishing_again_changes_nothing(tour, hub):
    before = len(hub.commits(REPO))
    assert not publish.publish(tour.output, REPO).changed and len(hub.commits(REPO)) == before
