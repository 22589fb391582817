"""What a model is said to come from."""

import json

from training.lineage import KNOWN, TOLD, descent, dataset_name

RUN = {"command": "python -m training.train", "epochs": 2, "best_epoch": 1, "images_seen": 90, "seconds": 1.5, "device": "CPU: x", "note": "stopped early"}


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


def test_a_copy_of_a_public_data_set_is_called_by_its_name(tmp_path):
    [(fingerprint, name)] = KNOWN.items()
    assert dataset_name(str(tmp_path), fingerprint) == name == "uoft-cs/cifar10"
    assert dataset_name(str(tmp_path), "aa") == dataset_name(str(tmp_path), None) == tmp_path.name
    assert dataset_name("me/pictures", "aa") == "me/pictures"
