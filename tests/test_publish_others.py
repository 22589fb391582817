"""Publishing where somebody's words, another model or nobody's pictures lie: what is kept, refused and told."""

import json

import pytest
import torch
from huggingface_hub import HfApi, ModelCard, hf_hub_download
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.published import FILES, folder, newer, remote, repo, trained  # noqa: F401 (some are fixtures)
from tests.tiny import save_tiny_model
from training import publish as publishing
from training import report
from training.card import MARKER, SEAL, is_as_sent, sealed, write_card
from training.publish import main, publish
from vit_demo.errors import UserError


def put(repo, name, text) -> str:
    return HfApi().upload_file(path_or_fileobj=text.encode(), path_in_repo=name, repo_id=repo).oid


def card_of(repo, revision=None) -> str:
    return open(hf_hub_download(repo, "README.md", revision=revision), encoding="utf-8", newline="").read()


def published(folder, repo, **more) -> list[str]:
    said = []
    publish(folder, repo, **more, say=said.append)
    return said


@pytest.mark.parametrize("edit", [
    lambda card: card.replace("## Limits", "## Limits\n\n- Mine."), lambda card: card.replace("license: apache-2.0", "license: mit"),
    lambda card: card + "\nMine.\n", lambda card: card.replace(MARKER, "")], ids=["body", "top", "end", "marker"])
def test_a_card_edited_on_the_hub_is_not_lost(folder, repo, edit):
    publish(folder, repo)
    edited = edit(card_of(repo))
    commit = put(repo, "README.md", edited)
    report.write_metrics(folder, {**report.read_metrics(folder), "seed": 5})
    before = (folder / "README.md").read_bytes()
    with pytest.raises(UserError, match=f"^the README.md of {repo} was edited on the Hub, .* add --overwrite-card$"):
        publish(folder, repo)
    assert HfApi().repo_info(repo).sha == commit and (folder / "README.md").read_bytes() == before
    (folder / "README.md").write_text(edited.replace(MARKER + "\n", ""))
    publish(folder, repo)  # as it says: kept by hand
    assert is_as_sent(card_of(repo)) and SEAL.sub("", card_of(repo)).split() == SEAL.sub("", (folder / "README.md").read_text()).split()
    (folder / "README.md").unlink()
    assert not any("seal" in line for line in published(folder, repo, overwrite_card=True))
    assert is_as_sent(card_of(repo)) and not published(folder, repo)[0].startswith("the card")


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_card_by_hand_is_improved_here_and_sent_again(folder, repo, ends):
    path, mine = folder / "README.md", "---\nlicense: mit\n---\n# Mine\n".replace("\n", ends).encode()
    path.write_bytes(mine)
    publish(folder, repo)
    assert path.read_bytes() == mine and card_of(repo).encode().startswith(mine.rstrip()) and is_as_sent(card_of(repo))
    assert any("no new commit" in line for line in published(folder, repo))
    path.write_bytes(card_of(repo).encode() + f"More.{ends}".encode())  # with the seal, as the Hub's page shows it
    publish(folder, repo)
    assert len(SEAL.findall(card_of(repo))) == 1 and is_as_sent(card_of(repo)) and "More." in card_of(repo)
    (folder / "metrics.json").unlink()
    path.write_bytes(mine)
    publish(folder, repo, unmeasured=True)
    publish(folder, repo, unmeasured=True)
    put(repo, "README.md", card_of(repo).replace("# Mine", "# Theirs"))
    path.write_text("# Mine again\n")
    with pytest.raises(UserError, match=f"^the README.md of {repo} was edited on the Hub"):
        publish(folder, repo, unmeasured=True)


def test_a_card_by_hand_is_not_lost_to_a_generated_one(folder, newer, repo):
    (folder / "README.md").write_text("# Mine\n")
    publish(folder, repo)
    with pytest.raises(UserError, match="or is another that was written by hand"):
        publish(newer, repo)
    publish(newer, repo, overwrite_card=True)
    assert "# Mine" not in card_of(repo)


def test_an_edit_between_the_look_and_the_commit_is_not_lost(folder, repo, monkeypatch):
    publish(folder, repo)
    report.write_metrics(folder, {**report.read_metrics(folder), "seed": 5})
    monkeypatch.setattr(publishing, "default_message", lambda folder: put(repo, "README.md", "# Mine"))
    with pytest.raises(UserError, match="was changed while this ran, and nothing was written"):
        publish(folder, repo)
    assert card_of(repo) == "# Mine"


def test_line_ends_are_no_edit():
    card = sealed("# A\n\nB\n")
    assert is_as_sent(card) and is_as_sent(card.replace("\n", "\r\n")) and is_as_sent(card + "\n") and is_as_sent("# A\n") is None
    assert is_as_sent(card.replace("B", "C")) is False


