"""Folders of pictures: every picture is in the split and in the class that its folder's whole name says, or a line says why not."""

import os
import re

import pytest
from datasets import Dataset
from datasets.data_files import resolve_pattern

from tests.training_data import NAMES, coloured
from training.config import TrainConfig
from training.data import load_splits
from training.picture_folder import all_files, splits_of
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


def listed(root, **how) -> dict[str, list[str]]:
    return {split: [os.path.relpath(path, root) for path in paths] for split, paths in splits_of(root, **how).items()}


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
    expected = {"train": ["x", "y"], "test": ["x", "y"]}
    assert {split: rows["label"] for split, rows in ((s, r[:]) for s, r in open_dataset(str(tmp_path)).items())} == expected
    for split in ("train", "test"):  # a table of the library's third kind
        (tmp_path / split / "metadata.csv").unlink()
        Dataset.from_dict({"file_name": ["test_0.png", "test_1.png"], "label": ["x", "y"]}).to_parquet(tmp_path / split / "metadata.parquet")
    assert {split: rows["label"] for split, rows in ((s, r[:]) for s, r in open_dataset(str(tmp_path)).items())} == expected


def test_pictures_without_classes_keep_their_splits(tmp_path):
    """For training.pretrain, which must not see those to test on."""
    assert listed(pictures(tmp_path, "train", "test")) == {split: [f"{split}/test_0.png", f"{split}/test_1.png"] for split in ("train", "test")}


def test_pictures_may_lie_deeper_where_folders_are_no_classes(tmp_path):
    """Hidden ones are not read, a table names the classes, and training.pretrain reads none."""
    assert read(pictures(tmp_path / "hidden", "cat", "cat/.thumbnails", "dog/__cache", "dog")) == {"train": ["cat", "cat", "dog", "dog"]}
    places = (".", "2024", "2024/june", "2024/may", "2025")
    assert listed(pictures(tmp_path / "plain", *places), classes=False) == {"train": sorted(os.path.normpath(f"{place}/test_{copy}.png") for place in places for copy in range(2))}
    table = pictures(tmp_path / "table", "train/2024/may")
    (table / "train" / "metadata.csv").write_text("file_name,label\n2024/may/test_0.png,x\n2024/may/test_1.png,y\n")
    assert open_dataset(str(table))["train"][:]["label"] == ["x", "y"]


@pytest.mark.parametrize("places, links", [
    (("cat", "dog", "emu"), ("emu",)),
    (("cat", "dog"), ("cat", "dog")),
    (("train/cat", "train/dog", "test/cat", "test/dog"), ("train/dog", "test/dog")),
    (("train/cat", "train/dog", "test/cat", "test/dog"), ("train", "test")),
])
def test_folders_may_be_links(tmp_path, places, links):
    """The library alone follows none: their pictures would be lost in silence."""
    root = pictures(tmp_path / "pics[1]", *places)
    expected = read(root)
    for number, link in enumerate(links):
        (root / link).rename(tmp_path / str(number))
        (root / link).symlink_to(tmp_path / str(number))
    assert read(root) == expected and sum(map(len, expected.values())) == 2 * len(places)


def test_links_that_lead_nowhere_or_round_are_refused(tmp_path):
    root = pictures(tmp_path, "cat", "dog")
    (root / "emu").symlink_to(root / "gone")
    with pytest.raises(UserError, match=f"^{root}/emu is a link to nothing: mend it, or take it away$"):
        open_dataset(str(root))
    (root / "emu").unlink()
    (root / "cat" / "dog").symlink_to(root / "dog")
    (root / "dog" / "cat").symlink_to(root / "cat")
    with pytest.raises(UserError, match=f"^{root}/cat/dog/cat is a link to a folder that it lies in: take it away$"):
        open_dataset(str(root))


def test_files_are_those_that_the_library_would_find(tmp_path):
    """In its order too, which decides what is held out."""
    root = pictures(tmp_path, "a", "a b", "a-b", "a.b", "B", "ä", "a/x", ".h", "a/__c")
    for name in ("10.png", "2.PNG", ".h.png", "__p.png"):
        coloured(0, 0).save(root / "a" / name, "PNG")
    assert all_files(root) == resolve_pattern("**", str(root))


def test_files_that_pillow_only_writes_are_no_pictures(tmp_path):
    pictures(tmp_path, "cat", "dog")
    for place in (".", "dog/docs/more"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "readme.pdf").write_bytes(b"%PDF")
    assert read(tmp_path) == {"train": ["cat"] * 2 + ["dog"] * 2}


def test_a_table_beside_splits_is_refused(tmp_path):
    """It would not be read, and the name of each split would be its one class."""
    (pictures(tmp_path, "train", "test") / "metadata.csv").write_text("file_name,label\ntrain/test_0.png,x\n")
    with pytest.raises(UserError, match=f"^{tmp_path} holds a table of labels .* beside its split test/: put a table into each split instead$"):
        open_dataset(str(tmp_path))
    assert list(splits_of(tmp_path, classes=False)) == ["test", "train"]


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
    (("train", "train/cat", "train/dog", "test/cat"), r"/train holds pictures beside its class folders \(test_0.png, test_1.png\): put each into the folder of its class"),
    ((".", "train/cat", "test/cat"), r"holds pictures \(test_0.png, test_1.png\) beside its split test/: put each into the split that it belongs to"),
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


