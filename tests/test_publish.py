"""Publishing over the Hub's real protocol: one commit, checked by loading it back, and never a mixture."""

import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard, snapshot_download
from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTForImageClassification, pipeline

from tests.tiny import NAMES, noise, pil, save_tiny_model
from training import figures, report
from training import publish as publishing
from training.publish import main, publish
from training.scores import scores
from vit_demo.classifier import load
from vit_demo.errors import UserError

NUMBERS = itertools.count(1)
FILES = {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "metrics.json",
         "confusion.png", "reliability.png", ".eval_results/cifar10.yaml"}


def train_tiny(folder, seed=0):
    """A folder as training leaves it, with things in it that are nobody else's business."""
    measured = scores(torch.eye(3).repeat(10, 1), torch.tensor([0, 1, 2] * 10), NAMES)
    metrics = {"test_accuracy": measured.pop("accuracy"), "test_loss": measured.pop("loss"), "seed": seed,
               "dataset": {"name": "uoft-cs/cifar10", "held_out_images": 30}, **measured}
    save_tiny_model(folder, metrics=metrics, seed=seed)
    figures.write_figures(folder, metrics, NAMES)
    for private in ("state/step-1/model.safetensors", "train.yaml", ".writing/model.safetensors", "notes.txt"):
        (folder / private).parent.mkdir(parents=True, exist_ok=True)
        (folder / private).write_text("dataset: /home/me")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_tiny(tmp_path_factory.mktemp("runs") / "trained")


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "trained")


@pytest.fixture
def repo(hub):
    return f"{hub.user}/published-{next(NUMBERS)}"


@pytest.fixture
def newer(tmp_path):
    """Another training's folder, with weights that the Hub has never seen."""
    return train_tiny(tmp_path / "newer", seed=next(NUMBERS))


def remote(repo, revision=None) -> set[str]:
    return set(HfApi().list_repo_files(repo, revision=revision)) - {".gitattributes"}


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
    assert any(line.startswith("500 training pictures go along as thumbnails") and "--bank 0" in line for line in said)


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
        assert remote(repo, f"epoch-{epoch:03d}") == {"config.json", "model.safetensors", "preprocessor_config.json"}
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


def test_a_snapshot_that_comes_back_otherwise_is_noticed(hub, folder, repo, tmp_path, monkeypatch):
    add_snapshots(folder)
    other, loads = save_tiny_model(tmp_path / "other", seed=9), []

    def loaded(source, **options):
        loads.append(options.get("revision"))
        return load(other) if len(loads) == 4 else load(source, **options)  # the folder, main, the first branch, the second

    monkeypatch.setattr(publishing, "load", loaded)
    with pytest.raises(UserError, match="answers differently from trained's epoch-002"):
        publish(folder, repo, snapshots=True)
    assert loads[1:] == [HfApi().repo_info(repo, revision=branch).sha for branch in ("main", "epoch-001", "epoch-002")]


def test_private_is_private_and_never_writes_into_a_public_repository(hub, folder, repo):
    publish(folder, repo, private=True)
    assert HfApi().repo_info(repo).private
    public = repo + "-public"
    publish(folder, public)
    with pytest.raises(UserError, match="public already"):
        publish(folder, public, private=True)


def test_a_plain_name_goes_to_ones_own_account(hub, folder):
    name = f"mine-{next(NUMBERS)}"
    assert publish(folder, name).repo == f"{hub.user}/{name}"


def test_another_model_on_the_hub_is_noticed(folder, tmp_path):
    here, there = load(folder), load(save_tiny_model(tmp_path / "other", seed=9))
    assert publishing.compare(here, load(folder)) == 0
    with pytest.raises(UserError, match="answers differently"):
        publishing.compare(here, there)
    with pytest.raises(UserError, match="other classes"):
        publishing.compare(here, load(save_tiny_model(tmp_path / "named", names=("a", "b", "c"))))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: shutil.rmtree(f), "no folder"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "no preprocessor_config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda f: (f / "metrics.json").unlink(), "no measured accuracy"),
        (lambda f: save_tiny_model(f, names=("LABEL_0", "LABEL_1", "LABEL_2")), "have no names"),
    ],
)
def test_an_unfinished_folder_is_refused_before_any_call(hub, folder, repo, spoil, says):
    spoil(folder)
    count = len(hub.calls)
    with pytest.raises(UserError, match=says):
        publish(folder, repo)
    assert len(hub.calls) == count


def test_without_a_number_only_when_asked(folder, repo):
    (folder / "metrics.json").unlink()
    publish(folder, repo, unmeasured=True)
    assert "Accuracy: not measured" in ModelCard.load(repo).text


@pytest.mark.parametrize(
    ("token", "says"),
    [(None, "not logged in.*hf auth login"), ("hf_wrong", "does not accept your token.*hf auth login"), ("hf_local_read", "may not write"), ("hf_stranger", "may not write")],
)
def test_a_token_that_will_not_do_is_one_line(hub, folder, repo, monkeypatch, token, says):
    publish(folder, repo)
    report.write_metrics(folder, {"test_accuracy": 0.5})
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    else:
        monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match=says) as error:
        publish(folder, repo)
    assert "hf_" not in str(error.value) and "\n" not in str(error.value)


def test_a_name_that_is_none_is_one_line(hub, folder):
    with pytest.raises(UserError, match="USER/NAME"):
        publish(folder, "a/b/c")


def test_a_license_the_hub_does_not_know_is_one_line(hub, folder, repo):
    with pytest.raises(UserError, match="license") as error:
        publish(folder, repo, licence="free-for-all")
    assert "\n" not in str(error.value)


def test_the_command_line_ends_with_one_line_and_exit_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["publish", str(tmp_path / "absent"), "--repo", "x"])
    with pytest.raises(SystemExit) as end:
        publishing.cli()
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: no folder") and err.count("\n") == 1 and not out
