"""Put this app on the Hub as a Space that shows your model.

    python -m vit_demo.space USER/NAME --model USER/vit-cifar10

Run it again to bring the Space up to date: what you changed of its page meanwhile stays, title, words and all. `--folder DIR` only writes the Space's files there, to look at or to try:
in that folder `pip install -r requirements.txt gradio==…` and `python app.py` start it as Spaces do. Which model it shows is
no file but the Space's variable VIT_DEMO_MODEL: with `--folder` you set it yourself, in the settings or before `python app.py`.
"""

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard
from huggingface_hub.utils import logging

from vit_demo import commands, hub_address
from vit_demo.classifier import load
from vit_demo.errors import UserError
from vit_demo.hub_told import told

ROOT = Path(__file__).resolve().parent.parent
WANTED = "VIT_DEMO_MODEL"  # the variable that app.py reads
TITLE = "ViT Demo"
PYTHON = "3.12"
# Spaces bring these themselves, gradio in the version that the front matter names: listed again they would be in the way.
BROUGHT = ("gradio", "huggingface-hub", "spaces")
GENERATED = (".pyc", ".pyi")
# What the front matter says of the app and its model, brought up to date each time; all else there is its owner's once it is written.
OURS = ("sdk", "sdk_version", "python_version", "app_file", "models", "datasets", "preload_from_hub")


@dataclass(frozen=True)
class Shown:
    """The model that the Space shows, as its front matter speaks of it."""

    id: str
    preload: str | None = None  # "id file,file commit": fetched when the Space is built, not when it starts
    datasets: tuple[str, ...] = ()


def pins() -> dict[str, str]:
    """Package -> version, from the app's own requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def requirements() -> str:
    """What the Space installs beside what every Gradio Space has."""
    return "".join(f"{name}=={version}\n" for name, version in pins().items() if name not in BROUGHT)


def readme(title: str | None, shown: Shown | None, earlier: str | None = None) -> str:
    """Front matter as Spaces read it (https://huggingface.co/docs/hub/spaces-config-reference), and a few words. Of an earlier one what
    is not generated stays; its words too, unless they are still the generated ones, under whichever heading."""
    there, body = taken_apart(earlier) if earlier else ({}, "")
    heading = heading_of(body)
    by_hand = title is None and heading not in (None, TITLE, str(there.get("title")))
    title = title or there.get("title") or TITLE
    front, now = generated_front(title, shown), words(heading if by_hand else title, shown.id if shown else None)
    if there:
        ours = {key: front[key] for key in OURS if key in front}
        front = {key: value for key, value in there.items() if key not in OURS or key in ours} | ours | {"title": title}
    if body.strip() not in ("", words(heading, next(iter(there.get("models") or []), None)).strip()):
        now = body.lstrip()
    if front == there and now.strip() == body.strip():
        return earlier  # to the byte, as its owner wrote it
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{now}"


def heading_of(body: str) -> str | None:
    """Not the front matter's title: that may have been changed alone, on the Space's page."""
    found = re.match(r"\s*# (.+)", body)
    return found and found[1].strip()


def taken_apart(card: str) -> tuple[dict, str]:
    """(front matter, words) of a Space's README.md."""
    try:
        parsed = RepoCard(card, ignore_metadata_errors=True)
    except (ValueError, yaml.YAMLError):
        raise UserError("the lines between --- at the top of the Space's README.md are no YAML table: correct them on its page") from None
    return parsed.data.to_dict(), parsed.text


def generated_front(title: str, shown: Shown | None) -> dict:
    return {
        "title": title, "emoji": "🔍", "colorFrom": "blue", "colorTo": "yellow",
        "sdk": "gradio", "sdk_version": pins()["gradio"], "python_version": PYTHON, "app_file": "app.py",
        "suggested_hardware": "cpu-basic", "pinned": False, "license": "apache-2.0",
        "short_description": "Walk your own picture through a Vision Transformer",
        **({"models": [shown.id]} if shown else {}),
        **({"datasets": list(shown.datasets)} if shown and shown.datasets else {}),
        **({"preload_from_hub": [shown.preload]} if shown and shown.preload else {}),
        "tags": ["vision-transformer", "image-classification", "explainability", "education"],
    }


def words(title: str, model: str | None) -> str:
    what = f"[{model}](https://huggingface.co/{model})" if model else "the model that the app carries"
    return (f"# {title}\n\nWalk your own picture through a Vision Transformer, step by step, with {what}.\n\n"
            f"To have one of your own, duplicate this Space and set its variable `{WANTED}` to a ViT on the Hub.\n")


def space_files(title: str | None = None, shown: Shown | None = None, earlier: str | None = None) -> dict[str, Path | bytes]:
    """Path in the Space -> file here, or what it holds. No secret is among it: those belong into the Space's settings."""
    package = sorted(path for path in (ROOT / "vit_demo").rglob("*")
                     if path.is_file() and path.suffix not in GENERATED and not path.name.startswith("."))
    files = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "app.py", ROOT / "LICENSE", *package)}
    del files["vit_demo/space.py"]  # a Space makes no Spaces, and has not all that this needs
    return {**files, "README.md": readme(title, shown, earlier).encode(), "requirements.txt": requirements().encode()}


