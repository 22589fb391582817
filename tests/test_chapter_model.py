"""Chapter 9 with what training wrote, and with what a stranger's metrics.json may hold instead."""

import json

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
    """scene(metrics) -> the chapter with that metrics.json beside the model"""
    def of(metrics):
        folder = save_model(tmp_path / "model")
        (folder / "metrics.json").write_text(json.dumps(metrics))
        classifier = load(folder)
        return model.scene(Look(classifier, trace(classifier, Image.open(SAMPLES[0][0])), truth="cat"))

    return of


def test_what_training_measured_is_told(scene):
    told = scene({"test_accuracy": 0.8412, "confusion": COUNTS, "calibration": {"ece": 0.05, "bins": BINS}, "epochs": 30,
                  "seconds": 7200, "dataset": {"name": "uoft-cs/cifar10", "train_images": 50000}, "device": "CPU"})
    assert "84.12\u00a0%" in told["story"] and "1,200" in told["story"]
    assert told["data"]["confusion"] == {"labels": LABELS, "counts": COUNTS} and told["data"]["bins"] == BINS
    facts = dict(told["data"]["facts"])
    assert facts["training"] == "30 epochs, 120 minutes" and facts["learned from"] == "uoft-cs/cifar10, 50,000 pictures"
    assert told["data"]["truth"] == LABELS.index("cat")


def test_a_validation_accuracy_is_never_called_test(scene):
    assert "validation pictures" in scene({"validation_accuracy": 0.5})["story"]


@pytest.mark.parametrize("metrics", [{}, [], "text", {"test_accuracy": "high"}, {"test_accuracy": float("nan"), "epochs": None}, {
    "test_accuracy": 7, "confusion": [[1]], "calibration": {"bins": [{"low": "x"}, 3, None]}, "dataset": "cifar", "command": ["rm"]}, {
    "confusion": [["<b>"] * 10] * 10, "calibration": [], "device": {"a": 1}, "base_model": 5}])
def test_anything_else_is_left_alone(scene, metrics):
    told = scene(metrics)
    assert "has not been measured" in told["story"]
    assert told["data"]["confusion"] is None and told["data"]["bins"] == []
    json.dumps(told, allow_nan=False)