def test_a_card_that_an_earlier_version_sent_is_replaced_and_that_is_said(folder, repo):
    publish(folder, repo)
    commit = put(repo, "README.md", SEAL.sub("", card_of(repo)).replace("## Limits", "## Bounds"))
    said = published(folder, repo)
    assert said[0] == f"the card there has no seal, so whether it was edited cannot be told: it is replaced, and stays in commit {commit[:12]}"
    assert is_as_sent(card_of(repo))
    put(repo, "README.md", SEAL.sub("", card_of(repo)))
    assert published(folder, repo)[0].startswith("sent in one commit")  # it is the one that lies here


BERT = json.dumps({"model_type": "bert"})


@pytest.mark.parametrize(("there", "says"), [
    ({"config.json": BERT, "README.md": "# BERT"}, r"holds a model of another kind \(bert\)"), ({"config.json": BERT}, r"another kind \(bert\)"),
    ({"config.json": "{}"}, r"another kind \(its config.json names none\)"), ({"config.json": "{"}, "names none"),
    ({"config.json": json.dumps({"model_type": "vit"}), "README.md": "---\nlicense: mit\n---\n# My ViT"}, "holds a model with a card that is not of this command"),
    ({"README.md": "A diffusion model."}, "a card that is not of this command")])
def test_somebody_elses_model_is_not_written_over(folder, api, repo, there, says):
    api.create_repo(repo)
    for name, text in there.items():
        head = put(repo, name, text)
    for more in ({}, {"overwrite_card": True}, {"revision": "trial"}, {"create_pr": True}):
        with pytest.raises(UserError, match=says + ".*: give another --repo, or add --replace to put this one in its place$"):
            publish(folder, repo, **more)
    refs = api.list_repo_refs(repo, include_pull_requests=True)
    assert api.repo_info(repo).sha == head and [branch.name for branch in refs.branches] == ["main"] and not refs.pull_requests
    main([str(folder), "--repo", repo, "--replace"])
    assert remote(repo) == FILES


def test_a_repository_with_no_more_than_its_licence_is_empty(folder, api, repo):
    api.create_repo(repo)
    put(repo, "README.md", "---\nlicense: mit\n---\n")
    assert published(folder, repo)[0].startswith("sent in one commit") and ModelCard.load(repo).data.license == "mit"


@pytest.mark.parametrize("here", [False, True])
def test_a_licence_chosen_on_the_hub_stays_unless_another_is_given(folder, api, repo, here):
    api.create_repo(repo)
    put(repo, "README.md", "---\nlicense: cc-by-nc-4.0\n---\n")
    if here:
        write_card(folder)  # as training leaves it: nobody chose its apache-2.0
    assert not any("licence" in line for line in published(folder, repo)) and ModelCard.load(repo).data.license == "cc-by-nc-4.0"
    (folder / "README.md").unlink()
    assert published(folder, repo, licence="mit")[0] == "the licence on the Hub is cc-by-nc-4.0: it becomes mit"
    (folder / "README.md").write_text("# Mine\n")
    assert "the licence on the Hub is mit: it becomes none, as the card here names none" in published(folder, repo, overwrite_card=True)


def test_a_licence_chosen_here_counts_before_the_hubs(folder, api, repo):
    publish(folder, repo, licence="mit")
    api.create_repo(f"{repo}-2")
    put(f"{repo}-2", "README.md", "---\nlicense: cc-by-4.0\n---\n")
    assert published(folder, f"{repo}-2")[0] == "the licence on the Hub is cc-by-4.0: it becomes mit"


def test_the_licence_of_somebody_elses_model_goes_with_it_and_that_is_said(folder, api, repo):
    api.create_repo(repo)
    put(repo, "README.md", "---\nlicense: gpl-3.0\n---\nA diffusion model.")
    assert published(folder, repo, replace=True)[0] == "the licence on the Hub is gpl-3.0: it becomes apache-2.0"


def add_pictures(folder):
    Image.new("RGB", (60, 60)).save(folder / "mistakes.png")
    report.write_metrics(folder, {**report.read_metrics(folder), "mistakes": [{"index": 0}] * 7})
    save_file({"energies": torch.arange(3.0), "bank": torch.ones(5, 2, 16).half(), "bank_thumbnails": torch.ones(5, 3, 32, 32).byte(),
               "bank_labels": torch.arange(5)}, folder / "extras.safetensors")
    (folder / "extras.json").write_text(json.dumps({"energies": {"split": "test"}, "bank": {"images": 5}}))


