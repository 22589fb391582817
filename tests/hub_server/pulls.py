"""Discussions and pull requests. The branch of pull request N is refs/pr/N."""
import difflib
import uuid

from fastapi import APIRouter, Request

from .access import Account, open_repo, writer
from .errors import HubError
from .store import MAIN, Repo, now

routes = APIRouter()
PAGE = 10


def event(kind: str, author: str, **data) -> dict:
    return {"id": uuid.uuid4().hex[:24], "type": kind, "createdAt": now(), "author": {"name": author}, "data": data}


def comment(author: str, text: str) -> dict:
    latest = {"raw": text, "html": f"<p>{text}</p>", "updatedAt": now(), "author": {"name": author}}
    return event("comment", author, edited=False, hidden=False, latest=latest, history=[latest])


def open_pull(repo: Repo, account: Account, title: str, text: str, sha: str | None, base: str = MAIN, status: str = "draft",
              pull: bool = True) -> int:
    """Adds the discussion to `repo`, with refs/pr/N at `sha` when it is a pull request, and gives its number."""
    discussions = repo.state["discussions"]
    number = len(discussions) + 1
    discussions.append({
        "num": number, "title": title, "author": {"name": account.name}, "createdAt": now(), "status": status,
        "isPullRequest": pull, "base": base, "start": sha and repo.refs[base], "events": [comment(account.name, text)]})
    if pull:
        repo.refs[f"refs/pr/{number}"] = sha
    repo.save()
    return number


def described(repo: Repo, item: dict) -> dict:
    keys = ("num", "title", "author", "createdAt", "status", "isPullRequest")
    return {key: item[key] for key in keys} | {"repo": {"name": repo.id, "type": repo.type}}


def fork_point(repo: Repo, one: str, two: str) -> str:
    mine = {sha for sha, _ in repo.history(one)}
    return next(sha for sha, _ in repo.history(two) if sha in mine)


def changes(repo: Repo, old: str, new: str) -> dict:
    """path -> its entry in `new` (None: deleted), for every file that differs."""
    before, after = repo.files(old), repo.files(new)
    return {path: after.get(path) for path in sorted({*before, *after}) if before.get(path) != after.get(path)}


def conflicts(repo: Repo, item: dict) -> list[str]:
    head, tip = repo.refs[item["base"]], repo.refs[f"refs/pr/{item['num']}"]
    base = fork_point(repo, head, tip)
    theirs, ours = changes(repo, base, tip), changes(repo, base, head)
    return [path for path in theirs if path in ours and ours[path] != theirs[path]]


def diff(repo: Repo, old: str, new: str) -> str:
    before, text = repo.files(old), []
    for path, entry in changes(repo, old, new).items():
        sides = [repo.store.read(e).decode("utf-8", "replace").splitlines(True) if e and not e.sha256 else []
                 for e in (before.get(path), entry)]
        names = f"a/{path}" if path in before else "/dev/null", f"b/{path}" if entry else "/dev/null"
        text += [f"diff --git a/{path} b/{path}\n", *difflib.unified_diff(*sides, *names)]
    return "".join(text)


@routes.get("/api/{kind}/{ns}/{name}/discussions")
async def listed(request: Request):
    repo, _ = open_repo(request)
    query = request.query_params
    rows = [described(repo, item) for item in reversed(repo.state["discussions"])
            if query.get("type", "all") in ("all", "pull_request" if item["isPullRequest"] else "discussion")
            and query.get("author", item["author"]["name"]) == item["author"]["name"]
            and (query.get("status", "all") == "all" or (query["status"] == "open") == (item["status"] in ("open", "draft")))]
    start = int(query.get("p", 0)) * PAGE
    return {"discussions": rows[start:start + PAGE], "count": len(rows), "start": start}


@routes.post("/api/{kind}/{ns}/{name}/discussions")
async def create(request: Request):
    form = await request.json()
    repo, _ = open_repo(request)
    account, pull = writer(request), form.get("pullRequest", False)
    if len(form["title"]) < 3:
        raise HubError(400, "The title must be at least 3 characters long")
    number = open_pull(repo, account, form["title"], form["description"], repo.refs[MAIN] if pull else None,
                       status="draft" if pull else "open", pull=pull)
    return {"num": number, "pullRequest": pull}


def find(repo: Repo, num: int) -> dict:
    if not 1 <= num <= len(repo.state["discussions"]):
        raise HubError(404, f"Discussion {num} not found")
    return repo.state["discussions"][num - 1]