def renamed(root, *kinds: str) -> None:
    """Each picture gets one of these endings, in turn."""
    for number, picture in enumerate(sorted(root.rglob("*.png"))):
        picture.rename(picture.with_suffix(kinds[number % len(kinds)]))


@pytest.mark.parametrize("place, kinds, told", [
    ("dog", (".avif", ".png"), r"\(\.avif\): 1 of the 4"),  # Pillow opens it, the library does not
    ("dog", (".HEIC", ".HEIC"), r"\(\.HEIC\): 2 of the 4"),  # a whole class
    (".", (".HEIC", ".dng"), r"\(\.HEIC, \.dng\): 4 of the 4"),  # all there is
])
@pytest.mark.parametrize("classes", [True, False])
def test_pictures_of_a_kind_that_is_not_read_are_missed(tmp_path, place, kinds, told, classes):
    renamed(pictures(tmp_path, "cat", "dog") / place, *kinds)
    with pytest.raises(UserError, match=f"^pictures of a kind that is not read {told} of split train: save those as JPEG or PNG, or take them away$"):
        open_dataset(str(tmp_path), classes=classes)


@pytest.mark.parametrize("split", [".", "train", "test"])
def test_a_class_without_a_picture_is_missed(tmp_path, split):
    pictures(tmp_path, *(("cat", "dog") if split == "." else ("train/cat", "train/dog", "test/cat", "test/dog")))
    (tmp_path / split / "emu" / "more").mkdir(parents=True)
    (tmp_path / split / "emu" / "film.mov").write_bytes(b"film")
    root = re.escape(str(tmp_path / split))
    with pytest.raises(UserError, match=rf"^{root} holds folders without a picture \(emu\), and each folder is a class: put its pictures there, or take it away$"):
        open_dataset(str(tmp_path))
    assert sum(map(len, open_dataset(str(tmp_path), classes=False).values())) == (4 if split == "." else 8)  # training.pretrain learns no classes


@pytest.mark.parametrize("places, at", [(("cat", "dog", "__background__"), "."), (("train/cat", "train/dog", "train/__background__", "test/cat"), "train"),
                                        (("train/cat", "train/dog", "__background__/a"), ".")])
@pytest.mark.parametrize("classes", [True, False])
def test_a_folder_whose_name_hides_its_pictures_is_missed(tmp_path, places, at, classes):
    """The library leaves it out in silence, a class and all."""
    pictures(tmp_path, *places)
    with pytest.raises(UserError, match=rf"^{re.escape(str(tmp_path / at))} holds pictures in __background__/, which begins with __ and would be left out: rename it, or take it away$"):
        open_dataset(str(tmp_path), classes=classes)
    (tmp_path / at / "__background__").rename(tmp_path / "away")
    (tmp_path / "away").rename(tmp_path / at / ".background")
    (tmp_path / at / "__MACOSX").mkdir()
    (tmp_path / at / "__MACOSX" / "._1.png").write_bytes(b"what such archives hold")
    assert sum(map(len, open_dataset(str(tmp_path), classes=classes).values())) == 2 * (len(places) - 1)


@pytest.mark.parametrize("split, told", [("test", "the test split"), ("validation", "split 'validation'")])
def test_a_class_that_only_another_split_has_is_not_one_to_learn(tmp_path, split, told):
    pictures(tmp_path, "train/cat", "train/dog", "train/frog", f"{split}/cat", f"{split}/dog", f"{split}/horse")
    with pytest.raises(UserError, match=rf"^{told} has other classes \(horse\) than the training split \(cat, dog, frog\)"):
        load_splits(TrainConfig(dataset=str(tmp_path)), 8, progress=False)
    unread = load_splits(TrainConfig(dataset=str(tmp_path), test_split="none", validation_split="none", validation_images=2), 8, progress=False)
    assert unread.train.class_names == ("cat", "dog", "frog") and len(unread.train) == 4


def test_classes_that_only_the_training_split_has_keep_their_numbers_everywhere(tmp_path):
    pictures(tmp_path, "train/cat", "train/dog", "train/frog", "test/cat", "test/frog")
    found = load_splits(TrainConfig(dataset=str(tmp_path)), 8, progress=False)
    assert found.train.class_names == ("cat", "dog", "frog") and found.held_out.labels.tolist() == [0, 0, 2, 2]


def test_the_folder_one_stands_in_is_a_dataset_too(tmp_path, monkeypatch):
    monkeypatch.chdir(pictures(tmp_path, *NAMES))
    assert read(os.curdir) == {"train": [name for name in sorted(NAMES) for _ in range(2)]}
