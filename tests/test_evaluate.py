"""Measuring a model: classes meet by name, pictures through the app's path, and what does not fit is refused."""

import json
import shutil

import datasets
import pytest
import torch

from tests.tiny import NAMES, noise, pil, save_tiny_model
from training import evaluate as evaluating
from training import report
from training.evaluate import evaluate, main, match_classes
from training.scores import scores
from vit_demo.classifier import load
from vit_demo.errors import UserError
from vit_demo.labels import clean_labels

ORDER = ("frog", "cat", "dog")  # the dataset's, not the model's


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("evaluate") / "model")


@pytest.fixture(scope="module")
def pictures():
    """Pictures of two sizes, so that nothing may stack them."""
    return [pil(picture) for picture in noise(9, size=20)] + [pil(picture) for picture in noise(6, size=40, seed=1)]


@pytest.fixture(scope="module")
def truth(model, pictures):
    """What the model says of each, by name, four of them turned into mistakes."""
    answers = [load(model).top_k(picture, 1)[0][0] for picture in pictures]
    return [NAMES[(NAMES.index(name) + (i < 4)) % 3] for i, name in enumerate(answers)]


def save_parquet(folder, pictures, labels, feature):
    columns = datasets.Features({"picture": datasets.Image(), "kind": feature})
    rows = datasets.Dataset.from_dict({"picture": pictures, "kind": labels}, features=columns)
    folder.mkdir(parents=True)
    rows.to_parquet(folder / "test-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, pictures, truth):
    labels = [ORDER.index(name) for name in truth]
    return save_parquet(tmp_path_factory.mktemp("evaluate") / "data", pictures, labels, datasets.ClassLabel(names=list(ORDER)))


def fingerprint(pictures, truth) -> str:
    return report.combined(map(report.picture_digest, pictures, map(ORDER.index, truth)))


def test_classes_meet_by_name_whatever_their_order(model, dataset, pictures, truth):
    found = evaluate(str(model), str(dataset), batch_size=4)
    assert found["accuracy"] == 11 / 15 and found["images"] == 15
    expected = scores(report.predict(load(model), pictures), [NAMES.index(name) for name in truth], NAMES)
    assert found["confusion"] == expected["confusion"] and found["per_class"] == expected["per_class"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert found["fingerprint"] == fingerprint(pictures, truth)


def test_an_image_folder_gives_the_same(model, pictures, truth, tmp_path):
    for i, (picture, name) in enumerate(zip(pictures, truth, strict=True)):
        (tmp_path / "photos" / "test" / name).mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "photos" / "test" / name / f"{i}.png")
    found = evaluate(str(model), str(tmp_path / "photos"))
    assert found["accuracy"] == 11 / 15 and found["dataset"] == "photos"


def test_some_of_rows_that_lie_class_after_class_show_each_in_its_share(model, tmp_path):
    pictures = [pil(picture) for picture in noise(40)]
    table = datasets.Dataset.from_dict({"img": pictures, "label": [0] * 20 + [1] * 12 + [2] * 8},
                                       features=datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))}))
    table.to_parquet(tmp_path / "test.parquet")
    found = evaluate(str(model), str(tmp_path), max_images=10)
    assert [row["support"] for row in found["per_class"]] == [5, 3, 2]
    assert found["fingerprint"] == evaluate(str(model), str(tmp_path), max_images=10)["fingerprint"]


def test_some_of_an_image_folder_are_drawn_from_all_its_classes(model, pictures, tmp_path):
    """Its pictures lie class after class: the first ones would be of one class."""
    for name in NAMES:
        (tmp_path / "test" / name).mkdir(parents=True)
        for number in range(8):
            pictures[number].save(tmp_path / "test" / name / f"{number}.png")
    found = evaluate(str(model), str(tmp_path), max_images=8)
    assert found["images"] == 8 and all(row["support"] for row in found["per_class"])


def test_a_model_of_the_hub_is_named_with_its_commit(hub, model, dataset):
    hub.seed("models", "tester/measured", model)
    found = evaluate("tester/measured", str(dataset), max_images=4)
    assert found["accuracy"] == 0 and found["images"] == 4
    assert found["model"] == "tester/measured" and found["revision"] == hub.commits("tester/measured")[0]["id"]


