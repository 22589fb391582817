"""Columns are found by their types. Labels become class numbers; those that name no class are refused with what to do."""

import datasets
import pytest

from tests.training_data import image_folder, parquet_dataset, rows, write_parquet
from training.config import TrainConfig
from training.data import load_splits
from training.source import class_ids, find_columns, known_ids, open_dataset
from vit_demo.errors import UserError

CLASSES, NUMBER, WORD = datasets.ClassLabel(names=["a", "b", "c"]), datasets.Value("int64"), datasets.Value("string")


def refusal(*arguments, read=class_ids) -> str:
    with pytest.raises(UserError) as refused:
        read(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_columns_are_found_by_their_types():
    features = datasets.Features({"a": datasets.Value("int64"), "photo": datasets.Image(), "kind": CLASSES})
    assert find_columns(features) == ("photo", "kind")
    assert find_columns(features, label_column="a") == ("photo", "a")  # plain numbers serve when they are named
    for plain in (NUMBER, WORD):
        assert find_columns(datasets.Features({"photo": datasets.Image(), "size": NUMBER, "labels": plain})) == ("photo", "labels")
    assert find_columns(datasets.Features({"photo": datasets.Image(), "label": NUMBER, "kind": CLASSES})) == ("photo", "kind")
    bare = datasets.Features({"photo": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}, "kind": CLASSES})
    assert find_columns(bare) == ("photo", "kind")


@pytest.mark.parametrize("features, named, told", [
    ({"img": datasets.Image(), "fine_label": CLASSES, "coarse_label": CLASSES}, {}, r"several label columns \(fine_label, coarse_label\): choose one with --label-column"),
    ({"left": datasets.Image(), "right": datasets.Image(), "label": CLASSES}, {}, r"several image columns \(left, right\): choose one with --image-column"),
    ({"text": datasets.Value("string"), "label": CLASSES}, {}, "no image column among text, label"),
    ({"img": datasets.Image(), "text": datasets.Value("string")}, {}, "no label column among img, text: choose one with --label-column"),
    ({"img": datasets.Image(), "label": NUMBER, "labels": NUMBER}, {}, r"several label columns \(label, labels\): choose one with --label-column"),
    ({"img": datasets.Image(), "label": datasets.Value("float32")}, {}, "no label column among img, label: choose one with --label-column"),
    ({"img": datasets.Image(), "label": CLASSES}, {"image_column": "photo"}, r"no column 'photo' \(--image-column\): the columns are img, label"),
    ({"img": datasets.Image(), "label": CLASSES}, {"image_column": "label"}, "column 'label' holds no pictures: choose among img"),
    ({"img": datasets.Image(), "label": CLASSES}, {"label_column": "img"}, "column 'img' holds no labels"),
])
def test_columns_that_are_not_clear_are_refused_with_the_list(features, named, told):
    with pytest.raises(UserError, match=told):
        find_columns(datasets.Features(features), **named)


def test_numbers_and_words_are_counted_from_0():
    assert class_ids([2, 0, 2], CLASSES) == ([2, 0, 2], ("a", "b", "c"))
    assert class_ids([30, 4, 30], NUMBER) == ([1, 0, 1], ("4", "30"))
    assert class_ids(["-1", "x"], WORD) == ([0, 1], ("-1", "x"))  # a word is what it says
    assert known_ids([30], NUMBER, ("4", "30"), declared=False) == [1]


