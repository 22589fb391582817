"""Who asks, and may they? Public, private and gated repositories; read and write tokens; organisations."""
from dataclasses import dataclass
from urllib.parse import unquote

from fastapi import Request

from .errors import HubError
from .store import KINDS, Repo


@dataclass(frozen=True)
class Account:
    name: str
    token: str
    write: bool = True                    # False: a read token
    orgs: tuple[str, ...] = ()            # organisations in which the account may write
    fullname: str = ""

    def owns(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs


DEFAULT_ACCOUNTS = (
    Account("tester", "hf_local", orgs=("local-org",), fullname="Local Tester"),
    Account("tester", "hf_local_read", write=False, orgs=("local-org",), fullname="Local Tester"),
    Account("stranger", "hf_stranger", fullname="A Stranger"),
)


def caller(request: Request) -> Account | None:
    header = request.headers.get("authorization")
    if not header:
        return None
    token = header.removeprefix("Bearer ")
    for account in request.app.state.accounts:
        if account.token == token:
            return account
    raise HubError(401, "Invalid credentials in Authorization header")


def writer(request: Request, namespace: str | None = None) -> Account:
    """The caller, who must hold a write token, and write in `namespace` if one is named."""
    account = caller(request)
    if account is None:
        raise HubError(401, "Invalid username or password.")
    if not account.write:
        raise HubError(403, "You must use a write token: this one can only read")
    if namespace and not account.owns(namespace):
        raise HubError(403, f"You don't have the rights to write under the namespace \"{namespace}\"")
    return account


def missing(account: Account | None) -> HubError:
    """Someone who is not logged in is not told whether a repository exists."""
    if account is None:
        return HubError(401, "Invalid username or password.", "RepoNotFound")
    return HubError(404, "Repository not found", "RepoNotFound")


class Moved(Exception):
    def __init__(self, old: str, new: str):
        self.old, self.new = old, new


def open_repo(request: Request, need: str = "see") -> tuple[Repo, Account | None]:
    """The repository that the route names. `need`: see (its page), files, propose (a pull request), write."""
    first, repo_id = request.url.path.split("/")[1], "{ns}/{name}".format(**request.path_params)
    kind = request.path_params.get("kind") or (first if first in KINDS else "models")
    account, store = caller(request), request.app.state.store
    repo = store.get(kind, unquote(repo_id)) if kind in KINDS else None
    if repo is None and (new := store.moved().get(f"{kind}/{repo_id}")):
        raise Moved(repo_id, new)
    member = repo is not None and account is not None and account.owns(repo.id.split("/")[0])
    if repo is None or (repo.state["private"] and not member):
        raise missing(account)
    if need == "files" and repo.state["gated"] and not member:
        check_gate(repo, account)
    if need in ("propose", "write"):
        writer(request)
    if need == "write" and not member:
        raise HubError(403, "You don't have write access: pass `create_pr=1` as a query parameter to create a Pull Request")
    return repo, account


def check_gate(repo: Repo, account: Account | None):
    what = f"Access to {repo.type} {repo.id} is restricted"
    if account is None:
        raise HubError(401, f"{what}. You must have access to it and be authenticated to access it. Please log in.", "GatedRepo")
    status = repo.state["access"].get(account.name, {}).get("status")
    if status == "accepted":
        return
    if status == "pending":
        raise HubError(403, f"{what}: your request is awaiting a review from the repo authors.", "GatedRepo")
    if status == "rejected":
        raise HubError(403, f"{what}: your request has been rejected by the repo's authors.", "GatedRepo")
    raise HubError(403, f"{what} and you are not in the authorized list. Visit its page to ask for access.", "GatedRepo")
