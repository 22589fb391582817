"""What publishing refuses, each in one line, and whose the repository is that it writes to."""

import shutil

import pytest
from huggingface_hub import HfApi, ModelCard

from tests.published import NUMBERS, folder, repo, trained  # noqa: F401 (some are fixtures)
from tests.tiny import save_tiny_model
from training import publish as publishing
from training import report
from training.publish import publish
from vit_demo.classifier import load
from vit_demo.errors import UserError


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
        (lambda f: (f / "metrics.json").unlink(), "no measured accuracy in metrics.json: finish the training, or add --unmeasured to publish it without a number$"),
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


@pytest.mark.parametrize(("where", "flag"), [({"create_pr": True}, "--create-pr"), ({"revision": "trial"}, "--revision")])
def test_the_snapshots_of_main_are_not_replaced_by_those_of_a_trial(hub, folder, repo, where, flag):
    count = len(hub.calls)
    with pytest.raises(UserError, match=f"--snapshots replaces the branches that belong to the model on main: leave {flag} out, or --snapshots$"):
        publish(folder, repo, snapshots=True, **where)
    assert len(hub.calls) == count


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


@pytest.mark.parametrize("earlier", [True, False])
def test_a_licence_the_hub_does_not_know_is_one_line_and_not_sent_again(hub, folder, repo, earlier):
    if earlier:
        publish(folder, repo, licence="mit")
    with pytest.raises(UserError, match=r"^the Hub does not accept the card's licence 'GPL3': give another with --license \(apache-2\.0, mit, …\)$"):
        publish(folder, repo, licence="GPL3")
    publish(folder, repo)
    assert ModelCard.load(repo).data.license == ("mit" if earlier else "apache-2.0")


def test_a_licence_does_not_change_a_card_changed_by_hand(hub, folder, repo):
    card = folder / "README.md"
    card.write_text("---\nlicense: GPL3\n---\n# Mine\n")
    count = len(hub.calls)
    with pytest.raises(UserError, match=f"^--license mit has no effect on a card that was changed by hand: write license: mit into {card}$"):
        publish(folder, repo, licence="mit")
    assert len(hub.calls) == count
    with pytest.raises(UserError, match=rf"^the Hub does not accept the card's licence 'GPL3': write another into {card} \(apache-2\.0, mit, …\)$"):
        publish(folder, repo)
    card.write_text(card.read_text().replace("GPL3", "mit"))
    publish(folder, repo, licence="mit")  # it says so already
    assert ModelCard.load(repo).text.strip().startswith("# Mine\n<!-- As it was sent: ") and card.read_text().endswith("# Mine\n")


@pytest.mark.parametrize("top", ["license: [mit", "just text"])
def test_lines_at_the_top_of_a_card_that_are_no_table_are_told(hub, folder, repo, top):
    card = folder / "README.md"
    card.write_text(f"---\n{top}\n---\n# Mine\n")
    with pytest.raises(UserError, match=f"^the lines between --- at the top of {card} are no YAML table: correct them"):
        publish(folder, repo)


def test_snapshots_that_are_not_there_are_missed_before_any_call(hub, folder, repo):
    count = len(hub.calls)
    with pytest.raises(UserError, match=f"^{folder} has no snapshots: train with --snapshots N to keep some$"):
        publish(folder, repo, snapshots=True)
    assert len(hub.calls) == count


def test_the_command_line_ends_with_one_line_and_exit_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["publish", str(tmp_path / "absent"), "--repo", "x"])
    with pytest.raises(SystemExit) as end:
        publishing.cli()
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: no folder") and err.count("\n") == 1 and not out
