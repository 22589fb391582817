"""Publishing over the Hub's real protocol: one commit, checked by loading it back, and never a mixture."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest
import torch
from huggingface_hub import HfApi, ModelCard, snapshot_download
from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTForImageClassification, pipeline

from tests.published import FILES, folder, newer, remote, repo, trained  # noqa: F401 (some are fixtures)
from tests.tiny import noise, pil, save_tiny_model
from training import product, report
from training import publish as publishing
from training.publish import main, publish
from vit_demo.classifier import load
from vit_demo.errors import UserError
from vit_demo.snapshots import film


def test_one_commit_holds_the_product_and_nothing_else(hub, folder, repo, capsys):
    done = main([str(folder), "--repo", repo])
    assert remote(repo) == FILES
    assert len(hub.commits(repo)) == 2 and hub.commits(repo)[0]["id"] == done.commit  # the first one made the repository
    back = snapshot_download(repo, revision=done.commit)
    for name in FILES:
        assert (folder / name).read_bytes() == Path(back, name).read_bytes()
    assert ModelCard.load(repo).data.eval_results[0].metric_value == 1.0
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith(f"done: {hub.url}/{repo}") and "hf_local" not in printed


def test_what_comes_back_is_what_was_trained(folder, repo):
    publish(folder, repo)
    picture = pil(noise(1, size=50)[0])
    expected = load(folder).top_k(picture, 3)
    assert load(repo).top_k(picture, 3) == expected
    answers = pipeline("image-classification", model=repo)(picture, top_k=3)
    assert [answer["label"] for answer in answers] == [label for label, _ in expected]
    assert [answer["score"] for answer in answers] == pytest.approx([p for _, p in expected], abs=1e-6)


def test_the_hubs_own_tools_read_it(hub, folder, repo, tmp_path):
    """`hf download`, Auto classes, and the evaluation results as the Hub lists them."""
    publish(folder, repo)
    done = subprocess.run([sys.executable, "-m", "huggingface_hub.cli.hf", "download", repo, "--local-dir", str(tmp_path / "there")],
                          env={**os.environ, **hub.env()}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.relative_to(tmp_path / "there").as_posix() for path in (tmp_path / "there").rglob("*") if path.is_file()} >= FILES
    model, processor = AutoModelForImageClassification.from_pretrained(tmp_path / "there"), AutoImageProcessor.from_pretrained(repo)
    picture = pil(noise(2, size=40)[0])
    assert torch.allclose(model(**processor(picture, return_tensors="pt")).logits, load(folder).logits([picture]), atol=1e-5)
    (result,) = HfApi().model_info(repo, expand=["evalResults"]).eval_results
    assert (result.dataset_id, result.value) == ("uoft-cs/cifar10", 1.0)


def test_an_unchanged_folder_makes_no_commit_and_says_so(hub, folder, repo):
    first, said = publish(folder, repo), []
    second = publish(folder, repo, say=said.append)
    assert first.changed and not second.changed and second.commit == first.commit
    assert len(hub.commits(repo)) == 2 and "no new commit" in said[0]


def test_who_publishes_is_told_of_the_training_pictures_that_go_along(folder, repo):
    said = []
    publish(folder, repo, say=said.append)
    assert not any("thumbnails" in line for line in said)
    (folder / "extras.json").write_text('{"bank": {"images": 500}}')
    publish(folder, repo, say=said.append)
    assert any(line.startswith("500 training pictures") and "go along" in line and "--no-pictures" in line for line in said)


def test_a_new_version_replaces_the_old_one_whole(hub, folder, newer, repo):
    publish(folder, repo)
    HfApi().upload_file(path_or_fileobj=b"mine", path_in_repo="notes-of-mine.md", repo_id=repo)
    (newer / "confusion.png").unlink()
    before = len(hub.commits(repo))
    publish(newer, repo)
    assert len(hub.commits(repo)) == before + 1
    assert remote(repo) == FILES - {"confusion.png"} | {"notes-of-mine.md"}


@pytest.fixture
def impatient(monkeypatch):
    """The client waits up to 24 seconds over its repetitions; here it repeats at once."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))


