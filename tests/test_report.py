"""Conditions of a number: the data's fingerprint, the command, and files that are whole or not there."""

import json

import pytest
import torch
from PIL import Image

from tests.tiny import NAMES, noise, save_tiny_model
from training import report
from vit_demo.classifier import load
from vit_demo.errors import UserError


@pytest.fixture
def images():
    return torch.randint(0, 256, (6, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_measure_counts_the_classifiers_own_answers(tmp_path):
    tiny, shown = load(save_tiny_model(tmp_path / "model")), noise(11)
    answers = torch.tensor([NAMES.index(tiny.top_k(picture, 1)[0][0]) for picture in report.pictures(shown)])
    assert len(answers.unique()) > 1
    labels = answers.clone()
    labels[:4] = (labels[:4] + 1) % 3
    found = report.measure(tiny, shown, labels, batch_size=4)
    assert found["accuracy"] == 7 / 11 and [row["name"] for row in found["per_class"]] == list(NAMES)
    assert {row["index"] for row in found["mistakes"]} == {0, 1, 2, 3}
    assert report.measure(tiny, report.pictures(shown), labels) == found


def test_fingerprint_knows_pixels_and_labels_but_not_order_or_layout(images):
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    known = report.fingerprint(images, labels)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    assert report.fingerprint(images[order], labels[order]) == known
    assert report.fingerprint(images.permute(0, 2, 3, 1), labels.tolist()) == known
    assert report.fingerprint(report.pictures(images), labels) == known
    assert report.fingerprint(images, labels[order]) != known
    assert report.fingerprint(images.flip(3), labels) != known
    assert report.fingerprint(images.reshape(6, 3, 7, 5), labels) != known


def test_fingerprint_of_one_known_picture():
    # SHA-256 of "1x2:3:" and six bytes, worked out with the shell's sha256sum.
    picture = torch.tensor([[[0, 255]], [[1, 254]], [[2, 253]]], dtype=torch.uint8)
    assert report.picture_digest(picture, 3).hex() == "116b2470cc93b2ef97d31b904ecb2691b84ce3a971a576a280b0c630b9e3ddef"


def test_a_label_short_is_an_error(images):
    with pytest.raises(ValueError):
        report.fingerprint(images, [0] * 5)


def test_pictures_of_a_tensor_keep_every_pixel(images):
    first = report.pictures(images)[0]
    assert first.size == (7, 5) and first.getpixel((6, 4)) == tuple(images[0, :, 4, 6].tolist())
    already = [Image.new("RGB", (2, 2))]
    assert report.pictures(already)[0] is already[0]


def test_the_quoted_command_tells_no_folders_of_this_machine():
    told = report.command_line("training.train", ["--dataset", "/home/me/cifar10", "--output=/srv/runs/a", "--model", "google/vit", "--note", "two words"])
    assert told == "python -m training.train --dataset cifar10 --output=a --model google/vit --note 'two words'"


def test_metrics_come_back_as_written_and_nothing_else_stays(tmp_path):
    numbers = {"test_accuracy": 0.5, "dataset": {"name": "x"}, "confusion": [[1, 0], [0, 1]]}
    report.write_metrics(tmp_path, {"old": True})
    report.write_metrics(tmp_path, numbers)
    assert report.read_metrics(tmp_path) == numbers
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_metrics_that_json_cannot_hold_leave_the_old_file(tmp_path):
    report.write_metrics(tmp_path, {"loss": 1.0})
    with pytest.raises(ValueError):
        report.write_metrics(tmp_path, {"loss": float("nan")})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"loss": 1.0}


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="cannot write metrics.json into .*absent: No such file or directory"):
        report.write_metrics(tmp_path / "absent", {})
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(UserError, match="cannot write"):
        report.write_metrics(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_absent_metrics_are_empty_and_damaged_ones_are_said(tmp_path):
    assert report.read_metrics(tmp_path) == {}
    for content in ("{", "[1]"):
        (tmp_path / "metrics.json").write_text(content)
        with pytest.raises(UserError, match="measure the model again"):
            report.read_metrics(tmp_path)


def test_versions_name_what_runs():
    assert report.versions()["torch"] == torch.__version__