def write(folder: Path, files: dict[str, Path | bytes]) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--folder {folder} is there already and not empty: give a new one")
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    except OSError as error:
        raise UserError(f"cannot write to --folder {folder}: {error.strerror}; give another one") from None


def look_up(api: HfApi, model: str) -> Shown:
    """Opens the model as the Space will, so that one that cannot be shown is refused here."""
    if os.path.isdir(model):
        raise UserError(f"{model} is a folder of this machine, which a Space cannot read: put it on the Hub with "
                        "python -m training.publish, and name it as USER/NAME")
    classifier = load(model)
    info = api.model_info(classifier.name, revision=classifier.revision)
    datasets = (info.card_data.to_dict() if info.card_data else {}).get("datasets") or ()
    files = sorted(path.name for path in classifier.files.iterdir() if path.suffix in (".json", ".safetensors"))
    public = not info.private and not info.gated  # Spaces preload nothing else
    return Shown(classifier.name, f"{classifier.name} {','.join(files)} {classifier.revision}" if public else None,
                 (datasets,) if isinstance(datasets, str) else tuple(datasets))


def publish(repo: str, model: str | None = None, *, private: bool = False, title: str | None = None, say=print) -> str:
    """Makes the Space, or brings it up to date in one commit -> its address."""
    api = HfApi()
    with told(repo):
        user = api.whoami()["name"]
        repo = repo if "/" in repo else f"{user}/{repo}"
    with told(model or repo):
        shown = look_up(api, model) if model else None
    with told(repo):
        api.create_repo(repo, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        head = api.repo_info(repo, repo_type="space")
        if private and not head.private:
            raise UserError(f"{repo} is public already: make it private in its settings, choose another name, or leave --private out")
        there = api.list_repo_files(repo, repo_type="space", revision=head.sha)
        files = space_files(title, shown, earlier_readme(api, repo, head.sha, there))
        set_variable(api, repo, model, say)
        stale = [name for name in there if name.startswith("vit_demo/") and name not in files]
        operations = [CommitOperationAdd(name, content if isinstance(content, bytes) else str(content)) for name, content in files.items()]
        operations += [CommitOperationDelete(name) for name in stale]
        # parent_commit: if someone else has written meanwhile, the Hub refuses instead of mixing.
        done = api.create_commit(repo, operations, repo_type="space", commit_message="Put ViT Demo here", parent_commit=head.sha)
        say(f"sent in one commit: {done.oid[:12]}" if done.oid != head.sha else "nothing has changed: no new commit")
        if shown and shown.preload is None:
            say(f"{shown.id} is private or gated: give the Space a secret HF_TOKEN that may read it, in its settings")
    return f"{api.endpoint}/spaces/{repo}"


def earlier_readme(api: HfApi, repo: str, commit: str, names: list[str]) -> str | None:
    """That of this app as a Space; the one that a Space is made with, before any app lies there, is nobody's. Raises UserError where
    another app lies there."""
    if "vit_demo/page.py" in names and "README.md" in names:
        return Path(api.hf_hub_download(repo, "README.md", repo_type="space", revision=commit)).read_bytes().decode("utf-8", "replace")
    if "app.py" in names and "vit_demo/page.py" not in names:
        raise UserError(f"{repo} holds another app: give the Space another name, or delete its app.py first")
    return None


def set_variable(api: HfApi, repo: str, model: str | None, say) -> None:
    """Only where it is another than before: setting a variable starts the Space anew."""
    there = api.get_space_variables(repo).get(WANTED)
    if model and (there is None or there.value != model):
        api.add_space_variable(repo, WANTED, model)
    elif there and not model:
        api.delete_space_variable(repo, WANTED)
        say(f"no --model: the Space no longer shows {there.value}, but the model that the app carries")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m vit_demo.space", description="Put this app on the Hub as a Space. Log in first: hf auth login.",
        epilog="Start: python -m vit_demo.space USER/vit-demo --model USER/vit-cifar10")
    parser.add_argument("repo", nargs="?", help="where to: USER/NAME, or NAME for your own account; made if it is not there")
    parser.add_argument("--model", help="the ViT on the Hub that it shows, USER/NAME or USER/NAME@REVISION (default: the one the app carries)")
    parser.add_argument("--title", help=f"the Space's title (default: the one that it has, or {TITLE})")
    parser.add_argument("--private", action="store_true", help="make a new Space that only you can see")
    parser.add_argument("--folder", type=Path, help="only write the Space's files into this new folder, and send nothing")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """As the command line says. Raises UserError with one line."""
    logging.set_verbosity_error()  # the library's "no files have been modified" is said in our own words
    options = parse(argv)
    if options.folder:
        shown = Shown(hub_address.parse(options.model).id) if options.model else None
        write(options.folder, space_files(options.title, shown))
        print(f"done: {options.folder}" + (f"; set its variable {WANTED} to {options.model}" if options.model else ""))
    elif options.repo:
        print(f"done: {publish(options.repo, options.model, private=options.private, title=options.title)}")
    else:
        raise UserError("name the Space, USER/NAME; or give --folder to write its files there")


def cli() -> None:
    commands.cli(main, "stopped: run the same command again to finish")


if __name__ == "__main__":
    cli()
