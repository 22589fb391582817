"""Which splits a run learns from, chooses on and measures on; what it says of a validation split, and what it refuses without one."""

import json

import pytest

from tests.runs import again, flags, quick  # noqa: F401 (quick is a fixture)
from tests.training_data import image_folder
from training import outcome
from training.config import TrainConfig
from training.pretrain import PretrainConfig
from training.split_roles import about_validation_splits, split_roles
from training.train import main
from vit_demo.errors import UserError


def data(names: str) -> dict:
    """Stands for a DatasetDict: split -> its rows."""
    return {name: range(9) for name in names.split()}


@pytest.mark.parametrize("names, settings, roles", [
    ("train test", {}, ("test", None, "test")),
    ("train", {}, (None, None, "held_out")),
    ("train test", {"validation_images": 2, "test_split": "none"}, (None, None, "validation")),
    ("train validation test", {}, ("test", "validation", "test")),
    ("train valid", {}, (None, "valid", "validation")),  # nothing is held out of train
    ("train validation test", {"test_split": "none"}, (None, "validation", "validation")),
    ("train validation test", {"test_split": "validation"}, ("validation", None, "held_out")),  # not chosen on
    ("train validation", {"test_split": "validation", "validation_images": 2}, ("validation", None, "held_out")),
    ("train validation test", {"validation_images": 2}, ("test", None, "test")),
    ("train validation", {"validation_images": 2}, (None, None, "held_out")),
    ("train validation", {"train_split": "validation"}, (None, None, "held_out")),
    ("train validation test", {"keep": "best", "early_stopping": 1}, ("test", "validation", "test")),
    ("train validation test", {"validation_split": "none"}, ("test", None, "test")),
    ("train validation", {"validation_split": "none"}, (None, None, "held_out")),
    ("train validation extra test", {"validation_split": "extra"}, ("test", "extra", "test")),
])
def test_the_role_of_each_split(names, settings, roles):
    assert split_roles(TrainConfig(dataset="x", **settings), data(names)) == roles


@pytest.mark.parametrize("names", ["train", "train test", "train validation", "train validation test"])
@pytest.mark.parametrize("settings", [{}, {"validation_images": 2}, {"test_split": "train2"}])
def test_pretraining_holds_out_what_a_fine_tune_does_and_reads_no_other_split(names, settings):
    fine_tune, pretrain = (split_roles(kind(dataset="x", **settings), data(f"{names} train2")) for kind in (TrainConfig, PretrainConfig))
    assert pretrain[:2] == (None, None)
    assert (pretrain[2] == "held_out") == (fine_tune == (None, None, "held_out"))  # a tenth of the training pictures


@pytest.mark.parametrize("names, settings, told", [
    ("train test", {"keep": "best"}, "^--keep best needs --validation-images, or a --validation-split: pictures to choose on$"),
    ("train test", {"early_stopping": 3}, "^--early-stopping 3 needs --validation-images, or a --validation-split: pictures whose accuracy tells when to stop$"),
    ("train test", {"test_split": "none"}, "^--test-split none leaves nothing to measure on: give --validation-images, or a --validation-split$"),
    ("train validation", {"keep": "best", "test_split": "validation"}, "^--keep best needs --validation-images"),
    ("train test", {"validation_split": "test"}, "^--validation-split test is the split to measure on: choose another$"),
    ("train test", {"validation_split": "train"}, "^--validation-split train is the split to learn from: choose another$"),
    ("train test", {"validation_split": "dev"}, "^no split 'dev': the dataset has train, test; choose with --validation-split$"),
    ("train validation test", {"validation_split": "validation", "validation_images": 3}, "^--validation-split validation and --validation-images 3: give one of the two$"),
])
def test_without_pictures_to_choose_on_nothing_can_be_chosen(names, settings, told):
    with pytest.raises(UserError, match=told):
        split_roles(TrainConfig(dataset="x", **settings), data(names))


@pytest.mark.parametrize("names, settings, told", [
    ("train test", {}, []),
    ("train validation test", {}, ["split validation (9 pictures) is measured after each epoch"]),
    ("train val", {}, ["split val (9 pictures) is measured after each epoch and at the end"]),
    ("train val", {"test_split": "val"}, []),
    ("train validation test", {"validation_images": 2},
     ["split validation (9 pictures) is not read: --validation-split validation chooses on it, --test-split validation measures on it"]),
    ("train valid dev", {}, ["split valid (9 pictures) is measured after each epoch and at the end", "split dev (9 pictures) is not read: --validation-split dev chooses on it, --test-split dev measures on it"]),
])
def test_what_is_done_with_validation_splits_is_said(names, settings, told):
    config = TrainConfig(dataset="x", **settings)
    assert list(about_validation_splits(config, data(names), *split_roles(config, data(names)))) == told
    blind = PretrainConfig(dataset="x", **settings)
    assert about_validation_splits(blind, data(names), *split_roles(blind, data(names))) == ()


def test_a_run_chooses_on_the_validation_split_and_is_measured_on_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(outcome.figures, "write_figures", lambda *_: [])
    data = image_folder(tmp_path / "data" / "train", 24).parent
    image_folder(data / "val", 9)
    main(flags(data, tmp_path / "run", "--keep", "best"))
    told = capsys.readouterr().out
    assert "split validation (9 pictures) is measured after each epoch and at the end\n24 training pictures, 9 to choose on; 3 classes" in told
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["dataset"]["train_images"], metrics["dataset"]["validation_images"], metrics["dataset"]["test_split"]) == (24, 9, None)
    assert "test_accuracy" not in metrics and metrics["validation_accuracy"] == pytest.approx(max(entry["validation_accuracy"] for entry in metrics["history"]))


def test_a_run_goes_on_with_the_same_validation_split_alone(tmp_path, quick):
    data = image_folder(tmp_path / "data" / "train", 24).parent
    image_folder(data / "val", 9)
    with pytest.raises(SystemExit):
        main(flags(data, tmp_path / "run", "--stop-after", "0.00001"))
    moved = next((data / "val" / "red").iterdir()).rename(tmp_path / "picture.png")
    with pytest.raises(UserError, match="has the run's training pictures in another order, or other ones to choose on"):
        main(again(tmp_path / "run", "--stop-after", "0"))
    moved.rename(data / "val" / "red" / "000.png")
    main(again(tmp_path / "run", "--stop-after", "0"))
