"""Branches, tags, and the rewriting of history."""
import re
from urllib.parse import unquote

from fastapi import APIRouter, Request

from .access import open_repo
from .errors import HubError
from .files import page
from .store import MAIN, Entry, Repo

routes = APIRouter()


def new_ref(repo: Repo, ref: str, sha: str, message: str | None = None):
    name = ref.split("/", 2)[2]
    if not re.fullmatch(r"[\w./+-]+", name) or re.search(r"\.\.|^[/.-]|[/.]$|//", name):
        raise HubError(400, f"Invalid reference name: {name}")
    if ref in repo.refs:
        raise HubError(409, f"Reference {ref} already exists")
    repo.state["tags"] |= {name: message} if message else {}
    repo.point(ref, sha)


def remove_ref(repo: Repo, ref: str):
    if ref not in repo.refs:
        raise HubError(404, f"Invalid rev id: {ref}", "RevisionNotFound")
    del repo.refs[ref]
    repo.save()


@routes.post("/api/{kind}/{ns}/{name}/branch/{branch}")
async def create_branch(request: Request, branch: str):
    form = await request.json()
    repo, _ = open_repo(request, "write")
    new_ref(repo, f"refs/heads/{unquote(branch)}", repo.find(form.get("startingPoint") or "main"))
    return {}


@routes.delete("/api/{kind}/{ns}/{name}/branch/{branch}")
async def delete_branch(request: Request, branch: str):
    repo, _ = open_repo(request, "write")
    if unquote(branch) == "main":
        raise HubError(403, "Cannot delete refs/heads/main")
    remove_ref(repo, f"refs/heads/{unquote(branch)}")
    return {}


@routes.post("/api/{kind}/{ns}/{name}/tag/{rev}")
async def create_tag(request: Request, rev: str):
    form = await request.json()
    repo, _ = open_repo(request, "write")
    new_ref(repo, f"refs/tags/{form['tag']}", repo.find(unquote(rev)), form.get("message"))
    return {}


@routes.delete("/api/{kind}/{ns}/{name}/tag/{tag}")
async def delete_tag(request: Request, tag: str):
    repo, _ = open_repo(request, "write")
    remove_ref(repo, f"refs/tags/{unquote(tag)}")
    return {}


@routes.post("/api/{kind}/{ns}/{name}/super-squash/{branch}")
async def super_squash(request: Request, branch: str):
    form = await request.json()
    repo, account = open_repo(request, "write")
    ref = repo.branch(unquote(branch))
    repo.point(ref, repo.write_commit(repo.files(repo.refs[ref]), [], account.name, form["message"]))
    return {}


def large_files(repo: Repo) -> list[dict]:
    """Every large file of any commit that a ref leads to, `main` first."""
    rows = {}
    for ref in sorted(repo.refs, key=lambda ref: ref != MAIN):
        for _, commit in repo.history(repo.refs[ref]):
            for path, (_, size, sha256) in commit["files"].items():
                if sha256:
                    rows.setdefault(sha256, {"fileOid": sha256, "oid": sha256, "filename": path, "size": size, "ref": ref,
                                             "pushedAt": commit["date"]})
    return list(rows.values())


@routes.get("/api/{kind}/{ns}/{name}/lfs-files")
async def lfs_files(request: Request):
    return page(request, large_files(open_repo(request, "write")[0]))


@routes.post("/api/{kind}/{ns}/{name}/lfs-files/batch")
async def delete_lfs_files(request: Request):
    """Take large files out of every commit of every ref, as if they had never been there."""
    gone = set((await request.json())["deletions"]["sha"])
    repo, _ = open_repo(request, "write")
    new = {None: None}
    for tip in repo.refs.values():
        for sha, commit in reversed(repo.history(tip)):
            if sha not in new:
                files = {path: Entry(*row) for path, row in commit["files"].items() if row[2] not in gone}
                parents = [new[parent] for parent in commit["parents"] if parent in new]
                new[sha] = repo.write_commit(files, parents, commit["author"], commit["title"], commit["message"])
    repo.state["refs"] = {ref: new[sha] for ref, sha in repo.refs.items()}
    repo.save()
    return {}
