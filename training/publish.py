"""Put a trained model on the Hub in one commit, and prove that what lies there is what was trained.

    python -m training.publish runs/vit-b16 --repo USER/vit-cifar10

It can run again at any time, without training: what has not changed is not sent again. A branch of the Hub moves in one
step, from the old version to the complete new one, wherever this is interrupted.
"""

import argparse
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import logging
from PIL import Image

from training import card_words
from training.card import README, SEAL, sealed
from training.product import bad_licence, check_folder, choose_licence, is_ours, look_at_card, need_snapshots, product_files, shown_pictures, written_card
from training.report import METRICS_FILE, OWN_MODEL, read_metrics
from training.there import There, look_there
from vit_demo import commands
from vit_demo.classifier import load, read_folder
from vit_demo.errors import UserError
from vit_demo.hub_told import told
from vit_demo.snapshots import NAME, upto

MAIN = "main"
# Loading the very same float32 weights twice gives the very same answers; a wrong or damaged file does not come close.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Published:
    repo: str
    commit: str
    changed: bool  # False: all of it was there already
    url: str


def publish(folder: Path | str, repo: str, *, private: bool = False, revision: str | None = None, create_pr: bool = False,
            message: str | None = None, licence: str | None = None, snapshots: bool = False, unmeasured: bool = False,
            pictures: bool = True, overwrite_card: bool = False, replace: bool = False, say=print) -> Published:
    """Checks the folder and what it would replace, writes its card, sends it in one commit, loads it back from the Hub and compares the
    answers."""
    folder = Path(folder)
    if create_pr and revision not in (None, MAIN):
        raise UserError(f"--create-pr opens a pull request to {MAIN}: leave --revision out")
    elsewhere = create_pr or revision not in (None, MAIN)
    if snapshots and elsewhere:
        raise UserError(f"--snapshots replaces the branches that belong to the model on {MAIN}: leave {'--create-pr' if create_pr else '--revision'} out, or --snapshots")
    classifier = check_folder(folder, unmeasured, "finish the training, or add --unmeasured to publish it without a number")
    if snapshots:
        need_snapshots(folder)
    by_hand, named = look_at_card(folder, licence, pictures)
    api = HfApi()
    with told(repo):
        repo = full_name(api, repo)
        open_repository(api, repo, private)
        there = look_there(api, repo, revision or MAIN)
        lines = there.may_go(folder, overwrite_card or replace, replace)
    licence, about = (named, [f"{README} was changed by hand: it is sent as it is"]) if by_hand else choose_licence(folder, licence, there.chosen_licence)
    with told(repo, bad_licence(folder, by_hand, licence)):
        for line in [*lines, *about, *there.about_licence(licence), *about_pictures(folder, pictures, there)]:
            say(line)
        message = message or default_message(folder)
        with written_card(folder, repo, licence, pictures):
            files = product_files(folder, pictures) | (sealed_by_hand(folder) if by_hand else {})
            commit, changed, address = send(api, repo, files, revision or MAIN, create_pr, message, there.commit)
        if changed:
            say(f"sent in one commit: {commit[:12]}")
        else:
            say(f"nothing has changed since commit {commit[:12]}: no new commit")
        difference = compare(classifier, load(repo, revision=commit, limits=OWN_MODEL))
        say(f"loaded back from the Hub: the same answers (largest difference of a logit {difference:.1e})")
        if snapshots:
            send_snapshots(api, repo, folder, say)
        elif not elsewhere and old_snapshots(api, repo):
            say("snapshots that were sent before stay in their branches; the app leaves out those of another training: --snapshots renews them")
    return Published(repo, commit, changed, address)


def full_name(api: HfApi, repo: str) -> str:
    """NAME -> USER/NAME; also the first call that needs a token, so a wrong one is told before anything is made."""
    user = api.whoami()["name"]
    return repo if "/" in repo else f"{user}/{repo}"


def open_repository(api: HfApi, repo: str, private: bool) -> None:
    """Makes the repository unless it is there; --private never writes into one that everybody can read."""
    try:
        found = api.repo_info(repo)
    except RepositoryNotFoundError:
        api.create_repo(repo, private=private, exist_ok=True)
        return
    if private and not found.private:
        raise UserError(f"{repo} is public already: make it private on its page, choose another name, or leave --private out")


def sealed_by_hand(folder: Path) -> dict[str, bytes]:
    """A card that was changed by hand, as it is sent: its own words, which may bring an earlier seal along, under a new one."""
    text = (folder / README).read_bytes().decode("utf-8")
    return {README: sealed(SEAL.sub("", text)).encode()}


def about_pictures(folder: Path, pictures: bool, there: There) -> list[str]:
    if not pictures:
        kept = "pictures that were sent before are deleted, but earlier commits keep them: to be rid of those too, delete the repository and publish again"
        return [kept] if there.pictures else []
    shown = shown_pictures(folder)
    return [f"{' and '.join(shown)} go along, for all who may see the repository: --no-pictures keeps them here"] if shown else []


