"""Chapter 9 with what training wrote, and with what a stranger's metrics.json may hold instead."""

import json
import re

import orjson
import pytest
from PIL import Image

from tests.models import LABELS, save_model
from vit_demo.chapters import model
from vit_demo.chapters.scene import Look
from vit_demo.classifier import load
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace

COUNTS = [[90 if i == j else 1 for j in range(10)] for i in range(10)]
BINS = [{"low": i / 10, "high": (i + 1) / 10, "count": 1200, "confidence": (i + 0.5) / 10, "accuracy": i / 10} for i in range(10)]


@pytest.fixture
def scene(tmp_path):
    """scene(metrics) -> the chapter with that metrics.json beside the model; `ahead`: how far the first class's logit is raised"""
    def of(metrics, ahead=0):
        folder = save_model(tmp_path / "model")
        (folder / "metrics.json").write_text(json.dumps(metrics))
        classifier = load(folder)
        classifier.model.classifier.bias.data[0] += ahead
        return model.scene(Look(classifier, trace(classifier, Image.open(SAMPLES[0][0])), truth="cat"))

    return of


def test_what_training_measured_is_told(scene):
    told = scene({"test_accuracy": 0.8412, "confusion": COUNTS, "calibration": {"ece": 0.05, "bins": BINS}, "epochs": 30,
                  "seconds": 7200, "dataset": {"name": "uoft-cs/cifar10", "train_images": 50000}, "device": "CPU"})
    assert "On test pictures that it had not learned from, it was right in <span class=\"mono\">84.12\u00a0%" in told["story"] and "1,200" in told["story"]
    assert told["data"]["confusion"] == {"labels": LABELS, "counts": COUNTS} and told["data"]["bins"] == BINS
    facts = dict(told["data"]["facts"])
    assert facts["training"] == "30 epochs, 120 minutes" and facts["learned from"] == "uoft-cs/cifar10, 50,000 pictures"
    assert told["data"]["truth"] == LABELS.index("cat")


@pytest.mark.parametrize("smoothing, right, told", [
    (0.1, 1, "Training asked for 91 % and no more (label smoothing 0.1), so it is right more often than it says."),
    (0.2, -1, "Training asked for 82 % and no more (label smoothing 0.2)."),
    (0.0, 1, None), (None, 1, None), ("0.1", 1, None), (7, 1, None), (True, 1, None)])
def test_that_training_asked_for_less_than_all_is_said_where_it_is_known(scene, smoothing, right, told):
    bins = [{**b, "accuracy": b["confidence"] + 0.04 * right} for b in BINS]
    story = re.sub("<[^>]*>", "", scene({"test_accuracy": 0.84, "calibration": {"bins": bins}, "settings": {"label_smoothing": smoothing}})["story"]).replace("\u00a0", " ")
    assert story.endswith(told) if told else "Training asked" not in story


def test_settings_of_a_stranger_claim_nothing(scene):
    assert all("Training asked" not in scene({"settings": settings, "test_accuracy": 0.8})["story"] for settings in (None, [], "label_smoothing", {}))


def test_the_pair_to_try_is_its_commonest_mistake(scene):
    counts = [row[:] for row in COUNTS]
    counts[LABELS.index("cat")][LABELS.index("airplane")] = 7
    told = re.sub("<[^>]*>", "", scene({"test_accuracy": 0.8, "confusion": counts})["attempt"])
    assert told == "upload a picture of none of its 10 classes: what does it make of it, and how sure is it? Then one of a cat that it could take for an airplane, its commonest mistake."
    assert re.sub("<[^>]*>", "", scene({"test_accuracy": 0.8})["attempt"]).endswith("how sure is it?")


def test_a_claim_of_all_there_is_has_its_bin(scene):
    told = scene({"test_accuracy": 0.8412, "calibration": {"bins": BINS}}, ahead=1000)
    assert told["data"]["confidence"] == 1 and "(<span class=\"mono\">1,200</span> of them), it was right in <span class=\"mono\">90\u00a0%" in told["story"]


def test_of_many_earlier_runs_some_are_told(scene):
    assert len(scene({"earlier": [{"epochs": 1}] * 1000})["data"]["runs"]) == 20


def test_a_validation_accuracy_is_never_called_test(scene):
    assert "validation pictures" in scene({"validation_accuracy": 0.5})["story"]


@pytest.mark.parametrize("metrics", [{}, [], "text", {"test_accuracy": "high"}, {"test_accuracy": float("nan"), "epochs": None}, {
    "test_accuracy": 7, "confusion": [[1]], "calibration": {"bins": [{"low": "x"}, 3, None]}, "dataset": "cifar", "command": ["rm"]}, {
    "test_accuracy": 10**400, "epochs": 10**400, "calibration": {"bins": [{"low": 0, "high": 10**400, "count": 1, "confidence": 1, "accuracy": 1}]}}, {
    "confusion": [["<b>"] * 10] * 10, "calibration": [], "device": {"a": 1}, "base_model": 5}, {
    "confusion": [[2**70] * 10] * 10, "calibration": {"bins": [{**BINS[0], "count": 2**70}]}, "images": 2**70, "dataset": {"train_images": -2**70}}])
def test_anything_else_is_left_alone(scene, metrics):
    told = scene(metrics)
    assert "has not been measured" in told["story"]
    assert told["data"]["confusion"] is None and told["data"]["bins"] == []
    orjson.dumps(told)  # as Gradio does, for which a whole number has 64 bits
    json.dumps(told, allow_nan=False)


def test_what_evaluate_measured_is_told_and_no_more(scene):
    """The keys of `training.evaluate --output metrics.json`, beside a model of which nothing else is known."""
    told = scene({"accuracy": 0.8412, "split": "exam", "images": 1200, "accuracy_ci95": [0.82, 0.861], "dataset": "uoft-cs/cifar10", "seconds": 9.0,
                  "confusion": COUNTS, "calibration": {"ece": 0.05, "bins": BINS}})
    assert "On exam pictures it was right in <span class=\"mono\">84.12\u00a0%" in told["story"]
    facts = dict(told["data"]["facts"])
    assert facts["accuracy"] == "84.12 % of the exam pictures, n = 1,200, 95 % interval 82.0 to 86.1 %"
    assert not {"started from", "training", "learned from"} & facts.keys()


@pytest.mark.parametrize("split, vouched", [("train", False), ("test", True), ("validation", True)])
def test_that_it_had_not_learned_from_them_is_said_where_it_is_known(scene, split, vouched):
    told = scene({"accuracy": 0.99, "split": split})["story"]
    assert f"On {split} pictures" in told and ("had not learned from" in told) == vouched


@pytest.mark.parametrize("split", [None, 7, "<b>", "a" * 50])
def test_a_strange_name_of_a_split_is_not_repeated(scene, split):
    assert "On measured pictures" in scene({"accuracy": 0.5, "split": split})["story"]


def test_only_where_nothing_lies_beside_it_that_is_said(scene):
    assert "no metrics.json lies beside it" not in scene({"device": "CPU"})["story"] and "has not been measured" in scene({"device": "CPU"})["story"]
