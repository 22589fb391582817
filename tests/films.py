"""A run of training with two snapshots, and what chapter 9 answers when it is asked for its film."""

import json
from pathlib import Path

import torch
from PIL import Image
from transformers import ViTForImageClassification

from tests.models import save_model
from vit_demo.chapters import model
from vit_demo.chapters.scene import Look
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace

HISTORY = [{"epoch": 1, "train_accuracy": 0.25}, {"epoch": 2, "train_accuracy": 0.5, "validation_accuracy": 0.75}]


def scaled(folder: Path, times: float, kind=torch.float32) -> ViTForImageClassification:
    """The model of a folder with its filters, positions and head made other ones."""
    made = ViTForImageClassification.from_pretrained(folder)
    with torch.no_grad():
        for weight in (made.vit.embeddings.patch_embeddings.projection.weight, made.vit.embeddings.position_embeddings, made.classifier.weight):
            weight += (times - 1) * weight.flip(-1)
    return made.to(kind)


def run_of_training(folder: Path, **shape) -> Path:
    """A model with two snapshots as training leaves them: another one, and the model itself."""
    save_model(folder, **shape)
    (folder / "metrics.json").write_text(json.dumps({"history": HISTORY}))
    scaled(folder, 0.3, torch.float16).save_pretrained(folder / "snapshots" / "epoch-001")
    scaled(folder, 1).save_pretrained(folder / "snapshots" / "epoch-002")
    return folder


def look_at(classifier) -> Look:
    return Look(classifier, trace(classifier, Image.open(SAMPLES[0][0])), picture_file=str(SAMPLES[0][0]))


def last(look, **question) -> dict:
    return list(model.answer(look, {"what": "lapse", **question}))[-1]
