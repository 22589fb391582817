"""Manners on the network: what is asked for and kept, and what happens when the Hub is away, slow, strict or changed."""

import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer

import pytest
import torch
from huggingface_hub import HfApi, constants
from PIL import Image
from safetensors.torch import save_file
from transformers import ViTForImageClassification, pipeline

from tests.models import save_model
from vit_demo import hub_fetch
from vit_demo.chapters.extras import extras
from vit_demo.classifier import load, newest
from vit_demo.errors import Stopped, UserError
from vit_demo.hub_address import parse
from vit_demo.hub_cache import kept_folder, visitors_cache
from vit_demo.hub_fetch import latest
from vit_demo.hub_model import DEFAULT_LIMITS

IMPATIENT = replace(DEFAULT_LIMITS, answer_seconds=1.5, download_seconds=1.5)
OWNERS_CACHE = Path(constants.HF_HUB_CACHE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def repository(hub, folder, request) -> str:
    """A public model of this test's own, and an empty call log."""
    name = f"{hub.user}/{re.sub('[^a-z]+', '-', request.node.name).strip('-')}"
    HfApi().create_repo(name)
    HfApi().upload_folder(repo_id=name, folder_path=folder)
    hub.calls.clear()
    return name


def update(name: str, folder: Path, tmp_path: Path) -> str:
    """A newer commit, whose every logit is a bit higher."""
    newer = shutil.copytree(folder, tmp_path / "newer")
    model = ViTForImageClassification.from_pretrained(newer)
    torch.nn.init.constant_(model.classifier.bias, 0.5)
    model.save_pretrained(newer)
    return HfApi().upload_folder(repo_id=name, folder_path=newer).oid


def grey(classifier) -> torch.Tensor:
    return classifier.logits([Image.new("RGB", (40, 30), "grey")])


def blobs(name: str, cache: Path = OWNERS_CACHE) -> list[Path]:
    return list((cache / f"models--{name.replace('/', '--')}" / "blobs").iterdir())


def test_what_training_left_beside_the_weights_comes_along(hub, folder, tmp_path):
    """Bank and energies for the experiments, how true the maps are, what was measured; but nothing of a size that no training leaves."""
    there = shutil.copytree(folder, tmp_path / "beside")
    (there / "metrics.json").write_text('{"test_accuracy": 0.5}')
    (there / "faithfulness.json").write_bytes(b" " * 2_100_000)
    save_file({"energies": torch.tensor([1.0, 2.0])}, there / "extras.safetensors")
    hub.seed("models", f"{hub.user}/beside", there)
    opened = load(f"{hub.user}/beside", token=False)
    assert opened.metrics == {"test_accuracy": 0.5} and extras(opened)["energies"].tolist() == [1, 2]
    assert not (opened.files / "faithfulness.json").exists()


def test_from_the_hub_as_from_the_folder(hub, repository, folder):
    pulled, local = load(repository), load(folder)
    assert pulled.name == repository and pulled.note == ""
    assert pulled.revision == hub.commits(repository)[0]["id"] == latest(parse(repository), token=None, limits=DEFAULT_LIMITS)
    assert torch.equal(grey(pulled), grey(local)) and pulled.labels == local.labels
    answers = pipeline("image-classification", repository)(Image.new("RGB", (40, 30), "grey"), top_k=3)
    assert [answer["label"] for answer in answers] == [label for label, _ in pulled.top_k(Image.new("RGB", (40, 30), "grey"), 3)]


def test_one_question_when_all_is_kept_and_none_for_a_commit(hub, repository):
    first = load(repository)
    hub.calls.clear()
    again = load(repository)
    assert [call["path"] for call in hub.calls] == [f"/api/models/{repository}"] and again.revision == first.revision
    hub.calls.clear()
    assert torch.equal(grey(load(f"{repository}@{first.revision}")), grey(first)) and hub.calls == []


def test_branches_tags_and_newer_versions(hub, repository, folder, tmp_path):
    old = load(repository)
    HfApi().create_tag(repository, tag="v1")
    newer = update(repository, folder, tmp_path)
    assert latest(parse(repository), token=None, limits=DEFAULT_LIMITS) == newer != old.revision
    assert newest(repository) == newest(f"{repository}@{old.revision}") == newer and newest(f"{repository}@v1") == old.revision
    assert load(repository).revision == newer
    assert load(f"{repository}@v1").revision == load(repository, revision="v1").revision == old.revision
    assert load(f"{hub.url}/{repository}/tree/v1").revision == old.revision
    with pytest.raises(UserError, match=f"{repository}: it has no revision v2; check its branches and tags"):
        load(f"{repository}@v2")


FAULTS = {
    "down": ({"drop": True}, "the Hub could not be reached .*; check the network; there is no folder of that name here"),
    "hanging": ({"delay": 20}, "did not answer in time"),
    "broken": ({"status": 503}, "has trouble answering .503."),
    "strict": ({"status": 429, "headers": {"Retry-After": "300"}}, "no more questions from here for now .429.; wait"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_hub_does_not_answer(hub, repository, fault):
    spoilt, message = FAULTS[fault]
    hub.fault(f"^/api/models/{repository}", **spoilt)
    begin = time.monotonic()
    with pytest.raises(UserError, match=f"^{repository}: .*{message}"):
        load(repository, limits=IMPATIENT)
    assert time.monotonic() - begin < 10
    hub.clear_faults()
    first = load(repository)
    hub.fault(f"^/api/models/{repository}", **spoilt)
    kept = load(repository, limits=IMPATIENT)
    assert kept.revision == first.revision and torch.equal(grey(kept), grey(first))
    assert kept.note.endswith("This is the copy kept from before.") and repository in kept.note


def test_what_came_by_its_commit_alone_stands_for_the_name_while_the_hub_is_away(hub, api, repository):
    """A Space has its model from the start, by a commit."""
    commit = api.model_info(repository).sha
    api.create_branch(repository, branch="epoch-001")
    branch = api.upload_file(path_or_fileobj=b"another", path_in_repo="NOTE.md", repo_id=repository, revision="epoch-001").oid
    assert load(f"{repository}@epoch-001").revision == branch
    (kept_folder(parse(f"{repository}@epoch-001"), Path(constants.HF_HUB_CACHE)).parent / ".DS_Store").touch()
    assert kept_folder(parse(repository), Path(constants.HF_HUB_CACHE)) is None
    assert not (first := load(f"{repository}@{commit}")).note
    hub.fault(f"^/api/models/{repository}", status=503)
    kept = load(repository, limits=IMPATIENT)
    assert kept.revision == commit == first.revision and kept.note.endswith("This is the copy kept from before.")
    with pytest.raises(UserError, match="has trouble answering"):
        load(f"{repository}@dev", limits=IMPATIENT)  # another branch is another model


@pytest.mark.parametrize("fault", [{"delay": 5}, {"status": 503}, {"cut": 100_000}], ids=["hanging", "broken", "cut"])
def test_weights_that_do_not_arrive_leave_the_older_copy(hub, repository, folder, tmp_path, fault):
    first = load(repository)
    newer = update(repository, folder, tmp_path)
    rule = hub.fault(f"{repository}/resolve/.*safetensors", **fault)
    kept = load(repository, limits=IMPATIENT)
    assert kept.revision == first.revision and kept.note
    everything = hub.fault(".", status=503)  # and it stays so without the Hub
    assert load(repository, limits=IMPATIENT).revision == first.revision
    rule.times = everything.times = 0
    assert load(repository).revision == newer


def test_a_download_that_was_cut_goes_on(hub, repository, folder):
    hub.fault(f"{repository}/resolve/.*safetensors", cut=150_000, times=2)
    shares = []
    assert torch.equal(grey(load(repository, report=lambda _, share=None: shares.append(share))), grey(load(folder)))
    assert shares[-2:] == [1, None]  # no byte is counted twice, and then it is opened


@pytest.mark.parametrize("damage", ["cut short", "emptied", "config gone wrong"])
def test_a_damaged_copy_is_fetched_again(hub, repository, folder, damage):
    first = load(repository)
    blob = max(blobs(repository), key=lambda file: file.stat().st_size)
    if damage == "config gone wrong":
        blob = (first.files / "config.json").resolve()
    blob.write_bytes(b"" if damage == "emptied" else blob.read_bytes()[:-1000])
    hub.fault(".", status=503)
    with pytest.raises(UserError, match=f"{repository}: .*damaged.*A new copy cannot be had now: .*503"):
        load(repository, limits=IMPATIENT, revision=first.revision)
    hub.clear_faults()
    assert torch.equal(grey(load(repository, revision=first.revision)), grey(load(folder)))
    assert torch.equal(grey(load(repository)), grey(load(folder)))


def test_missing_private_and_gated_are_told_apart(hub, repository, folder):
    visitor = {"token": False}
    with pytest.raises(UserError, match="no such folder here, and no such model on the Hub.*hf auth login"):
        load(f"{hub.user}/nothing-there")
    with pytest.raises(UserError, match="the Hub has no such public model; check its name"):
        load(f"{hub.user}/nothing-there", **visitor)
    with pytest.raises(UserError, match="does not accept your token; run hf auth login again"):
        load(repository, token="hf_wrong")
    rule = hub.fault(".", status=401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
    with pytest.raises(UserError, match="does not let this app read it"):  # a visitor has no token to renew
        load(repository, **visitor)
    rule.times = 0
    HfApi().update_repo_settings(repository, gated="manual")
    with pytest.raises(UserError, match="it is gated, and only public models can be opened here"):
        load(repository, **visitor)
    HfApi().update_repo_settings(repository, gated=False, private=True)
    assert load(repository).name == repository
    with pytest.raises(UserError, match="the Hub has no such public model"):
        load(repository, **visitor)


def test_what_the_owner_keeps_is_not_for_visitors(hub, repository):
    HfApi().update_repo_settings(repository, private=True)
    commit = load(repository).revision
    with pytest.raises(UserError, match="no such public model"):
        load(f"{repository}@{commit}", token=False)
    hub.fault(".", drop=True)
    with pytest.raises(UserError, match="could not be reached"):
        load(repository, token=False)


def test_visitors_send_no_token_and_open_no_folders(hub, repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(load(repository).files, tmp_path / "runs" / "mine")
    assert load("runs/mine").name == "mine"
    with pytest.raises(UserError, match="runs/mine: the Hub has no such public model"):
        load("runs/mine", token=False)
    with pytest.raises(UserError, match="looks like user/name"):
        load(str(tmp_path / "runs" / "mine"), token=False)
    assert visitors_cache() in load(repository, token=False).files.parents


def test_visitors_models_are_trimmed(hub, repository, monkeypatch, folder):
    names = [repository, f"{repository}-2", f"{repository}-3"]
    for name in names[1:]:
        hub.seed("models", name, folder)
    size = sum(file.stat().st_size for file in folder.iterdir())

    def kept(room: float, *loaded: str) -> list[str]:
        monkeypatch.setattr(hub_fetch, "VISITORS_BYTES", room)
        for name in loaded:
            load(name, token=False)
        return [name for name in names if kept_folder(parse(name), visitors_cache())]

    assert kept(2.5 * size, *names) == names[1:]
    assert sum(file.stat().st_size for file in visitors_cache().rglob("blobs/*")) <= 2.5 * size
    assert kept(0.5 * size, names[2]) == names[2:]  # the newest stays, however large


def test_steps_are_told_in_bytes(hub, repository, folder, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    size, told = (folder / "model.safetensors").stat().st_size, []
    load(repository, report=lambda step, share=None: told.append((step, share)))
    assert told[0] == ("asking the Hub", None) and told[-1] == ("opening it", None)
    shares = [share for _, share in told[1:-1]]
    assert len(shares) == -(-size // 100_000) and shares == sorted(shares) and shares[-1] == 1
    assert told[1][0] == f"fetching 0.1 of {size / 1e6:.1f} MB"


@pytest.mark.parametrize("fault", [{"rate": 50_000}, {"delay": 20}], ids=["slow", "hanging"])
def test_a_stop_is_heard_at_once_and_leaves_nothing(hub, repository, folder, monkeypatch, fault):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 20_000)
    hub.fault(f"{repository}/resolve/.*safetensors", **fault)
    stop, begin = Event(), []

    def press(step: str, share: float | None = None) -> None:
        if step.startswith("fetching" if "rate" in fault else "asking"):
            Timer(0.5, lambda: (begin.append(time.monotonic()), stop.set())).start()

    with pytest.raises(Stopped):
        load(repository, token=False, report=press, stop=stop)
    assert time.monotonic() - begin[0] < 1
    assert not kept_folder(parse(repository), visitors_cache())
    if "rate" in fault:
        time.sleep(3)  # the thread that downloads hears it with its next bytes, and the Hub that nobody reads
        sent = max(call["bytes"] for call in hub.calls if call["path"].endswith(".safetensors") and call["method"] == "GET")
        assert sent < (folder / "model.safetensors").stat().st_size
        assert not [file for file in visitors_cache().rglob("*.incomplete") if repository.split("/")[1] in str(file)]


def test_a_full_or_forbidden_disk(hub, repository, monkeypatch):
    for number, message in [(28, "disk is full"), (13, "writing is forbidden; set HF_HOME")]:
        def refuse(*_, **__):
            raise OSError(number, os.strerror(number), "/secret/path")
        monkeypatch.setattr(hub_fetch, "hf_hub_download", refuse)
        with pytest.raises(UserError, match=message) as refusal:
            load(repository)
        assert "/secret" not in str(refusal.value)


def test_a_cache_that_takes_no_note_of_branches(hub, repository, folder):
    refs = OWNERS_CACHE / f"models--{repository.replace('/', '--')}" / "refs"
    refs.parent.mkdir(parents=True)
    refs.touch()  # a file where the client wants a folder
    assert torch.equal(grey(load(repository)), grey(load(folder)))


def test_offline_by_choice(hub, repository, monkeypatch):
    first = load(repository)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # what the environment variable of this name sets
    forbidden = "HF_HUB_OFFLINE forbids asking the Hub; unset it, or open a model from a folder"
    kept = load(repository)
    assert kept.revision == first.revision
    assert kept.note == f"{repository}: {forbidden}. This is the copy kept from before."
    with pytest.raises(UserError, match=f"some/other: {forbidden}"):
        load("some/other")
