"""Columns are found by their types. Labels become class numbers; those that name no class are refused with what to do."""

import datasets
import pytest

from tests.training_data import rows, write_parquet
from training.config import TrainConfig
from training.data import load_splits
from training.source import class_ids, find_columns
from vit_demo.errors import UserError

CLASSES, NUMBER, WORD = datasets.ClassLabel(names=["a", "b", "c"]), datasets.Value("int64"), datasets.Value("string")


def refusal(*arguments) -> str:
    with pytest.raises(UserError) as refused:
        class_ids(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_columns_are_found_by_their_types():
    features = datasets.Features({"a": datasets.Value("int64"), "photo": datasets.Image(), "kind": CLASSES})
    assert find_columns(features) == ("photo", "kind")
    assert find_columns(features, label_column="a") == ("photo", "a")  # plain numbers serve when they are named
    bare = datasets.Features({"photo": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}, "kind": CLASSES})
    assert find_columns(bare) == ("photo", "kind")


@pytest.mark.parametrize("features, named, told", [
    ({"img": datasets.Image(), "fine_label": CLASSES, "coarse_label": CLASSES}, {}, r"several label columns \(fine_label, coarse_label\): choose one with --label-column"),
    ({"left": datasets.Image(), "right": datasets.Image(), "label": CLASSES}, {}, r"several image columns \(left, right\): choose one with --image-column"),
    ({"text": datasets.Value("string"), "label": CLASSES}, {}, "no image column among text, label"),
    ({"img": datasets.Image(), "text": datasets.Value("string")}, {}, "no label column among img, text: choose one with --label-column"),
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
    assert class_ids([30], NUMBER, ("4", "30")) == ([1], ("4", "30"))


@pytest.mark.parametrize("count, more", [(48, {}), (96, {"max_train_images": 40})])
def test_classes_are_those_that_pictures_show_not_those_declared(tmp_path, count, more):
    pictures, _ = rows(count)
    columns = {"train": {"img": [{"bytes": data, "path": None} for data in pictures], "label": sorted(number // 48 for number in range(count))}}
    folder = write_parquet(tmp_path, columns, {"img": datasets.Image(), "label": CLASSES})
    with pytest.raises(UserError, match=r"^only one class \(a\): a classifier needs at least 2 among its \d+ training pictures: add pictures of another class, or raise --max-train-images"):
        load_splits(TrainConfig(dataset=str(folder), workers=0, **more), 8, progress=False)


def test_a_negative_number_is_no_class():
    assert refusal([0, 7, -1], NUMBER) == "row 2 has label -1, and a negative number is no class: remove such rows first, or choose another column with --label-column"
    assert refusal([0, 1, -1], CLASSES) == "row 2 has label -1: labels must lie between 0 and 2: remove such rows first, or choose another split or --label-column"


@pytest.mark.parametrize("feature, known", [(CLASSES, ("a", "b", "c")), (NUMBER, ("0", "1"))])
def test_hidden_labels_of_a_test_split_name_the_flag(feature, known):
    told = refusal([-1, -1], feature, known)
    assert told == (f"the test split has other classes (-1) than the training split ({', '.join(known)}): name another with --test-split, "
                    "or leave it unread with --test-split none and --validation-images")