@pytest.mark.parametrize(
    ("point", "how"),
    [
        ("whoami", {"drop": True}),
        ("preupload", {"status": 503}),
        ("objects/batch", {"drop": True}),
        ("lfs-storage", {"drop": True, "method": "PUT"}),
        ("/commit/", {"drop": True}),
        ("/commit/", {"status": 500}),
        ("resolve/.*/model.safetensors", {"status": 503}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_cut_anywhere_main_is_old_or_new_and_running_again_finishes(hub, impatient, folder, newer, repo, point, how):
    old = publish(folder, repo)
    hub.fault(point, **how)
    with pytest.raises(UserError) as error:
        publish(newer, repo)
    assert "\n" not in str(error.value)
    hub.clear_faults()
    head = HfApi().repo_info(repo).sha
    there = Path(snapshot_download(repo, revision=head))
    version = folder if head == old.commit else newer
    for name in ("model.safetensors", "metrics.json"):
        assert (there / name).read_bytes() == (version / name).read_bytes()
    done = publish(newer, repo)
    assert done.commit == HfApi().repo_info(repo).sha and len(hub.commits(repo)) == 3


def test_an_answer_lost_after_the_commit_is_noticed_the_next_time(hub, folder, repo):
    publish(folder, repo)
    report.write_metrics(folder, {**report.read_metrics(folder), "seed": 5})
    hub.fault("/commit/", cut=0, times=1)
    with pytest.raises(UserError, match="run the same command again"):
        publish(folder, repo)
    again = publish(folder, repo)
    assert not again.changed and len(hub.commits(repo)) == 3


def test_a_change_by_someone_else_meanwhile_is_not_mixed_in(hub, folder, newer, repo, monkeypatch):
    publish(folder, repo)
    listed = HfApi.list_repo_files

    def while_someone_writes(api, *arguments, **more):
        files = listed(api, *arguments, **more)
        HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo="metrics.json", repo_id=repo)
        return files

    monkeypatch.setattr(HfApi, "list_repo_files", while_someone_writes)
    with pytest.raises(UserError, match="was changed while this ran"):
        publish(newer, repo)
    weights = Path(snapshot_download(repo), "model.safetensors")
    assert weights.read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_branch_and_a_pull_request_leave_main_alone(hub, folder, repo):
    main_commit = publish(folder, repo).commit
    report.write_metrics(folder, {**report.read_metrics(folder), "seed": 5})
    branch = publish(folder, repo, revision="trial")
    proposal = publish(folder, repo, create_pr=True)
    assert HfApi().repo_info(repo).sha == main_commit
    assert HfApi().repo_info(repo, revision="trial").sha == branch.commit and branch.url.endswith("/tree/trial")
    assert HfApi().repo_info(repo, revision="refs/pr/1").sha == proposal.commit and proposal.url.endswith("/discussions/1")


def add_snapshots(folder: Path) -> None:
    """As training leaves them: weights in float16 and config, the processor being the run's."""
    for epoch in (1, 2):
        snapshot = save_tiny_model(folder / "snapshots" / f"epoch-{epoch:03d}", seed=epoch)
        ViTForImageClassification.from_pretrained(snapshot).half().save_pretrained(snapshot)
        (snapshot / "preprocessor_config.json").unlink()


def test_snapshots_become_branches_of_weights_alone(hub, folder, repo):
    add_snapshots(folder)
    said = []
    publish(folder, repo, snapshots=True, say=said.append)
    assert said[-2:] == [f"branch epoch-00{epoch}: sent, and loaded back: the same answers (0.0e+00)" for epoch in (1, 2)]
    assert remote(repo) == FILES
    for epoch in (1, 2):
        assert remote(repo, f"epoch-{epoch:03d}") == {"config.json", "metrics.json", "model.safetensors", "preprocessor_config.json"}
    weights = Path(snapshot_download(repo, revision="epoch-002"), "model.safetensors")
    assert weights.read_bytes() == (folder / "snapshots/epoch-002/model.safetensors").read_bytes()
    pictures = publishing.fixed_pictures()
    for epoch in (1, 2):
        shutil.copy(folder / "preprocessor_config.json", folder / f"snapshots/epoch-{epoch:03d}")
        here, there = load(folder / f"snapshots/epoch-{epoch:03d}"), load(f"{repo}@epoch-{epoch:03d}")
        assert torch.equal(here.logits(pictures), there.logits(pictures))
    count = len(hub.calls)
    publish(folder, repo, snapshots=True)
    assert not [call for call in hub.calls[count:] if "/commit/" in call["path"]]


def branches(repo) -> set[str]:
    return {branch.name for branch in HfApi().list_repo_refs(repo).branches}


def test_an_earlier_trainings_snapshots_go_and_nothing_else(folder, newer, repo):
    add_snapshots(folder)
    shutil.copytree(folder / "snapshots/epoch-002", folder / "snapshots/epoch-007")
    publish(folder, repo, snapshots=True)
    for name in ("trial", "epoch-x"):
        HfApi().create_branch(repo, branch=name)
    add_snapshots(newer)
    said = []
    publish(newer, repo, snapshots=True, say=said.append)
    assert branches(repo) == {"main", "trial", "epoch-x", "epoch-001", "epoch-002"}
    assert said[-1] == "branch epoch-007: deleted, newer has no such snapshot"


def test_the_film_of_one_model_holds_no_snapshot_of_another(hub, folder, newer, repo):
    """Whoever sends a new model without its snapshots is told what becomes of those that are there."""
    for run, loss in ((folder, 0.5), (newer, 0.25)):
        add_snapshots(run)
        history = [{"epoch": epoch, "train_loss": loss / epoch} for epoch in (1, 2, 3)]
        report.write_metrics(run, {**report.read_metrics(run), "epochs": 3, "history": history, "settings": {"keep": "last"}})
    said = []
    publish(folder, repo, snapshots=True, say=said.append)
    assert not any("another training" in line for line in said)
    assert [step.open(Event()).metrics.get("history", [])[-1]["epoch"] for step in film(load(repo))] == [1, 2, 3]
    publish(newer, repo, say=said.append)
    assert said[-1] == "snapshots that were sent before stay in their branches; the app leaves out those of another training: --snapshots renews them"
    first, second, model = film(load(repo))
    for stale in (first, second):
        with pytest.raises(UserError, match="it is of another training than the model"):
            stale.open(Event())
    assert model.open(Event()).metrics["history"][0]["train_loss"] == 0.25
    publish(newer, repo, snapshots=True)
    assert [step.open(Event()).metrics["history"][0]["train_loss"] for step in film(load(repo))] == [0.25] * 3


@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 503}], ids=str)
def test_what_is_published_is_so_though_a_hint_cannot_be_given(hub, impatient, folder, repo, fault):
    hub.fault("/refs", **fault)
    assert publish(folder, repo).commit == HfApi().repo_info(repo).sha


def test_of_the_snapshots_of_main_a_trial_says_nothing(folder, repo):
    add_snapshots(folder)
    publish(folder, repo, snapshots=True)
    for where in ({"revision": "trial"}, {"create_pr": True}):
        said = []
        publish(folder, repo, **where, say=said.append)
        assert not any("snapshots" in line for line in said)


def test_a_snapshot_that_comes_back_otherwise_is_noticed(hub, folder, repo, tmp_path, monkeypatch):
    add_snapshots(folder)
    other, loads = save_tiny_model(tmp_path / "other", seed=9), []

    def loaded(source, **options):
        loads.append(options.get("revision"))
        return load(other) if len(loads) == 4 else load(source, **options)  # the folder, main, the first branch, the second

    for module in (product, publishing):
        monkeypatch.setattr(module, "load", loaded)
    with pytest.raises(UserError, match="answers differently from trained's epoch-002"):
        publish(folder, repo, snapshots=True)
    assert loads[1:] == [HfApi().repo_info(repo, revision=branch).sha for branch in ("main", "epoch-001", "epoch-002")]