@pytest.mark.parametrize("count, more", [(48, {}), (96, {"max_train_images": 1})])
def test_classes_are_those_that_pictures_show_not_those_declared(tmp_path, count, more):
    pictures, _ = rows(count)
    columns = {"train": {"img": [{"bytes": data, "path": None} for data in pictures], "label": sorted(number // 48 for number in range(count))}}
    folder = write_parquet(tmp_path, columns, {"img": datasets.Image(), "label": CLASSES})
    with pytest.raises(UserError, match=r"^only one class \([ab]\): a classifier needs at least 2 among its \d+ training pictures: add pictures of another class, or raise --max-train-images"):
        load_splits(TrainConfig(dataset=str(folder), workers=0, **more), 8, progress=False)


def test_a_negative_number_is_no_class():
    assert refusal([0, 7, -1], NUMBER) == "row 2 has label -1, and a negative number is no class: remove such rows first, or choose another column with --label-column"
    assert refusal([0, 1, -1], CLASSES) == "row 2 has label -1: labels must lie between 0 and 2: remove such rows first, or choose another split or --label-column"


def test_plain_numbers_of_a_test_split_are_names_where_the_training_split_declares_no_classes():
    """4 and 30 were learned: a 0 is neither of them, though there are two."""
    for stranger in (0, 1, 7):
        assert refusal([4, stranger], NUMBER, ("4", "30"), False, read=known_ids).startswith(f"the test split has other classes ({stranger}) than the training split (4, 30)")
    assert known_ids([2, 0], NUMBER, ("a", "b", "c"), declared=True) == [2, 0]
    assert known_ids([0, 2], NUMBER, ("1", "2", "3"), declared=True) == [0, 2]  # not every one is a name, so all are numbers
    assert refusal([3], NUMBER, ("a", "b", "c"), True, read=known_ids).startswith("the test split has other classes (3) than")
    assert refusal([0], NUMBER, ("air", "sea"), False, read=known_ids).startswith("the test split has other classes (0) than")


def test_plain_numbers_that_may_be_names_or_positions_are_refused():
    """1 and 2 of classes called 1, 2, 3: the first two, or the last two?"""
    known = ("1", "2", "3")
    told = refusal([2, 1, 2], NUMBER, known, True, read=known_ids)
    assert told.startswith("plain numbers of the test split (1, 2) may be names or positions, from 0, of the training split's classes (1, 2, 3): declare its classes as there, or name another with --test-split")
    assert refusal([1], NUMBER, known, True, "validation", read=known_ids).endswith("or leave it unread with --validation-split none")
    assert known_ids([3, 1], NUMBER, known, declared=True) == [2, 0]  # there is no position 3
    assert known_ids([1], NUMBER, known, declared=False) == [0]
    assert known_ids(["1"], WORD, known, declared=True) == [0]
    assert known_ids([0], datasets.ClassLabel(names=["2"]), known, declared=True) == [1]
    assert known_ids([2, 0], NUMBER, ("0", "1", "2"), declared=True) == [2, 0]  # both say the same
    assert known_ids([1], NUMBER, ("7", "1", "0"), declared=True) == [1]


def test_classes_of_a_test_split_are_matched_by_name_whatever_their_order():
    assert known_ids([0, 1], datasets.ClassLabel(names=["c", "a"]), ("a", "b", "c"), declared=True) == [2, 0]
    assert known_ids([1, 1], datasets.ClassLabel(names=["other", "a"]), ("a", "b"), declared=False) == [0, 0]
    assert "other classes (other) than" in refusal([0], datasets.ClassLabel(names=["other", "a"]), ("a", "b"), True, read=known_ids)


def test_other_classes_of_a_split_to_choose_on_name_that_split_and_what_leaves_it_unread():
    told = refusal(["c"], WORD, ("a", "b"), False, "validation", read=known_ids)
    assert told == ("split 'validation' has other classes (c) than the training split (a, b): "
                    "leave it unread with --validation-split none")


@pytest.mark.parametrize("feature, known", [(CLASSES, ("a", "b", "c")), (NUMBER, ("0", "1"))])
@pytest.mark.parametrize("declared", [True, False])
def test_hidden_labels_of_a_test_split_name_the_flag(feature, known, declared):
    told = refusal([-1, -1], feature, known, declared, read=known_ids)
    assert told == (f"the test split has other classes (-1) than the training split ({', '.join(known)}): name another with --test-split, "
                    "or leave it unread with --test-split none, and --validation-images where no validation split is")


def two_configurations(folder):
    """Two data sets under one name, as on the Hub: their README says which files belong to which."""
    for name, count in (("small", 6), ("large", 12)):
        pictures, labels = rows(count)
        write_parquet(folder / name, {"train": {"img": [{"bytes": data, "path": None} for data in pictures], "label": labels}}, {"img": datasets.Image(), "label": CLASSES})
    listed = "".join(f"- config_name: {name}\n  data_files: {name}/data/*.parquet\n" for name in ("small", "large"))
    (folder / "README.md").write_text(f"---\nconfigs:\n{listed}---\n")
    return folder


def test_one_of_several_configurations_is_chosen_by_its_name(tmp_path):
    folder = str(two_configurations(tmp_path))
    assert len(open_dataset(folder, "small")["train"]) == 6 and len(open_dataset(folder, "large")["train"]) == 12
    found = load_splits(TrainConfig(dataset=folder, dataset_config="large", workers=0, test_split="none", validation_images=2), 8, progress=False)
    assert len(found.train) == 10
    for config, told in ((None, "has several configurations"), ("huge", "has no configuration 'huge'")):
        with pytest.raises(UserError, match=rf"{told}: choose with --dataset-config among (small, large|large, small)$"):
            open_dataset(folder, config)


def test_a_folder_of_pictures_has_no_configurations(tmp_path):
    """Not taken in silence: a card would tell it as a fact."""
    with pytest.raises(UserError, match=f"^{tmp_path} is a folder of pictures, which is one data set: leave --dataset-config small out$"):
        open_dataset(str(image_folder(tmp_path)), "small")


@pytest.mark.parametrize("name", ["pics[1]", "what?", "a*"])
def test_a_folder_may_be_called_like_a_pattern(tmp_path, name):
    found = open_dataset(str(image_folder(tmp_path / name, 12)))
    assert len(found["train"]) == 12
    with pytest.raises(UserError, match=r"^parquet files in .* are not found for the characters \* \? \[ in that path: rename it$"):
        open_dataset(str(parquet_dataset(tmp_path / "parquet" / name)))


@pytest.mark.parametrize("places", [("cat", "test-tube"), ("train/cat", "train/dog", "test/cat", "test/dog"), ("cat", "__dog")])
@pytest.mark.parametrize("stray", ["info.parquet", "cat/features.parquet", ".cache/x.parquet"])
def test_a_parquet_file_among_pictures_is_refused_since_the_library_would_choose_their_splits(tmp_path, places, stray):
    for place in places:
        image_folder(tmp_path / place, 6, names=("",))
    (tmp_path / stray).parent.mkdir(exist_ok=True)
    datasets.Dataset.from_dict({"a": [1, 2]}).to_parquet(tmp_path / stray)
    with pytest.raises(UserError, match=rf"^{tmp_path} is a folder of pictures and holds the parquet file {stray} too: take that away, or give the folder of parquet files alone$"):
        open_dataset(str(tmp_path))


def test_pictures_beside_a_data_set_in_parquet_files_are_no_matter(tmp_path):
    """Those of its README.md, say."""
    parquet_dataset(tmp_path, train=6, test=3)
    image_folder(tmp_path / "assets", 6)
    assert {split: len(found) for split, found in open_dataset(str(tmp_path)).items()} == {"train": 6, "test": 3}


def test_a_readme_that_promises_other_splits_is_one_line(tmp_path):
    pictures, labels = rows(6)
    write_parquet(tmp_path, {"train": {"img": [{"bytes": data, "path": None} for data in pictures], "label": labels}}, {"img": datasets.Image(), "label": CLASSES})
    for name, count in (("train", 5), ("more", 6)):  # another number of pictures, another split
        (tmp_path / "README.md").write_text(f"---\ndataset_info:\n  splits:\n  - name: {name}\n    num_bytes: 1\n    num_examples: {count}\n---\n")
        with pytest.raises(UserError, match=r"the README.md of dataset '.*' promises other splits than its files hold \(.*\): mend dataset_info there, or take it out") as refused:
            open_dataset(str(tmp_path))
        assert "\n" not in str(refused.value)


def test_a_dataset_that_is_a_program_is_not_run(hub, tmp_path):
    (tmp_path / "program.py").write_text("raise SystemExit('it was run')")
    hub.seed("datasets", "some/program", tmp_path)
    with pytest.raises(UserError, match="dataset 'some/program' is a program, not files, and programs of others are not run: take a copy of it in parquet files"):
        open_dataset("some/program")


def test_what_is_not_a_number_is_no_label():
    with pytest.raises(UserError, match="^row 1 has no label: remove such rows first$"):
        class_ids([0.0, float("nan"), 1.0], datasets.Value("float32"))
