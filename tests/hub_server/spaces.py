"""Spaces: variables, secrets (write-only) and a runtime that says what it would run. Nothing is started here."""
from fastapi import APIRouter, Request

from .access import open_repo
from .store import MAIN, Repo, now

routes = APIRouter()


def runtime(repo: Repo) -> dict:
    space = repo.state["space"]
    has_app = any(path in ("app.py", "Dockerfile", "index.html") for path in repo.files(repo.refs[MAIN]))
    stage = space["stage"] or ("RUNNING" if has_app else "NO_APP_FILE")
    running_on = space["hardware"] if stage == "RUNNING" else None
    return {"stage": stage, "hardware": {"current": running_on, "requested": space["hardware"]}, "storage": None, "gcTimeout": space["sleep"], "replicas": {"current": 1, "requested": 1}, "volumes": space["volumes"]}


def open_space(request: Request, need: str = "write") -> Repo:
    request.path_params["kind"] = "spaces"
    return open_repo(request, need)[0]


@routes.get("/api/spaces/{ns}/{name}/runtime")
async def get_runtime(request: Request):
    return runtime(open_space(request, "see"))


@routes.post("/api/spaces/{ns}/{name}/hardware")
async def hardware(request: Request):
    form = await request.json()
    return change(request, hardware=form["flavor"], **({"sleep": form["sleepTimeSeconds"]} if "sleepTimeSeconds" in form else {}))


@routes.post("/api/spaces/{ns}/{name}/sleeptime")
async def sleep_time(request: Request):
    return change(request, sleep=(await request.json())["seconds"])


@routes.post("/api/spaces/{ns}/{name}/pause")
async def pause(request: Request):
    return change(request, stage="PAUSED")


@routes.post("/api/spaces/{ns}/{name}/restart")
async def restart(request: Request):
    return change(request, stage=None)


def change(request: Request, **what) -> dict:
    repo = open_space(request)
    repo.state["space"] |= what
    repo.save()
    return runtime(repo)


def shown(values: dict, which: str) -> dict:
    """A secret's value never comes back."""
    return {key: {k: v for k, v in row.items() if which == "variables" or k != "value"} for key, row in values.items()}


@routes.api_route("/api/spaces/{ns}/{name}/variables", methods=["GET", "POST", "DELETE"])
@routes.api_route("/api/spaces/{ns}/{name}/secrets", methods=["GET", "POST", "DELETE"])
async def values(request: Request):
    form = await request.json() if request.method != "GET" else None
    repo, which = open_space(request), request.url.path.rpartition("/")[2]
    kept = repo.state["space"][which]
    if request.method == "POST":
        kept[form["key"]] = form | {"updatedAt": now()}
    elif request.method == "DELETE":
        kept.pop(form["key"], None)
    repo.save()
    return shown(kept, which)
