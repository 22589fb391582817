"""What a person types to name a model on the Hub -> repository and revision. A pure reading: nothing is looked up."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from vit_demo.checks import shown
from vit_demo.errors import UserError

SITE = re.compile(r"(https?://)?(www\.)?(huggingface\.co|hf\.co)/", re.IGNORECASE)
IDENTIFIER = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Address:
    id: str  # user/name
    revision: str | None  # branch, tag or commit; None is the main branch

    @property
    def pinned(self) -> bool:
        """A commit never changes, so what is kept of it need not be asked for."""
        return COMMIT.fullmatch(self.revision or "") is not None


def parse(text: str, revision: str | None = None) -> Address:
    """`user/name`, `user/name@revision` or the address of its page. A revision given beside it wins."""
    text = text.strip()
    own = f"{constants.ENDPOINT}/"
    site = own if text.startswith(own) else (SITE.match(text) or [""])[0]
    if site:
        repository, named = _from_page(text[len(site):])
    else:
        repository, _, named = text.partition("@")
    revision = revision or named or None
    try:
        if not IDENTIFIER.fullmatch(repository):
            raise HFValidationError
        validate_repo_id(repository)
    except HFValidationError:
        raise UserError(f"{shown(text)} is neither a folder here nor a model on the Hub; a model's name there looks "
                        "like user/name") from None
    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision or len(revision) > 200):
        raise UserError(f"{repository}: {shown(revision)} is no revision; name a branch, a tag or a commit")
    return Address(repository, revision)


def _from_page(path: str) -> tuple[str, str]:
    """`user/name/tree/revision/...` -> its first and its last part."""
    parts = [unquote(part) for part in re.split("[?#]", path)[0].strip("/").split("/")]  # a branch's own slash is written %2F
    if parts[0] in ("datasets", "spaces", "collections", "papers", "docs"):
        raise UserError(f"this address leads to one of the Hub's {parts[0]}; a model's looks like "
                        "https://huggingface.co/user/name")
    named = ""
    if len(parts) > 3 and parts[2] in ("tree", "blob", "resolve", "commit"):
        named = "/".join(parts[3:6] if parts[3] == "refs" else parts[3:4])  # refs/pr/1 is one revision
    return "/".join(parts[:2]), named