@routes.get("/api/{kind}/{ns}/{name}/discussions/{num}")
async def details(request: Request, num: int):
    repo, _ = open_repo(request)
    item = find(repo, num)
    answer, events = described(repo, item), item["events"]
    if item["isPullRequest"]:
        start, tip = item["start"], item.get("merged_tip") or repo.refs[f"refs/pr/{num}"]
        pushed = [event("commit", commit["author"], subject=commit["title"], oid=sha) | {"createdAt": commit["date"]}
                  for sha, commit in repo.history(tip) if sha not in {old for old, _ in repo.history(start)}]
        events = sorted([*events, *pushed], key=lambda e: e["createdAt"])
        merged = item.get("merge_commit")
        answer |= {"changes": {"base": item["base"]} | ({"mergeCommitId": merged} if merged else {}), "diff": diff(repo, start, tip),
                   "filesWithConflicts": [] if merged else conflicts(repo, item)}
    return answer | {"events": events}


def opened(request: Request, num: int) -> tuple[Repo, dict, Account]:
    """The discussion, for its author or someone who may write in the repository."""
    repo, _ = open_repo(request)
    account, item = writer(request), find(repo, num)
    if account.name != item["author"]["name"] and not account.owns(repo.id.split("/")[0]):
        raise HubError(403, "Only the author and the repository's owners may change this discussion")
    return repo, item, account


@routes.post("/api/{kind}/{ns}/{name}/discussions/{num}/comment")
async def add_comment(request: Request, num: int):
    form = await request.json()
    repo, _ = open_repo(request)
    new = comment(writer(request).name, form["comment"])
    find(repo, num)["events"].append(new)
    repo.save()
    return {"newMessage": new}


@routes.post("/api/{kind}/{ns}/{name}/discussions/{num}/comment/{comment_id}/{verb}")
async def change_comment(request: Request, num: int, comment_id: str, verb: str):
    form = await request.json() if verb == "edit" else {}
    repo, item, account = opened(request, num)
    old = next((e for e in item["events"] if e["id"] == comment_id and e["type"] == "comment"), None)
    if old is None or verb not in ("edit", "hide"):
        raise HubError(404, "Comment not found")
    if verb == "hide":
        old["data"]["hidden"] = True
        old["data"]["latest"]["raw"] = "This comment has been hidden"
    else:
        latest = comment(account.name, form["content"])["data"]["latest"]
        old["data"] |= {"edited": True, "latest": latest, "history": [*old["data"]["history"], latest]}
    repo.save()
    return {"updatedComment": old}


@routes.post("/api/{kind}/{ns}/{name}/discussions/{num}/title")
async def retitle(request: Request, num: int):
    form = await request.json()
    repo, item, account = opened(request, num)
    new = event("title-change", account.name, **{"from": item["title"], "to": form["title"]})
    item["title"] = form["title"]
    item["events"].append(new)
    repo.save()
    return {"newTitle": new}


def set_status(repo: Repo, item: dict, account: Account, status: str, text: str | None) -> dict:
    new = event("status-change", account.name, status=status)
    item["status"] = status
    item["events"] += [new] + ([comment(account.name, text)] if text else [])
    repo.save()
    return new


@routes.post("/api/{kind}/{ns}/{name}/discussions/{num}/status")
async def restatus(request: Request, num: int):
    form = await request.json()
    repo, item, account = opened(request, num)
    if item["status"] == "merged" or (item["isPullRequest"] is False and form["status"] not in ("open", "closed")):
        raise HubError(400, f"The status cannot become {form['status']}")
    return {"newStatus": set_status(repo, item, account, form["status"], form.get("comment"))}


@routes.post("/api/{kind}/{ns}/{name}/discussions/{num}/merge")
async def merge(request: Request, num: int):
    text = (await request.body()) and (await request.json() or {}).get("comment")
    repo, account = open_repo(request, "write")
    item = find(repo, num)
    if not item["isPullRequest"] or item["status"] not in ("open", "draft"):
        raise HubError(400, "Only an open pull request can be merged")
    if item["status"] == "draft":
        raise HubError(400, "A draft pull request cannot be merged: open it for review first")
    if clash := conflicts(repo, item):
        raise HubError(409, f"This pull request has merge conflicts in: {', '.join(clash)}")
    head, tip = repo.refs[item["base"]], repo.refs[f"refs/pr/{num}"]
    files = repo.files(head)
    for path, entry in changes(repo, fork_point(repo, head, tip), tip).items():
        files.pop(path, None)
        if entry:
            files[path] = entry
    sha = repo.write_commit(files, [head, tip], account.name, f"{item['title']} (#{num})")
    item |= {"merge_commit": sha, "merged_tip": tip}
    repo.refs[item["base"]] = sha
    set_status(repo, item, account, "merged", text)
    return {}
