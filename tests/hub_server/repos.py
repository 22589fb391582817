"""Repositories as a whole: create, delete, move, duplicate, settings."""
import re

from fastapi import APIRouter, Request

from .access import Account, missing, open_repo, writer
from .errors import HubError
from .files import base_url
from .store import MAIN, Repo, Store, now
from .upload import GITATTRIBUTES

routes = APIRouter()
SPACE_README = "---\ntitle: {title}\nemoji: 🚀\ncolorFrom: blue\ncolorTo: green\nsdk: {sdk}\npinned: false\n---\n"


def web_url(request: Request, kind: str, repo_id: str) -> str:
    return f"{base_url(request)}/{'' if kind == 'models' else kind + '/'}{repo_id}"


def named(form: dict, account: Account) -> tuple[str, str]:
    """(models|datasets|spaces, USER/NAME) of a request body that names a repository."""
    return (form.get("type") or "model") + "s", f"{form.get('organization') or account.name}/{form['name']}"


def free(request: Request, kind: str, repo_id: str):
    """409 unless the name is still to be had."""
    if request.app.state.store.get(kind, repo_id):
        raise HubError(409, f"You already created this {kind[:-1]} repo: {repo_id}", url=web_url(request, kind, repo_id))


def is_private(form: dict) -> bool:
    return form.get("visibility") == "private" or bool(form.get("private"))


@routes.post("/api/repos/create")
async def create(request: Request):
    form = await request.json()
    account = writer(request)
    kind, repo_id = named(form, account)
    if kind not in ("models", "datasets", "spaces"):
        raise HubError(400, f"Invalid repository type: {kind[:-1]}")
    if not re.fullmatch(r"[\w.-]{1,96}", form["name"]) or re.search(r"--|\.\.|^[.-]|[.-]$|\.git$", form["name"]):
        raise HubError(400, f"Invalid repository name: {form['name']}")
    writer(request, repo_id.split("/")[0])
    free(request, kind, repo_id)
    space = {"sdk": form.get("sdk"), "hardware": form.get("hardware") or "cpu-basic", "sleep": form.get("sleepTimeSeconds"),
             "stage": None, "volumes": form.get("volumes"),
             **{key: {row["key"]: row | {"updatedAt": now()} for row in form.get(key) or []} for key in ("variables", "secrets")}}
    more = {"space": space} if kind == "spaces" else {}
    store: Store = request.app.state.store
    repo = store.create(kind, repo_id, account.name, is_private(form), **more)
    files = {".gitattributes": store.add_blob(GITATTRIBUTES.encode())}
    if kind == "spaces":
        files["README.md"] = store.add_blob(SPACE_README.format(title=form["name"], sdk=form.get("sdk")).encode())
    repo.point(MAIN, repo.write_commit(files, [], account.name, "initial commit"))
    return {"url": web_url(request, kind, repo_id), "name": repo_id, "id": repo.state["key"], "private": repo.state["private"]}


def owned(request: Request, kind: str, repo_id: str) -> Repo:
    account = writer(request)
    repo = request.app.state.store.get(kind, repo_id)
    if repo is None:
        raise missing(account)
    writer(request, repo_id.split("/")[0])
    return repo


@routes.delete("/api/repos/delete")
async def delete(request: Request):
    form = await request.json()
    request.app.state.store.delete(owned(request, *named(form, writer(request))))
    return {}


@routes.post("/api/repos/move")
async def move(request: Request):
    form = await request.json()
    kind, target = form.get("type", "model") + "s", form["toRepo"]
    repo = owned(request, kind, form["fromRepo"])
    writer(request, target.split("/")[0])
    if request.app.state.store.get(kind, target):
        raise HubError(409, f"A {repo.type} repository called {target} already exists")
    request.app.state.store.move(repo, target)
    return {}


@routes.post("/api/{kind}/{ns}/{name}/duplicate")
async def duplicate(request: Request):
    form = await request.json()
    repo, _ = open_repo(request, "files")
    target = form["repository"]
    account = writer(request, target.split("/")[0])
    free(request, repo.kind, target)
    space = repo.state.get("space")
    more = {"space": space | {"secrets": {}, "hardware": form.get("hardware") or "cpu-basic"}} if space else {}
    copy = request.app.state.store.create(repo.kind, target, account.name, is_private(form), **more)
    sha = copy.write_commit(repo.files(repo.refs[MAIN]), [], account.name, f"Duplicate from {repo.id}")
    copy.point(MAIN, sha)
    return {"url": web_url(request, repo.kind, target)}


@routes.put("/api/{kind}/{ns}/{name}/settings")
async def settings(request: Request):
    form = await request.json()
    repo, _ = open_repo(request, "write")
    if "gated" in form and form["gated"] not in (False, "auto", "manual"):
        raise HubError(400, '"gated" must be one of [false, auto, manual]')
    if "gated" in form:
        repo.state["gated"] = form["gated"]
    if "visibility" in form or "private" in form:
        repo.state["private"] = is_private(form)
    repo.save()
    return {"private": repo.state["private"], "gated": repo.state["gated"]}


@routes.get("/api/{kind}/{ns}/{name}/auth-check")
async def auth_check(request: Request):
    open_repo(request, "files")
    return {}


@routes.get("/api/{kind}/{ns}/{name}/auth-check/write")
async def auth_check_write(request: Request):
    open_repo(request, "write")
    return {}
