"""Which pictures a run learns from, chooses on and is measured on, and what is said where classes or pictures are missing."""

import os
from collections import Counter

import datasets
import pytest
import torch

from tests.test_data import CLASSES, encoded, load, refusal
from tests.training_data import NAMES, coloured, image_folder, parquet_dataset, rows, write_parquet
from training import pretrain, report, train
from training.config import TrainConfig
from training.data import load_splits
from training.hold_out import divide, in_blocks
from training.pretrain import PretrainConfig
from training.report import read_metrics


def test_without_a_test_split_always_the_same_tenth_is_held_out_and_called_validation(tmp_path):
    folder = parquet_dataset(tmp_path, train=40, test=0)
    one, other = load(folder, seed=1), load(folder, seed=2)
    assert (one.held_out_name, one.test_split, len(one.held_out), len(one.train)) == ("validation", None, 4, 36)
    assert one.held_out.fingerprint == other.held_out.fingerprint and one.order == other.order  # so seeds can be compared
    assert one.held_out.pixels.rows not in ([0, 1, 2, 3], [36, 37, 38, 39])  # drawn from all
    whole = set(one.train.digests) | set(one.held_out.digests)
    assert len(whole) == 40  # no picture on both sides


def test_of_few_pictures_one_is_held_out():
    assert [len(part) for part in divide(TrainConfig(), list(range(7)), [0, 1] * 3 + [0], hold_out=True)] == [6, 0, 1]


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


def labelled(folder, labels: list, names=NAMES, more=None, test=False):
    """Parquet files of as many pictures as labels, in that order; `more`: a further column of labels."""
    pictures, _ = rows(len(labels))
    columns = {"img": encoded(pictures), "label": labels, **({"more": more} if more else {})}
    features = {"img": datasets.Image(), **dict.fromkeys(columns.keys() - {"img"}, datasets.ClassLabel(names=list(names)))}
    splits = {"train": columns, **({"test": {name: values[: len(names)] for name, values in columns.items()}} if test else {})}
    return write_parquet(folder, splits, features)


def test_of_rows_that_lie_class_after_class_each_part_shows_every_class_in_its_share(tmp_path):
    folder = labelled(tmp_path, [0] * 120 + [1] * 60 + [2] * 20)
    found, other = (load(folder, validation_images=30, max_train_images=100, seed=seed) for seed in (1, 2))
    counts = [Counter(part.labels.tolist()) for part in (found.train, found.validation, found.held_out)]
    for share, count in zip((100, 30, 20), counts, strict=True):
        assert count.total() == share and all(abs(count[label] - share * part) <= 1 for label, part in enumerate((0.6, 0.3, 0.1)))
    assert found.order == other.order and found.said == ()
    parts = [set(part.digests) for part in (found.train, found.validation, found.held_out)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 150
    fewer = load(folder, validation_images=10)
    assert set(fewer.validation.digests) < set(found.validation.digests) and fewer.held_out.fingerprint == found.held_out.fingerprint


@pytest.mark.parametrize("labels, lie_so", [
    ([number % 3 for number in range(60)], False), (sorted(number % 3 for number in range(12)), True), ([0] * 50, False),
    (sorted(number % 10 for number in range(100)) * 4, True),  # several files, each of them sorted
    ([number * number % 7 % 5 for number in range(900)] + [5] * 40, True),  # a class put behind the others
])
def test_rows_lie_in_blocks_or_mixed(labels, lie_so):
    assert in_blocks(labels) == lie_so
    assert not in_blocks([labels[row] for row in torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).tolist()])


@pytest.mark.skipif("VIT_DEMO_DATA" not in os.environ, reason="needs CIFAR-10 in VIT_DEMO_DATA")
def test_cifar_10_holds_out_its_last_rows_and_a_trial_takes_its_first():
    """As every number of this project was chosen."""
    found = datasets.load_dataset(os.path.join(os.environ["VIT_DEMO_DATA"], "cifar10"))
    assert not any(in_blocks(found[split]["label"][:]) for split in ("train", "test"))
    divided = divide(TrainConfig(validation_images=5000, max_train_images=1000), list(range(50_000)), found["train"]["label"][:], hold_out=False)
    assert divided == (list(range(1000)), list(range(45_000, 50_000)), [])


@pytest.mark.parametrize("rare", [0, 25, 39])
@pytest.mark.parametrize("settings", [{}, {"validation_images": 15}, {"validation_images": 15, "test_split": "none"}])
def test_the_only_picture_of_a_class_is_learned_from(tmp_path, settings, rare):
    labels = [number % 2 for number in range(40)]
    labels[rare] = 2
    parquet = labelled(tmp_path / "mixed", labels)
    files = image_folder(tmp_path / "files", count=40, names=NAMES[:2])
    (files / "blue").mkdir()
    coloured(2, 0).save(files / "blue" / "0.png")
    for folder in (parquet, labelled(tmp_path / "sorted", sorted(labels)), files):
        found = load(folder, **settings)
        assert [found.train.class_names[label] for label in found.train.labels].count("blue") == 1 and found.said == ()