def test_match_classes():
    by_name, _ = match_classes(("Fire Truck", "cat"), ("cat", "dog", "fire_truck"))
    assert by_name.tolist() == [2, 0]
    assert "knows 1 more" in match_classes(("Fire Truck", "cat"), ("cat", "dog", "fire_truck"))[1]
    by_number, how = match_classes(("cat", "dog"), ("LABEL_0", "LABEL_1"))
    assert by_number.tolist() == [0, 1] and "by number" in how
    assert match_classes(("1", "3"), ("a", "b", "c", "d"))[0].tolist() == [1, 3]
    assert match_classes(("7", "8"), ("8", "7"))[0].tolist() == [1, 0]
    assert match_classes(("Katze", "Hund"), ("cat", "dog"), by_number=True)[0].tolist() == [0, 1]


def test_names_that_are_the_same_meet_before_those_that_are_alike():
    """EMNIST's letters, and names that differ in a gap."""
    assert match_classes(("B", "a", "A"), ("A", "a", "B"))[0].tolist() == [2, 1, 0]
    assert match_classes(("a_b", "A b"), ("a b", "a_b"))[0].tolist() == [1, 0]


def test_names_meet_as_the_app_cleans_them():
    """Too long ones, invisible characters, and names that are alike without them."""
    names = ("x" * 90, "ca\u200dt", "dog", "do\u200dg")
    assert match_classes(names, clean_labels(list(names)))[0].tolist() == [0, 1, 2, 3]
    assert match_classes(names[1::-1], clean_labels(list(names)))[0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("names", "labels", "says"),
    [
        (("cat", "car"), ("cat", "automobile"), r"1 of the dataset's 2 classes \(car\).*\(cat, automobile\)"),
        (("cat", "dog", "frog"), ("LABEL_0", "LABEL_1"), "cannot be matched by number"),
        (("0", "5"), ("a", "b"), "cannot be matched by number"),
        (("²", "³"), ("a", "b"), r"2 of the dataset's 2 classes \(²,? ?³\)"),
        (("a b", "a_b"), ("a b", "c"), r"^1 of the dataset's 2 classes \(a_b\) are not among"),
        (("a b", "a_b"), ("A B", "c"), r"^2 of the dataset's 2 classes \(a b, a_b\) are not told apart by their names once capitals, gaps and .*: rename one side, or take --by-number"),
        (("A B", "c"), ("a b", "a_b", "c"), r"^1 of the dataset's 2 classes \(A B\) are not told apart"),
        (("dog", "cat", "do\u200dg"), ("cat", "dog", "dog (2)"), r"^1 of the dataset's 3 classes \(dog \(2\)\) are not told apart"),
    ],
)
def test_classes_that_do_not_match_are_refused_with_both_lists(names, labels, says):
    with pytest.raises(UserError, match=says):
        match_classes(names, labels)


def test_the_command_prints_a_table_and_ends_in_json(model, dataset, tmp_path, capsys):
    main([str(model), "--dataset", str(dataset), "--output", str(tmp_path / "found.json")])
    lines = capsys.readouterr().out.splitlines()
    last = json.loads(lines[-1])
    assert last["accuracy"] == 11 / 15 and last["model"] == "model" and last["dataset"] == "data"
    assert any(line.startswith("accuracy 73.33 % on 15 pictures") for line in lines)
    full = json.loads((tmp_path / "found.json").read_text())
    assert full["accuracy"] == last["accuracy"] and torch.tensor(full["confusion"]).sum() == 15


NAMESAKE = "a data set of the same name (data), perhaps this one"  # for folders of one name may hold other pictures


@pytest.mark.parametrize(("learned", "warned"), [
    ({"name": "data", "config": None, "train_split": "test"}, NAMESAKE),
    ({"name": "owner/data", "train_split": "test"}, None),
    ({"name": "data", "train_split": "train"}, None),
    ({"name": "data", "config": "large", "train_split": "test"}, None),
    ({"name": "owner/data", "fingerprint": "of these pictures"}, "this data set"),
    ({"name": "data", "train_split": "test", "fingerprint": "of these pictures"}, "this data set"),
    ([], None),
])
def test_pictures_that_were_learned_from_are_told(model, dataset, pictures, truth, tmp_path, learned, warned):
    folder, said = shutil.copytree(model, tmp_path / "model"), []
    if "fingerprint" in learned:
        learned = {**learned, "fingerprint": fingerprint(pictures, truth)}
    (folder / "metrics.json").write_text(json.dumps({"dataset": learned}))
    evaluate(str(folder), str(dataset), say=said.append)
    assert said[1:] == ([f"warning: model was trained on split test of {warned}, as its metrics.json says: the accuracy on pictures "
                         "that were learned from tells little about new ones"] if warned else [])


