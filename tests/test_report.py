"""Conditions of a number: the data's fingerprint, the command, and files that are whole or not there."""

import json

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from tests.tiny import NAMES, noise, save_tiny_model
from training import report
from vit_demo.classifier import load
from vit_demo.errors import UserError


@pytest.fixture
def images():
    return torch.randint(0, 256, (6, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_logits_are_the_classifiers_own_whatever_the_batches(tmp_path):
    tiny, shown = load(save_tiny_model(tmp_path / "model")), noise(11)
    answers = [NAMES.index(tiny.top_k(picture, 1)[0][0]) for picture in report.pictures(shown)]
    logits = report.predict(tiny, shown, batch_size=4)
    assert len(set(answers)) > 1 and logits.argmax(1).tolist() == answers
    assert_close(report.predict(tiny, report.pictures(shown)), logits)


def test_the_fingerprint_knows_pixels_and_labels_but_no_order(images):
    shown, labels = report.pictures(images), [0, 1, 2, 0, 1, 2]

    def fingerprint(pictures, labels) -> str:
        return report.combined(map(report.picture_digest, pictures, labels))

    known = fingerprint(shown, labels)
    assert fingerprint(shown[::-1], labels[::-1]) == known == fingerprint([picture.convert("RGBA") for picture in shown], labels)
    assert fingerprint(shown, labels[::-1]) != known
    assert fingerprint(report.pictures(images.flip(3)), labels) != known
    assert fingerprint(report.pictures(images.reshape(6, 3, 7, 5)), labels) != known


def test_the_digest_of_one_known_picture():
    # SHA-256 of "1x2:3:" and six bytes, worked out with the shell's sha256sum.
    picture = Image.frombytes("RGB", (2, 1), bytes([0, 1, 2, 255, 254, 253]))
    assert report.picture_digest(picture, 3).hex() == "116b2470cc93b2ef97d31b904ecb2691b84ce3a971a576a280b0c630b9e3ddef"


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
