"""Which pictures a run learns from, chooses on and is measured on, and what is said where classes or pictures are missing."""

import datasets
import pytest
import torch

from tests.test_data import CLASSES, encoded, load, refusal
from tests.training_data import NAMES, coloured, image_folder, parquet_dataset, rows, write_parquet
from training import report
from training.config import TrainConfig
from training.data import divide, load_splits
from training.pretrain import PretrainConfig


def test_without_a_test_split_always_the_same_tenth_is_held_out_and_called_validation(tmp_path):
    folder = parquet_dataset(tmp_path, train=40, test=0)
    one, other = load(folder, seed=1), load(folder, seed=2)
    assert (one.held_out_name, one.test_split, len(one.held_out), len(one.train)) == ("validation", None, 4, 36)
    assert one.held_out.fingerprint == other.held_out.fingerprint and one.order == other.order  # so seeds can be compared
    assert one.held_out.pixels.rows not in ([0, 1, 2, 3], [36, 37, 38, 39])  # drawn from all
    whole = set(one.train.digests) | set(one.held_out.digests)
    assert len(whole) == 40  # no picture on both sides


def test_of_few_pictures_one_is_held_out():
    assert [len(part) for part in divide(TrainConfig(), list(range(7)), hold_out=True)] == [6, 0, 1]


def test_pictures_to_choose_on_are_the_last_and_a_trial_takes_the_first(tmp_path):
    folder = parquet_dataset(tmp_path, train=20)
    found, whole = load(folder, validation_images=5, max_train_images=4), load(folder)
    assert torch.equal(found.validation.pixels, whole.train.pixels[15:]) and torch.equal(found.train.pixels, whole.train.pixels[:4])
    assert found.validation.labels.tolist() == whole.train.labels[15:].tolist()


def with_validation(folder, *others):
    """20 pictures to learn from, 5 to choose on, and `others`, 4 each; colours as classes."""
    for number, (split, count) in enumerate({"train": 20, "val": 5, **dict.fromkeys(others, 4)}.items()):
        for picture in range(count):
            place = folder / split / NAMES[picture % 3]
            place.mkdir(parents=True, exist_ok=True)
            coloured(picture % 3, 100 * number + picture).save(place / f"{picture}.png")
    return folder


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize("resident", [8, 1e-6])
def test_the_data_sets_own_validation_split_is_what_to_choose_on(tmp_path, resident):
    folder = with_validation(tmp_path, "test")
    found = load(folder, resident_gb=resident)
    assert (len(found.train), len(found.validation), len(found.held_out), found.held_out_part, found.validation_split) == (20, 5, 4, "test", "validation")
    assert found.said[0] == "split validation (5 pictures) is measured after each epoch"
    [first] = report.pictures(next(iter(found.validation.feed([torch.tensor([0])]))))
    assert report.picture_digest(first, found.validation.labels[0]) == found.validation.digests[0]
    assert first.tobytes() == coloured(2, 102).tobytes()  # blue comes first by its name
    assert found.order != load(folder, validation_images=5).order


def test_without_a_test_split_the_validation_split_is_measured_on_and_nothing_held_out_of_train(tmp_path):
    folder = with_validation(tmp_path)
    found = load(folder)
    assert (len(found.train), found.held_out_part, found.held_out_name, found.test_split) == (20, "validation", "validation", None)
    assert found.held_out.fingerprint == found.validation.fingerprint and len(found.held_out) == 5
    named = load(folder, test_split="validation")
    assert (len(named.train), named.validation, named.held_out_name, named.test_split) == (20, None, "validation", "validation")
    assert named.held_out.fingerprint == found.held_out.fingerprint and named.train.fingerprint == found.train.fingerprint
    (folder / "val" / "red" / "0.png").write_bytes(b"no picture")
    blind = load_splits(PretrainConfig(dataset=str(folder), workers=1), 8, progress=False)
    assert (blind.validation, blind.held_out, blind.said) == (None, None, ()) and torch.equal(blind.train.pixels, found.train.pixels)


def test_of_folders_which_lie_class_after_class_pictures_to_choose_on_and_for_a_trial_are_drawn_from_all(tmp_path):
    folder = image_folder(tmp_path, count=60, names=("a", "b", "c", "d", "e"))
    found, other = (load(folder, validation_images=20, max_train_images=20, seed=seed) for seed in (1, 2))
    for part in (found.train, found.validation):
        assert len(part) == 20 and len(set(part.labels.tolist())) == 5
    assert found.said == () and found.order == other.order  # the same pictures, whatever the run's seed
    assert not set(found.train.digests) & set(found.validation.digests)


def test_classes_that_nothing_is_left_of_to_learn_from_are_named(tmp_path):
    pictures, _ = rows(30)
    columns = {"train": {"img": encoded(pictures), "label": sorted(number % 3 for number in range(30))}, "test": {"img": encoded(pictures[:3]), "label": [0, 1, 2]}}
    folder = write_parquet(tmp_path, columns, {"img": datasets.Image(), "label": CLASSES})
    assert load(folder, validation_images=5).said == ()
    [told] = load(folder, validation_images=12).said
    assert told == "warning: no training picture of 1 classes (blue), so they will not be learned: all of theirs are held out, cut off by --max-train-images, or unreadable"
    [told] = load(folder, max_train_images=15).said
    assert "1 classes (blue)" in told


def test_pictures_left_out_may_not_leave_one_class_and_are_counted(tmp_path):
    pictures, labels = rows(12)
    whole = {"img": encoded(pictures), "label": labels}
    bad = {"img": encoded([data[:60] if label == 2 else data for data, label in zip(pictures, labels, strict=True)]), "label": labels}
    found = load(write_parquet(tmp_path / "some", {"train": bad, "test": bad}, {"img": datasets.Image(), "label": CLASSES}), skip_bad=True)
    assert (found.train.left_out, found.held_out.left_out) == (4, 4) and "no training picture of 1 classes (blue)" in found.said[0]
    bad["img"] = encoded([data if label == 2 else data[:60] for data, label in zip(pictures, labels, strict=True)])
    one = write_parquet(tmp_path / "one", {"train": bad, "test": whole}, {"img": datasets.Image(), "label": CLASSES})
    assert refusal(one, skip_bad=True).startswith("only one class (blue)")
