"""Reading: file lists, file details, commits, and the bytes themselves."""
import json
from urllib.parse import quote, unquote

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse

from .access import open_repo
from .errors import HubError
from .store import Entry, Repo, pointer, tree_oids

routes = APIRouter()


def base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def page(request: Request, rows: list, default: int = 1000) -> JSONResponse:
    """One page of `rows`; the Link header leads to the next, as on GitHub."""
    limit, start = int(request.query_params.get("limit", default)), int(request.query_params.get("cursor", 0))
    headers = {}
    if start + limit < len(rows):
        following = request.url.include_query_params(cursor=start + limit, limit=limit)
        headers["Link"] = f'<{following}>; rel="next"'
    return JSONResponse(rows[start:start + limit], headers=headers)


def large(entry: Entry) -> dict:
    return {"oid": entry.sha256, "size": entry.size, "pointerSize": len(pointer(entry.sha256, entry.size))}


def file_row(path: str, entry: Entry) -> dict:
    row = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    return row | {"lfs": large(entry)} if entry.sha256 else row


def folder_row(path: str, oid: str) -> dict:
    return {"type": "directory", "oid": oid, "size": 0, "path": path}


def last_commits(repo: Repo, sha: str, paths: list[str]) -> dict[str, dict]:
    """For each file or folder, the newest commit that changed it."""
    def picture(files):
        return {path: sorted((p, e[0]) for p, e in files.items() if p == path or p.startswith(path + "/")) for path in paths}

    history, found = repo.history(sha), {}
    for (oid, commit), older in zip(history, [*history[1:], (None, {"files": {}})]):
        after, before = picture(commit["files"]), picture(older[1]["files"])
        for path in paths:
            if path not in found and after[path] != before[path]:
                found[path] = {"id": oid, "title": commit["title"], "date": commit["date"]}
    return found


def expand(repo: Repo, sha: str, rows: list[dict]) -> list[dict]:
    commits = last_commits(repo, sha, [row["path"] for row in rows])
    safe = {"status": "safe", "avScan": {"virusFound": False, "virusNames": None}, "pickleImportScan": None}
    return [row | {"lastCommit": commits[row["path"]]} | ({"securityFileStatus": safe} if row["type"] == "file" else {})
            for row in rows]


def truthy(value: str | None) -> bool:
    return str(value).lower() in ("1", "true")


@routes.get("/api/{kind}/{ns}/{name}/tree/{rev}")
@routes.get("/api/{kind}/{ns}/{name}/tree/{rev}/{path:path}")
async def tree(request: Request, rev: str, path: str = ""):
    repo, _ = open_repo(request)
    sha = repo.find(unquote(rev))
    top, files, oids = unquote(path).strip("/"), repo.files(sha), tree_oids(repo.files(sha))
    if top not in oids:
        raise HubError(404, f"{top} does not exist on \"{unquote(rev)}\"", "EntryNotFound")
    inside = top + "/" if top else ""
    deep = truthy(request.query_params.get("recursive"))

    def wanted(name):
        return name.startswith(inside) and name != top and (deep or "/" not in name[len(inside):])

    rows = [folder_row(name, oid) for name, oid in sorted(oids.items()) if wanted(name)]
    rows += [file_row(name, entry) for name, entry in files.items() if wanted(name)]
    more = truthy(request.query_params.get("expand"))
    return page(request, expand(repo, sha, rows) if more else rows, 100 if more else 1000)


@routes.post("/api/{kind}/{ns}/{name}/paths-info/{rev}")
async def paths_info(request: Request, rev: str):
    repo, _ = open_repo(request)
    sha = repo.find(unquote(rev))
    if request.headers.get("content-type", "").startswith("application/json"):
        form = await request.json()
        paths, more = form["paths"], form.get("expand")
    else:
        form = await request.form()
        paths, more = form.getlist("paths"), form.get("expand")
    files, oids = repo.files(sha), tree_oids(repo.files(sha))
    rows = []
    for path in dict.fromkeys(path.strip("/") for path in paths):
        if path in files:
            rows.append(file_row(path, files[path]))
        elif path and path in oids:
            rows.append(folder_row(path, oids[path]))
    return expand(repo, sha, rows) if truthy(more) else rows


@routes.get("/api/{kind}/{ns}/{name}/commits/{rev}")
async def commits(request: Request, rev: str):
    repo, _ = open_repo(request)
    formatted = "formatted" in request.query_params.getlist("expand[]")
    rows = []
    for sha, commit in repo.history(repo.find(unquote(rev))):
        row = {"id": sha, "title": commit["title"], "message": commit["message"], "date": commit["date"],
               "authors": [{"user": commit["author"], "avatar": ""}]}
        rows.append(row | {"formatted": {"title": commit["title"], "message": commit["message"]}} if formatted else row)
    return page(request, rows, 50)


@routes.get("/api/{kind}/{ns}/{name}/refs")
async def refs(request: Request):
    repo, _ = open_repo(request)
    found = {"branches": "refs/heads/", "tags": "refs/tags/", "converts": "refs/convert/"}
    if truthy(request.query_params.get("include_prs")):
        found["pullRequests"] = "refs/pr/"
    return {key: [{"name": ref[len(start):], "ref": ref, "targetCommit": sha} for ref, sha in repo.refs.items()
                  if ref.startswith(start)] for key, start in found.items()}


@routes.api_route("/datasets/{ns}/{name}/resolve/{rev}/{path:path}", methods=["GET", "HEAD"])
@routes.api_route("/spaces/{ns}/{name}/resolve/{rev}/{path:path}", methods=["GET", "HEAD"])
@routes.api_route("/{ns}/{name}/resolve/{rev}/{path:path}", methods=["GET", "HEAD"])
async def resolve(request: Request, rev: str, path: str):
    repo, _ = open_repo(request, "files")
    sha = repo.find(unquote(rev))
    path, entry = unquote(path), repo.files(sha).get(unquote(path))
    if entry is None:
        response = HubError(404, "Entry not found", "EntryNotFound").response()
        response.headers["X-Repo-Commit"] = sha      # lets the client remember that this commit lacks the file
        return response
    etag = f'"{entry.sha256 or entry.oid}"'
    headers = {"X-Repo-Commit": sha, "ETag": etag,
               "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}"}
    if entry.sha256:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(entry.size)}
    kind = "application/octet-stream" if entry.sha256 else "text/plain; charset=utf-8"
    return FileResponse(repo.store.blob_path(entry), headers=headers, media_type=kind)


def read_json(repo: Repo, sha: str, path: str) -> dict:
    entry = repo.files(sha).get(path)
    try:
        return json.loads(repo.store.read(entry)) if entry else {}
    except (ValueError, RecursionError):
        return {}
