"""What a model is said to come from."""

import json
from types import SimpleNamespace

import pytest

from training.lineage import KNOWN, TOLD, about_known, dataset_name, descent, known_before

RUN = {"command": "python -m training.train", "epochs": 2, "best_epoch": 1, "images_seen": 90, "seconds": 1.5, "device": "CPU: x",
       "dataset": {"name": "pictures", "config": None, "train_split": "train", "train_images": 45}, "note": "stopped early"}


def wrote(folder, **metrics) -> str:
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return str(folder)


def test_from_scratch_there_is_nothing_before(tmp_path):
    assert descent(None) == {"base_model": None, "earlier": []}


def test_what_others_made_is_the_base(tmp_path):
    (tmp_path / "theirs").mkdir()
    assert descent("google/vit-base-patch16-224-in21k") == {"base_model": "google/vit-base-patch16-224-in21k", "earlier": []}
    assert descent(str(tmp_path / "theirs")) == {"base_model": "theirs", "earlier": []}
    assert descent(wrote(tmp_path / "measured", test_accuracy=0.5)) == {"base_model": "measured", "earlier": []}


def test_a_run_of_ours_hands_on_what_it_came_from(tmp_path):
    first = wrote(tmp_path / "first", base_model=None, seed=3, **RUN)
    assert descent(first) == {"base_model": None, "earlier": [RUN]} and set(RUN) == set(TOLD)
    second = {**RUN, "command": "python -m training.train --model first"}
    assert descent(wrote(tmp_path / "second", **second, **descent(first))) == {"base_model": None, "earlier": [RUN, second]}
    tuned = wrote(tmp_path / "tuned", base_model="google/vit-base-patch16-224-in21k", earlier=[], **RUN)
    assert descent(tuned)["base_model"] == "google/vit-base-patch16-224-in21k"


def splits(validation: int = 0, drawn: bool = False, own: str | None = None):
    return SimpleNamespace(validation=range(validation) if validation else None, validation_split=own, held_out_part="held_out" if drawn else "test")


@pytest.mark.parametrize("before, now, known", [
    ({}, splits(), None), ({}, splits(5), "learned"), ({"validation_images": 4}, splits(5), "learned"), ({"validation_images": 5}, splits(5), None),
    ({"validation_images": 9, "validation_split": "val"}, splits(5), "learned"), ({}, splits(5, own="val"), None),
    ({}, splits(drawn=True), "learned"), ({"held_out_images": 5}, splits(drawn=True), None),
    ({"name": "others"}, splits(5), None), ({"config": "large"}, splits(5), None), ({"train_split": "other"}, splits(5), None)])
def test_pictures_that_an_earlier_run_learned_from_are_no_new_ones(tmp_path, before, now, known):
    run = {**RUN, "dataset": {**RUN["dataset"], **before}}
    config = SimpleNamespace(model=wrote(tmp_path / "model", base_model=None, **run), dataset="pictures", dataset_config=None, train_split="train")
    assert known_before(config, now) == known
    config.model = wrote(tmp_path / "next", base_model=None, earlier=[run], **{**RUN, "dataset": {**RUN["dataset"], "name": "others"}})
    assert known_before(config, now) == known  # however long ago
    config.model = wrote(tmp_path / "mae", base_model=None, **{**run, "command": "python -m training.pretrain"})
    assert known_before(config, now) == (known and "seen without labels")
    assert [line.split(":")[0] for line in about_known(known)] == (["warning"] if known else [])


def test_a_copy_of_a_public_data_set_is_called_by_its_name(tmp_path):
    [(fingerprint, name)] = KNOWN.items()
    assert dataset_name(str(tmp_path), fingerprint) == name == "uoft-cs/cifar10"
    assert dataset_name(str(tmp_path), "aa") == dataset_name(str(tmp_path), None) == tmp_path.name
    assert dataset_name("me/pictures", "aa") == "me/pictures"
