"""What lies already where a model is published to, and whether it may be replaced."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import RevisionNotFoundError
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from training.card import LICENCE, MARKER, README, SEAL, is_as_sent, licence_of
from training.extras import FACTS_FILE, bank_pictures
from training.figures import MISTAKES
from training.report import METRICS_FILE
from vit_demo.errors import UserError


@dataclass(frozen=True)
class There:
    """What lies in the repository and would be replaced."""

    repo: str
    commit: str
    names: frozenset[str]  # of its files
    card: str  # nothing where there is none, or none with a word in it
    licence: str | None  # that the card names, words or none
    kind: str | None  # its config.json's model_type
    pictures: bool  # whether it shows somebody's pictures

    def may_go(self, folder: Path, edited_too: bool, others_too: bool) -> list[str]:
        """Raises UserError where something would be lost that was not sent from here -> lines to tell the user."""
        path = folder / README
        here = path.read_text("utf-8", errors="replace") if path.is_file() else ""
        sealed, generated, by_hand = is_as_sent(self.card), MARKER in self.card, bool(here) and MARKER not in here
        if not others_too and "config.json" in self.names and self.kind != "vit":
            raise UserError(f"{self.repo} holds a model of another kind ({self.kind or 'its config.json names none'}): give another --repo, or add --replace to put this one in its place")
        if not self.card or words(self.card) == words(here) and (generated or MARKER not in here):
            return []
        if not others_too and not generated and sealed is None and METRICS_FILE not in self.names:
            raise UserError(f"{self.repo} holds a model with a card that is not of this command: give another --repo, or add --replace to put this one in its place")
        if not edited_too and (sealed is False or not generated and not (sealed and by_hand)):
            raise UserError(f"the {README} of {self.repo} was edited on the Hub, or is another that was written by hand: to keep it, save it as {path} without "
                            "the line that begins with <!-- Written by; to replace it, add --overwrite-card")
        old = sealed is None and not edited_too
        return [f"the card there has no seal, so whether it was edited cannot be told: it is replaced, and stays in commit {self.commit[:12]}"] if old else []

    @property
    def chosen_licence(self) -> str | None:
        """The licence, where it is this model's: of a card that was sent from here, or of one with no word in it, which a new repository
        is made with. apache-2.0 under no seal may be nobody's choice."""
        ours = not self.card or SEAL.search(self.card) or MARKER in self.card and self.licence != LICENCE
        return self.licence if ours else None

    def about_licence(self, licence: str | None) -> list[str]:
        changes = self.licence is not None and self.licence != licence
        return [f"the licence on the Hub is {self.licence}: it becomes {licence or 'none, as the card here names none'}"] if changes else []


def words(card: str) -> list[str]:
    """Those of a card, without the lines that tell who wrote it."""
    return SEAL.sub("", card.replace("\r\n", "\n")).replace(MARKER, "").split()


def named_licence(card: str) -> str | None:
    with suppress(ValueError, yaml.YAMLError):
        found = licence_of(card)
        return found if isinstance(found, str) else None
    return None


def look_there(api: HfApi, repo: str, revision: str) -> There:
    try:
        head = api.repo_info(repo, revision=revision)
    except RevisionNotFoundError:
        head = api.repo_info(repo)  # what a new branch begins with
    names = frozenset(file.rfilename for file in head.siblings)
    paths = {name: Path(api.hf_hub_download(repo, name, revision=head.sha)) for name in (README, "config.json", FACTS_FILE) if name in names}
    card, kind = paths[README].read_text("utf-8", errors="replace") if README in paths else "", None
    with suppress(KeyError, ValueError, AttributeError):
        kind = json.loads(paths["config.json"].read_text("utf-8")).get("model_type")
    shows = MISTAKES in names or bool(FACTS_FILE in paths and bank_pictures(paths[FACTS_FILE].parent))
    return There(repo, head.sha, names, card if REGEX_YAML_BLOCK.sub("", card, count=1).strip() else "", named_licence(card), kind, shows)