def test_which_pictures_go_along_is_said_and_they_can_stay_here(folder, repo):
    add_pictures(folder)
    told = ("5 training pictures (extras.safetensors: thumbnails, for the app's nearest pictures) and 7 of the pictures it was measured on "
            "(mistakes.png: those it got wrong) go along, for all who may see the repository: --no-pictures keeps them here")
    assert published(folder, repo)[0] == told and {"mistakes.png", "extras.safetensors", "extras.json"} < remote(repo)
    assert "(mistakes.png)" in card_of(repo) and "thumbnails" in card_of(repo)
    said = published(folder, repo, pictures=False)
    assert said[0] == "pictures that were sent before are deleted, but earlier commits keep them: to be rid of those too, delete the repository and publish again"
    assert remote(repo) == FILES | {"extras.safetensors", "extras.json"}
    assert "mistakes.png" not in card_of(repo) and "thumbnails" not in card_of(repo)
    assert load_file(hf_hub_download(repo, "extras.safetensors")).keys() == {"energies"}
    assert json.loads(open(hf_hub_download(repo, "extras.json")).read()) == {"energies": {"split": "test"}}
    assert (folder / "mistakes.png").exists() and "bank" in load_file(folder / "extras.safetensors")
    assert published(folder, repo, pictures=False)[0].startswith("nothing has changed")


def test_without_a_bank_the_sheet_of_mistakes_is_still_told_of(folder, repo, capsys):
    """What --bank 0 trains."""
    add_pictures(folder)
    for name in ("extras.json", "extras.safetensors"):
        (folder / name).unlink()
    assert published(folder, repo)[0].startswith("7 of the pictures it was measured on (mistakes.png: ")
    main([str(folder), "--repo", repo + "-2", "--no-pictures"])
    assert remote(repo + "-2") == FILES and "pictures" not in capsys.readouterr().out


def test_extras_that_cannot_be_read_stay_here_with_the_pictures(folder, repo):
    add_pictures(folder)
    (folder / "extras.json").write_text("{")
    publish(folder, repo, pictures=False)
    assert remote(repo) == FILES


def test_a_card_by_hand_shows_no_sheet_that_stays_here(hub, folder, repo):
    add_pictures(folder)
    card, count = folder / "README.md", len(hub.calls)
    card.write_text("# Mine\n\n![wrong](mistakes.png)\n")
    with pytest.raises(UserError, match=f"^{card} was changed by hand and shows mistakes.png, which --no-pictures keeps here: take it out of the card$"):
        publish(folder, repo, pictures=False)
    assert len(hub.calls) == count


def made_from(folder, base, train=None):
    report.write_metrics(folder, {**report.read_metrics(folder), "base_model": base})
    if train:
        (folder / "train.yaml").write_text(json.dumps({"model": str(train)}))


@pytest.mark.parametrize(("licence", "told"), [
    ("mit", None), ("cc-by-nc-4.0", "is under cc-by-nc-4.0; this one goes out under cc-by-nc-4.0"), ("other", "is under other; this one goes out under other"),
    (None, "names no licence that could be read; this one goes out under apache-2.0")])
@pytest.mark.parametrize("where", ["hub", "folder"])
def test_a_fine_tune_is_under_its_bases_licence(hub, api, folder, repo, tmp_path, licence, told, where):
    card = f"---\nlicense: {licence}\n---\n# Base\n" if licence else "# Base\n"
    base = save_tiny_model(tmp_path / "base")
    (base / "README.md").write_text(card)
    if where == "hub":
        base = f"{repo}-base"
        hub.seed("models", base, tmp_path / "base")
        made_from(folder, f"{base}@main")
    else:
        made_from(folder, "base", base)
    write_card(folder)  # as training leaves it
    said = published(folder, repo)
    assert ModelCard.load(repo).data.license == (licence or "apache-2.0")
    named = f"{base}@main" if where == "hub" else "base"
    assert (said[0] == f"the model that this one was made from, {named}, {told}: read what it allows, and give another with --license if need be") == bool(told)
    if where == "hub":
        assert ModelCard.load(repo).data.base_model == base
    assert len(published(folder, repo, licence="bsd")) == 3 and ModelCard.load(repo).data.license == "bsd"
    publish(folder, repo)
    assert ModelCard.load(repo).data.license == "bsd"  # stays


def test_apache_that_nobody_chose_gives_way_and_one_that_somebody_chose_stays(hub, folder, repo, tmp_path):
    write_card(folder)  # by an earlier version, which asked no base
    base = save_tiny_model(tmp_path / "base")
    (base / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Base\n")
    made_from(folder, "base", base)
    publish(folder, repo)
    assert ModelCard.load(repo).data.license == "cc-by-nc-4.0"
    publish(folder, repo, licence="apache-2.0")
    said = published(folder, repo)
    assert ModelCard.load(repo).data.license == "apache-2.0" and "base, is under cc-by-nc-4.0; this one goes out under apache-2.0" in said[0]
    (folder / "README.md").unlink()
    write_card(folder)  # as the next training leaves it
    assert ModelCard.load(folder / "README.md").data.license == "cc-by-nc-4.0"
    publish(folder, repo)
    assert ModelCard.load(repo).data.license == "apache-2.0"


def test_a_licence_that_cannot_be_asked_for_stops_no_card(folder):
    """The Hub of the tests does not listen before a test wants it to; and here no such model is there."""
    made_from(folder, "nobody/nothing")
    assert "license: apache-2.0" in write_card(folder).read_text()
    made_from(folder, "gone", folder / "gone")
    assert "license: apache-2.0" in write_card(folder).read_text()
