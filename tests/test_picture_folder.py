"""Folders of pictures: every picture is in the split and in the class that its folder's whole name says, or a line says why not."""

import os

import pytest

from tests.training_data import NAMES, coloured
from training.picture_folder import splits_of
from training.source import open_dataset
from vit_demo.errors import UserError


def pictures(root, *places: str):
    """Two pictures in each folder."""
    for number, place in enumerate(places):
        folder = root / place
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(2):
            coloured(number, copy).save(folder / f"test_{copy}.png")  # a name that means nothing
    return root


def read(root) -> dict[str, list[str]]:
    """Split -> the class of each picture."""
    return {split: [rows.features["label"].names[label] for label in rows[:]["label"]] for split, rows in open_dataset(str(root)).items()}


@pytest.mark.parametrize("places", [
    ("freight train", "test-tube", "lab"),  # words in the names of classes
    ("train", "bus", "car"),  # a class that is called as a split is
    ("cat", "validation_dog"),
])
def test_no_class_is_lost_to_a_word_in_a_name(tmp_path, places):
    assert read(pictures(tmp_path, *places)) == {"train": [name for name in sorted(places) for _ in range(2)]}


@pytest.mark.parametrize("train, test, validation", [("train", "test", "val"), ("Training", "eval", "dev"), ("train", "Test", "validation")])
def test_splits_are_folders_of_just_that_name(tmp_path, train, test, validation):
    pictures(tmp_path, f"{train}/a", f"{train}/test b", f"{test}/a", f"{test}/test b", f"{validation}/a")
    assert read(tmp_path) == {"train": ["a"] * 2 + ["test b"] * 2, "validation": ["a"] * 2, "test": ["a"] * 2 + ["test b"] * 2}


def test_labels_may_stand_in_a_table(tmp_path):
    for split in ("train", "test"):
        pictures(tmp_path, split)
        (tmp_path / split / "metadata.csv").write_text("file_name,label\ntest_0.png,x\ntest_1.png,y\n")
    assert {split: rows["label"] for split, rows in ((s, r[:]) for s, r in open_dataset(str(tmp_path)).items())} == {"train": ["x", "y"], "test": ["x", "y"]}


def test_pictures_without_classes_keep_their_splits(tmp_path):
    """For training.pretrain, which must not see those to test on."""
    assert splits_of(pictures(tmp_path, "train", "test")) == {"train": "train/**", "test": "test/**"}


def test_pictures_may_lie_deeper_where_folders_are_no_classes(tmp_path):
    """Hidden ones are not read, a table names the classes, and training.pretrain reads none."""
    assert read(pictures(tmp_path / "hidden", "cat", "cat/.thumbnails", "dog/__cache", "dog")) == {"train": ["cat", "cat", "dog", "dog"]}
    assert splits_of(pictures(tmp_path / "plain", "2024/may", "2024/june", "2025"), classes=False) == {"train": "**"}
    table = pictures(tmp_path / "table", "train/2024/may")
    (table / "train" / "metadata.csv").write_text("file_name,label\n2024/may/test_0.png,x\n2024/may/test_1.png,y\n")
    assert open_dataset(str(table))["train"][:]["label"] == ["x", "y"]


def test_a_refusal_is_told_as_it_is(tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path} holds pictures deeper .* folders$"):
        open_dataset(str(pictures(tmp_path, "cat/indoor", "dog/indoor")))


@pytest.mark.parametrize("places, told", [
    (("train/a", "test/a", "extra/a"), r"holds the split \w+/ and, beside it, extra/, which is none: leave only splits there"),
    (("data/train/a", "data/test/a"), r"holds splits one level down \(data/test/\): give the folder that holds train/ and test/ themselves"),
    (("cat/train", "cat/test", "dog/train", "dog/test"), r"holds splits one level down \(cat/test/\): .* with the classes inside them"),
    (("val/a", "valid/a", "train/a"), r"holds one split under two names \(train, val, valid\): put them together"),
    (("cat/indoor", "cat/outdoor", "dog/indoor"), r"holds pictures deeper than in the folder of a class \(cat/indoor/test_0.png\): put such into that folder itself, or give"),
    (("cat", "cat/extra", "dog"), r"deeper than in the folder of a class \(cat/extra/test_0.png\)"),
    (("train/cat", "train/dog", "test/cat", "test/dog/more"), r"deeper than in the folder of a class \(test/dog/more/test_0.png\)"),
    (("cat", "dog", "."), r"holds pictures beside its class folders \(test_0.png, test_1.png\): put each into the folder of its class"),
])
def test_layouts_that_could_lose_or_mix_pictures_are_refused_in_one_line(tmp_path, places, told):
    with pytest.raises(UserError, match=told) as refused:
        splits_of(pictures(tmp_path, *places))
    assert "\n" not in str(refused.value)


def test_an_archive_and_an_empty_folder_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="no parquet files and no folders of pictures in it"):
        splits_of(tmp_path)
    (tmp_path / "train.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="holds the archive train.zip: unpack it, and take it away"):
        splits_of(tmp_path)


def test_the_folder_one_stands_in_is_a_dataset_too(tmp_path, monkeypatch):
    monkeypatch.chdir(pictures(tmp_path, *NAMES))
    assert read(os.curdir) == {"train": [name for name in sorted(NAMES) for _ in range(2)]}
