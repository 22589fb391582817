"""A folder as training leaves it, and repositories to publish it to: for the tests of publishing."""

import itertools
import shutil

import pytest
import torch
from huggingface_hub import HfApi

from tests.tiny import NAMES, save_tiny_model
from training import figures
from training.scores import scores

NUMBERS = itertools.count(1)
FILES = {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "metrics.json",
         "confusion.png", "reliability.png", ".eval_results/cifar10.yaml"}


def train_tiny(folder, seed=0):
    """A folder as training leaves it, with things in it that are nobody else's business."""
    measured = scores(torch.eye(3).repeat(10, 1), torch.tensor([0, 1, 2] * 10), NAMES)
    metrics = {"test_accuracy": measured.pop("accuracy"), "test_loss": measured.pop("loss"), "seed": seed,
               "dataset": {"name": "uoft-cs/cifar10", "held_out_images": 30}, **measured}
    save_tiny_model(folder, metrics=metrics, seed=seed)
    figures.write_figures(folder, metrics, NAMES)
    for private in ("state/step-1/model.safetensors", "train.yaml", ".writing/model.safetensors", "notes.txt"):
        (folder / private).parent.mkdir(parents=True, exist_ok=True)
        (folder / private).write_text("dataset: /home/me")
    return folder


# Fixtures: import them by name where they are used.


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_tiny(tmp_path_factory.mktemp("runs") / "trained")


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "trained")


@pytest.fixture
def repo(hub):
    return f"{hub.user}/published-{next(NUMBERS)}"


@pytest.fixture
def newer(tmp_path):
    """Another training's folder, with weights that the Hub has never seen."""
    return train_tiny(tmp_path / "newer", seed=next(NUMBERS))


def remote(repo, revision=None) -> set[str]:
    return set(HfApi().list_repo_files(repo, revision=revision)) - {".gitattributes"}