def test_more_held_out_than_leaves_one_of_each_class_takes_what_was_asked_for():
    assert [len(part) for part in divide(TrainConfig(validation_images=4), list(range(5)), [0, 1, 2, 3, 4], hold_out=False)] == [1, 4, 0]


def test_classes_that_nothing_is_left_of_to_learn_from_are_named(tmp_path):
    folder = labelled(tmp_path, [0] * 14 + [1] * 14 + [2] * 2, test=True)
    assert load(folder, validation_images=12).said == ()
    [told] = load(folder, max_train_images=4).said
    assert told == "warning: no training picture of 1 classes (blue), so they will not be learned: all of theirs are held out, cut off by --max-train-images, or unreadable"


@pytest.mark.parametrize("labels, by_rows", [([0] * 20 + [1] * 20 + [2] * 20, False), ([number % 3 for number in range(60)], True)])
@pytest.mark.parametrize("settings", [{}, {"validation_images": 12}, {"validation_images": 12, "test_split": "none"}])
def test_pretraining_leaves_out_what_a_fine_tune_holds_out_in_whichever_order_classes_lie(tmp_path, labels, by_rows, settings):
    for folder, rows_decide in ((labelled(tmp_path / "parquet", labels), by_rows), (image_folder(tmp_path / "files", count=60), False)):
        fine_tune = load(folder, **settings)
        blind = load_splits(PretrainConfig(dataset=str(folder), workers=1, **settings), 8, progress=False)
        assert torch.equal(blind.train.pixels, fine_tune.train.pixels) and blind.held_out_by == fine_tune.held_out_by
        assert set(blind.train.labels.tolist()) == {0} and (blind.held_out_by is None) == rows_decide


def test_of_a_folder_without_classes_pictures_are_drawn(tmp_path):
    """By name, its last ones may be those of one day."""
    blind = load_splits(PretrainConfig(dataset=str(image_folder(tmp_path, 40, names=("",))), workers=1, test_split="none", validation_images=10), 8, progress=False)
    assert len(blind.held_out) == 10 and min(blind.held_out.pixels.rows) < 20 and blind.said == ()


def test_a_pretraining_that_cannot_know_which_classes_will_be_learned_says_so(tmp_path):
    labels = [0] * 20 + [1] * 20
    folder = labelled(tmp_path, labels, names=NAMES[:2], more=[0, 1] * 20)
    blind = load_splits(PretrainConfig(dataset=str(folder), workers=1), 8, progress=False)
    assert blind.said == ("note: no labels were found by their type, so a fine-tune that is told their column may choose and measure on pictures that are learned from here",)
    assert load_splits(PretrainConfig(dataset=str(folder), workers=1, test_split="none"), 8, progress=False).said == ()  # nothing is held out
    assert [load(folder, label_column=name, validation_images=8).held_out_by is None for name in ("more", "label")] == [True, False]


@pytest.mark.parametrize("column, told", [("more", False), ("label", True)])
def test_a_fine_tune_knows_when_pretraining_held_out_other_pictures(tmp_path, column, told):
    folder = labelled(tmp_path / "data", [0] * 24 + [1] * 24, names=NAMES[:2], more=[0, 1] * 24)
    some = ["--dataset", str(folder), "--epochs", "1", "--batch-size", "8", "--workers", "0"]
    small = [f"--{name}=16" for name in ("hidden-size", "intermediate-size")] + [f"--{name}=1" for name in ("num-hidden-layers", "num-attention-heads", "decoder-layers")]
    mae = pretrain.main([*some, "--output", str(tmp_path / "mae"), "--preset", "tiny-cpu", "--image-size", "8", "--patch-size", "2", "--decoder-hidden-size", "32", *small])
    assert "held_out_by" not in read_metrics(mae)["dataset"]
    found = read_metrics(train.main([*some, "--output", str(tmp_path / "run"), "--model", str(mae), "--bank", "0", "--label-column", column]))["dataset"]
    assert ("held_out_by" in found, found.get("known_before")) == (told, "seen without labels" if told else None)


def test_pictures_left_out_may_not_leave_one_class_and_are_counted(tmp_path):
    pictures, labels = rows(12)
    whole = {"img": encoded(pictures), "label": labels}
    bad = {"img": encoded([data[:60] if label == 2 else data for data, label in zip(pictures, labels, strict=True)]), "label": labels}
    found = load(write_parquet(tmp_path / "some", {"train": bad, "test": bad}, {"img": datasets.Image(), "label": CLASSES}), skip_bad=True)
    assert (found.train.left_out, found.held_out.left_out) == (4, 4) and "no training picture of 1 classes (blue)" in found.said[0]
    bad["img"] = encoded([data if label == 2 else data[:60] for data, label in zip(pictures, labels, strict=True)])
    one = write_parquet(tmp_path / "one", {"train": bad, "test": whole}, {"img": datasets.Image(), "label": CLASSES})
    assert refusal(one, skip_bad=True).startswith("only one class (blue)")
