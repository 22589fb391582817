"""Where a model's snapshots are found, beside it or in branches on the Hub, and how many of them are opened."""

import json
import shutil

import pytest
from huggingface_hub import HfApi

from tests.films import HISTORY, last, look_at, run_of_training
from vit_demo import hub_fetch, snapshots
from vit_demo.classifier import load
from vit_demo.errors import UserError
from vit_demo.snapshots import MOST, find, spread, upto


@pytest.fixture
def folder(tmp_path):
    return run_of_training(tmp_path / "run")


def test_the_carried_film_is_small():
    assert sum(path.stat().st_size for path in snapshots.CARRIED.rglob("*") if path.is_file()) < 10_000_000


def test_of_many_some_are_shown_evenly():
    assert spread([1, 2, 3], 24) == [1, 2, 3]
    assert spread(list(range(1, 101)), 4) == [1, 34, 67, 100]


@pytest.fixture
def on_the_hub(hub, folder, api, repo):
    """A repository with the model on its main branch and a branch for each snapshot, as publishing makes them."""
    api.upload_folder(repo_id=repo, folder_path=folder, ignore_patterns="snapshots/*")
    for snapshot in sorted((folder / "snapshots").iterdir()):
        shutil.copy(folder / "preprocessor_config.json", snapshot)
        (snapshot / "metrics.json").write_text(json.dumps({"history": HISTORY[: int(snapshot.name[-1])]}))
        api.create_branch(repo, branch=snapshot.name)
        api.upload_folder(repo_id=repo, folder_path=snapshot, revision=snapshot.name)
    return repo


def test_snapshots_on_the_hub_are_those_of_the_folder(hub, folder, on_the_hub):
    here, there = look_at(load(folder)), look_at(load(on_the_hub))
    before = len(hub.calls)
    waiting = last(there)
    assert waiting["epochs"] == [1, 2] and not waiting["open"]  # a visitor says when to fetch them
    assert not any("safetensors" in call["path"] for call in hub.calls[before:])
    reply = last(there, open=True)
    assert [step["filters"] for step in reply["steps"]] == [step["filters"] for step in last(here)["steps"]]
    space = {}
    exec(reply["check"]["code"], space)
    assert space["answer"] == pytest.approx(reply["steps"][0]["p"], abs=1e-5)


def test_a_visitors_snapshots_are_asked_for_without_the_owners_token(hub, on_the_hub, api):
    look, owners = look_at(load(on_the_hub, token=False)), look_at(load(on_the_hub))
    assert len(last(look, open=True)["steps"]) == 2
    api.update_repo_settings(on_the_hub, private=True)
    assert "no such public model" in last(look, open=True)["problem"]
    assert len(last(owners, open=True)["steps"]) == 2


def test_a_snapshot_from_the_hub_is_as_foreign_as_a_model(hub, on_the_hub):
    look = look_at(load(on_the_hub, token=False))
    config = json.loads((look.classifier.files / "config.json").read_text())
    HfApi().upload_file(path_or_fileobj=json.dumps(config | {"model_type": "bert"}).encode(), path_in_repo="config.json",
                        repo_id=on_the_hub, revision="epoch-001")
    first, second = last(look, open=True)["steps"]
    assert "only plain Vision Transformers" in first["problem"] and "p" in second


def test_a_snapshot_in_a_branch_that_an_earlier_model_left_is_told_and_not_shown(hub, on_the_hub):
    other = [{**HISTORY[0], "train_accuracy": 0.3}]
    HfApi().upload_file(path_or_fileobj=json.dumps({"history": other}).encode(), path_in_repo="metrics.json", repo_id=on_the_hub, revision="epoch-001")
    HfApi().delete_file("metrics.json", repo_id=on_the_hub, revision="epoch-002")
    steps = last(look_at(load(on_the_hub, token=False)), open=True)["steps"]
    assert [step["problem"] for step in steps] == [
        "it is of another training than the model",
        "it does not tell which training it is of: to publish the model again with --snapshots renews it"]
    assert not any("p" in step for step in steps)


@pytest.mark.parametrize("history", [None, "x", [3, None, {}, {"epoch": "1"}, {"epoch": [1]}, {"epoch": 4}]])
def test_a_strangers_history_may_be_anything(history):
    assert upto(history, 3) == []


def test_a_hub_that_is_away_is_told_in_a_line(hub, on_the_hub):
    look = look_at(load(on_the_hub))
    hub.fault("/refs", status=503)
    with pytest.raises(UserError):
        find(look.classifier)
    told = last(look)
    assert told["epochs"] == [] and "503" in told["problem"]


def test_of_a_thousand_branches_few_are_opened(on_the_hub, monkeypatch):
    monkeypatch.setattr(hub_fetch, "branches", lambda *_, **__: ["main", "epoch-x", *(f"epoch-{n:03d}" for n in range(1000, 0, -1))])
    found = [snapshot.epoch for snapshot in find(load(on_the_hub))]
    assert len(found) == MOST and (found[0], found[-1]) == (1, 1000)