def test_so_are_those_of_an_earlier_run(model, dataset, tmp_path):
    folder, said = shutil.copytree(model, tmp_path / "model"), []
    (folder / "metrics.json").write_text(json.dumps({"dataset": {"name": "other"}, "earlier": [5, {"dataset": {"name": "data", "config": None, "train_split": "test"}}]}))
    evaluate(str(folder), str(dataset), say=said.append)
    assert f"of {NAMESAKE}" in said[1]


def test_a_hub_id_names_one_data_set(hub, model, dataset, tmp_path):
    hub.seed("datasets", "owner/data", dataset)
    folder, said = shutil.copytree(model, tmp_path / "model"), []
    (folder / "metrics.json").write_text(json.dumps({"dataset": {"name": "owner/data", "train_split": "test"}}))
    evaluate(str(folder), "owner/data", say=said.append)
    assert "of this data set, as" in said[1]


def test_a_copy_of_a_public_data_set_is_known_by_the_command_that_named_it(model, dataset, tmp_path):
    folder, said = shutil.copytree(model, tmp_path / "model"), []
    (folder / "metrics.json").write_text(json.dumps({"dataset": {"name": "uoft-cs/cifar10", "train_split": "test"}, "command": "python -m training.train --dataset data"}))
    evaluate(str(folder), str(dataset), say=said.append)
    assert len(said) == 2


def test_a_read_is_recorded_only_when_asked(model, dataset, tmp_path, monkeypatch, capsys):
    reads = tmp_path / "results" / "test_reads.jsonl"
    monkeypatch.setattr(report, "record_test_read", lambda entry, path=reads, record=report.record_test_read: record(entry, path))
    main([str(model), "--dataset", str(dataset)])
    assert not reads.exists()
    for note in ("first", "second"):
        main([str(model), "--dataset", str(dataset), "--record-read", note])
    rows = [json.loads(line) for line in reads.read_text().splitlines()]
    assert [row["note"] for row in rows] == ["first", "second"]
    assert rows[0]["accuracy"] == 11 / 15 and rows[0]["split"] == "test" and rows[0]["date"] and rows[0]["fingerprint"]


def test_a_picture_that_cannot_be_read_is_named_by_its_row(model, dataset, tmp_path):
    rows = datasets.Dataset.from_dict(
        {"picture": [{"bytes": b"not a picture", "path": "odd.png"}] * 2, "kind": [0, 1]},
        features=datasets.Features({"picture": datasets.Image(decode=False), "kind": datasets.ClassLabel(names=list(ORDER))}))
    (tmp_path / "data").mkdir()
    rows.cast_column("picture", datasets.Image()).to_parquet(tmp_path / "data" / "test-0.parquet")
    with pytest.raises(UserError, match=r"^test row 0 \(odd.png\): this is not a readable picture: use PNG, JPEG, WebP, BMP or GIF$"):
        evaluate(str(model), str(tmp_path / "data"))


def test_a_row_without_a_picture_is_named(model, pictures, tmp_path):
    folder = save_parquet(tmp_path / "data", [pictures[0], None], [0, 1], datasets.ClassLabel(names=list(ORDER)))
    with pytest.raises(UserError, match="^test row 1: there is no picture: remove such rows first$"):
        evaluate(str(model), str(folder))


def test_pictures_of_one_class_can_be_measured_though_not_learned_from(model, pictures, tmp_path):
    folder = save_parquet(tmp_path / "data", pictures[:3], [1, 1, 1], datasets.ClassLabel(names=list(ORDER)))
    assert evaluate(str(model), str(folder))["images"] == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--split", "validation"], "no split 'validation'.*--split"),
        (["--label-column", "size"], "no column 'size'"),
        (["--output", "nowhere/found.json"], "no folder nowhere"),
    ],
)
def test_bad_input_is_one_line(model, dataset, arguments, says):
    with pytest.raises(UserError, match=says) as error:
        main([str(model), "--dataset", str(dataset), *arguments])
    assert "\n" not in str(error.value)


def test_the_command_line_exits_with_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["evaluate", str(tmp_path / "absent"), "--dataset", str(tmp_path / "absent")])
    with pytest.raises(SystemExit) as end:
        evaluating.cli()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(SystemExit):
        evaluating.parse(["m", "--dataset", "d", "--batch-size", "0"])