def send(api: HfApi, repo: str, files: dict[str, Path | bytes], revision: str, create_pr: bool, message: str, seen: str | None = None) -> tuple[str, bool, str]:
    """One commit with `files`, without what an earlier version had beside them -> its id, whether it is new, its address. `seen`: the
    commit that may be replaced, where that was looked at.

    upload_folder would do, but it splits what is large into several commits, and a reader could meet the half of them."""
    try:
        head = api.repo_info(repo, revision=revision).sha
    except RevisionNotFoundError:
        api.create_branch(repo, branch=revision, exist_ok=True)
        head = api.repo_info(repo, revision=revision).sha
    stale = [path for path in api.list_repo_files(repo, revision=head) if is_ours(path) and path not in files]
    operations = [CommitOperationAdd(path, file) for path, file in files.items()]
    operations += [CommitOperationDelete(path) for path in stale]
    # parent_commit: if someone else has written meanwhile, the Hub refuses instead of mixing.
    done = api.create_commit(repo, operations, commit_message=message, revision=revision, create_pr=create_pr, parent_commit=seen or head)
    address = f"{api.endpoint}/{repo}" + (f"/tree/{revision}" if revision != MAIN else "")
    return done.oid, done.oid != head, done.pr_url or address


def send_snapshots(api: HfApi, repo: str, folder: Path, say) -> None:
    """Each folder of snapshots/ becomes a branch of its name, for the time-lapse of the training; compared as main is. The history
    up to there, which goes along, tells whose snapshot it is. Branches of an earlier training's snapshots are deleted."""
    found, history = need_snapshots(folder), read_metrics(folder).get("history", [])
    for snapshot in found:
        metrics = {"history": upto(history, int(NAME.fullmatch(snapshot.name)[1]))}
        files = {"preprocessor_config.json": folder / "preprocessor_config.json", **product_files(snapshot), METRICS_FILE: json.dumps(metrics).encode()}
        commit, changed, _ = send(api, repo, files, snapshot.name, False, f"Snapshot {snapshot.name}")
        here = read_folder(snapshot, f"{folder.name}'s {snapshot.name}", processor_of=files["preprocessor_config.json"].parent)
        difference = compare(here, load(repo, revision=commit, limits=OWN_MODEL))
        say(f"branch {snapshot.name}: {'sent' if changed else 'unchanged'}, and loaded back: the same answers ({difference:.1e})")
    for stale in sorted(snapshot_branches(api, repo) - {snapshot.name for snapshot in found}):
        api.delete_branch(repo, branch=stale)
        say(f"branch {stale}: deleted, {folder.name} has no such snapshot")


def snapshot_branches(api: HfApi, repo: str) -> set[str]:
    return {branch.name for branch in api.list_repo_refs(repo).branches if NAME.fullmatch(branch.name)}


def old_snapshots(api: HfApi, repo: str) -> bool:
    """Whether to give a hint about them: the model is published by now, so whatever goes wrong here leaves the hint out."""
    with suppress(Exception):
        return bool(snapshot_branches(api, repo))
    return False


def default_message(folder: Path) -> str:
    return f"Upload the model: {card_words.headline(read_metrics(folder)) or 'not measured'}"


def compare(here, there) -> float:
    """Largest difference of a logit on pictures that are the same everywhere; refuses another model than the one here."""
    if here.labels != there.labels:
        raise UserError(f"what lies on the Hub now answers with other classes than {here.name}: publish again")
    pictures = fixed_pictures()
    difference = (here.logits(pictures) - there.logits(pictures)).abs().max().item()
    if not difference <= TOLERANCE:
        raise UserError(f"what lies on the Hub now answers differently from {here.name} (by {difference:.1e}): publish again")
    return difference


def fixed_pictures(count: int = 4) -> list[Image.Image]:
    """Noise of fixed seeds, large enough that every kind of processor has to work."""
    noise = torch.randint(0, 256, (count, 48, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [Image.fromarray(picture.numpy()) for picture in noise]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.publish",
        description="Put a trained model on the Hugging Face Hub: card, weights and image processor in one commit, loaded back and compared. Log in first: hf auth login.",
        epilog="Start: python -m training.publish runs/vit-b16 --repo USER/vit-cifar10 --private",
    )
    parser.add_argument("folder", help="the folder that training wrote")
    parser.add_argument("--repo", required=True, help="where to: USER/NAME, or NAME for your own account; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make a new repository that only you can see")
    parser.add_argument("--revision", help="the branch to write to (default: main); made if it is not there")
    parser.add_argument("--create-pr", action="store_true", help="open a pull request instead of writing to main")
    parser.add_argument("--message", help="the commit's message (default: names the accuracy)")
    parser.add_argument("--no-pictures", dest="pictures", action="store_false", help="keep pictures here: the sheet of mistakes, and the thumbnails for the app's nearest pictures with their features")
    parser.add_argument("--license", dest="licence", help="the weights' licence as the Hub names it (default: what the card says already, here or on the Hub, or the base model's, or apache-2.0)")
    parser.add_argument("--snapshots", action="store_true", help="also send the folder's snapshots, each to a branch of its own, and delete those branches of an earlier training that it does not replace; with main alone")
    parser.add_argument("--unmeasured", action="store_true", help="publish although no accuracy was measured; the card says so")
    parser.add_argument("--overwrite-card", action="store_true", help="replace a card that was edited on the Hub")
    parser.add_argument("--replace", action="store_true", help="replace another model, and its card, that this command did not send; its files of other names stay")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> Published:
    """As the command line says. Raises UserError with one line."""
    logging.set_verbosity_error()  # the library's "no files have been modified" is said in our own words
    options = vars(parse(argv))
    done = publish(options.pop("folder"), options.pop("repo"), **options)
    print(f"done: {done.url}")
    return done


def cli() -> None:
    commands.cli(main, "stopped: no branch is half written; run the same command again to finish")


if __name__ == "__main__":
    cli()
