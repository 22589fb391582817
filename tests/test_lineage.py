"""What a model is said to come from."""

import json
from types import SimpleNamespace

import pytest

from tests.models import save_model
from tests.runs import again, flags
from tests.training_data import parquet_dataset
from training import lineage, model
from training.config import TrainConfig
from training.data import load_splits
from training.lineage import KNOWN_TEST, KNOWN_TRAIN, TOLD, about_known, dataset_name, descent, known_before, known_test
from training.report import read_metrics
from training.train import main

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


@pytest.mark.parametrize("typed", ["user/vit@v1", "https://huggingface.co/user/vit", "https://huggingface.co/user/vit/tree/v1"])
def test_the_base_is_named_without_what_was_typed_around_its_name(typed):
    assert descent(typed)["base_model"] == "user/vit"


def test_a_run_tells_which_commit_its_base_was(tmp_path, hub, api, repo):
    api.upload_folder(repo_id=repo, folder_path=save_model(tmp_path / "base"))
    api.create_tag(repo, tag="v1")
    commit = api.model_info(repo, revision="v1").sha
    output = tmp_path / "run"
    main(["--dataset", str(parquet_dataset(tmp_path / "data", 12, 6)), "--output", str(output), "--preset", "fine-tune-cpu", "--image-size", "32",
          "--model", f"{repo}@v1", "--epochs", "1", "--batch-size", "6", "--bank", "0"])
    metrics = read_metrics(output)
    assert (metrics["base_model"], metrics["base_revision"]) == (repo, commit)
    assert f"`{repo}` (commit `{commit[:12]}`), a Vision Transformer" in (output / "README.md").read_text()


@pytest.mark.parametrize("older", [False, True])  # a run that was saved without the commit
def test_a_run_that_goes_on_tells_the_commit_that_it_began_with(older, tmp_path, hub, api, repo, monkeypatch):
    first, asked = api.upload_folder(repo_id=repo, folder_path=save_model(tmp_path / "base")).oid, []
    monkeypatch.setattr(model, "HfApi", lambda: SimpleNamespace(model_info=lambda name, **more: asked.append(name) or api.model_info(name, **more)))
    output = tmp_path / "run"
    given = ["--dataset", str(parquet_dataset(tmp_path / "data", 12, 6)), "--output", str(output), "--preset", "fine-tune-cpu", "--image-size", "32",
             "--model", repo, "--epochs", "2", "--batch-size", "6", "--bank", "0"]
    with pytest.raises(SystemExit):
        main([*given, "--stop-after", "0.00001"])
    assert asked == [repo]  # once, for config, weights and processor
    settings = output / "train.yaml"
    assert f"model: {repo}@{first}\n" in settings.read_text()
    if older:
        settings.write_text(settings.read_text().replace(f"@{first}", ""))
    api.upload_file(repo_id=repo, path_or_fileobj=b"a new one", path_in_repo="README.md")  # main moves on
    main(again(output, "--model", repo))
    metrics = read_metrics(output)
    assert (metrics["base_model"], metrics.get("base_revision")) == (repo, None if older else first) and asked == [repo]
    assert f"--model {repo}{'' if older else f'@{first}'} " in metrics["command"]


def test_a_run_of_ours_hands_on_what_it_came_from(tmp_path):
    first = wrote(tmp_path / "first", base_model=None, seed=3, **RUN)
    assert descent(first) == {"base_model": None, "earlier": [RUN]} and set(RUN) == set(TOLD)
    second = {**RUN, "command": "python -m training.train --model first"}
    assert descent(wrote(tmp_path / "second", **second, **descent(first))) == {"base_model": None, "earlier": [RUN, second]}
    tuned = wrote(tmp_path / "tuned", base_model="google/vit-base-patch16-224-in21k", earlier=[], **RUN)
    assert descent(tuned)["base_model"] == "google/vit-base-patch16-224-in21k"


def splits(validation: int = 0, drawn: bool = False, own: str | None = None, by: str | None = None):
    return SimpleNamespace(validation=range(validation) if validation else None, validation_split=own, held_out_part="held_out" if drawn else "test", held_out_by=by)


@pytest.mark.parametrize("before, now, known", [
    ({}, splits(), None), ({}, splits(5), "learned"), ({"validation_images": 4}, splits(5), "learned"), ({"validation_images": 5}, splits(5), None),
    ({"validation_images": 9, "validation_split": "val"}, splits(5), "learned"), ({}, splits(5, own="val"), None),
    ({}, splits(drawn=True), "learned"), ({"held_out_images": 5}, splits(drawn=True), None),
    ({"validation_images": 5}, splits(5, by="aa"), "learned"), ({"validation_images": 5, "held_out_by": "aa"}, splits(5, by="aa"), None),
    ({"held_out_images": 5, "held_out_by": "bb"}, splits(drawn=True, by="aa"), "learned"), ({"held_out_by": "aa"}, splits(), None),
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


@pytest.mark.parametrize("more, named", [
    (["--validation-images", "8"], {"name": "me/known"}), ([], {"name": "me/known"}),
    (["--max-train-images", "40"], {"name": "copy", "test_name": "me/known"}),  # some of them: which ones, no fingerprint says
    (["--train-split", "more"], {"name": "copy", "test_name": "me/known"}), (["--test-split", "more"], {"name": "me/known"})])
def test_the_data_set_that_was_learned_from_is_told_by_its_own_pictures(tmp_path, monkeypatch, more, named):
    folder = parquet_dataset(tmp_path / "copy")
    (folder / "data" / "more-00000-of-00001.parquet").write_bytes((parquet_dataset(tmp_path / "other", train=36, test=0) / "data" / "train-00000-of-00001.parquet").read_bytes())
    public = load_splits(TrainConfig(dataset=str(folder)), 8, progress=False)
    monkeypatch.setattr(lineage, "KNOWN_TRAIN", {public.train.fingerprint: "me/known"})
    monkeypatch.setattr(lineage, "KNOWN_TEST", {public.held_out.fingerprint: "me/known"})
    found = read_metrics(main(flags(folder, tmp_path / "run", "--epochs", "1", *more)))["dataset"]
    assert {name: found[name] for name in ("name", "test_name") if name in found} == named


def test_a_copy_of_a_public_data_set_is_called_by_its_name(tmp_path):
    [(fingerprint, name)], [(test, same)] = KNOWN_TRAIN.items(), KNOWN_TEST.items()
    assert dataset_name(str(tmp_path), fingerprint) == name == same == "uoft-cs/cifar10"
    assert dataset_name(str(tmp_path), test) == tmp_path.name  # whoever learns from the test pictures has not learned from that data set
    assert dataset_name(str(tmp_path), "aa") == dataset_name(str(tmp_path), None) == tmp_path.name
    assert dataset_name("me/pictures", "aa") == "me/pictures"
    assert known_test(name, test) == known_test(name, "aa") == known_test("pictures", "aa") == {}
    assert known_test("pictures", test) == {"test_name": name}
