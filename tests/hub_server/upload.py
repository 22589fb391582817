"""Writing: the check of a card, the question how to send each file, and the commit itself."""
import base64
import fnmatch
import json
from urllib.parse import unquote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from . import cards
from .access import open_repo
from .errors import HubError
from .files import base_url
from .pulls import open_pull
from .store import Entry, Repo

routes = APIRouter()
REGULAR_LIMIT = 10 * 1024 * 1024           # bytes; anything larger goes to large-file storage
SUFFIXES = """7z arrow bin bz2 ckpt ftz gz h5 joblib lfs.* mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl pt pth
rar safetensors tar tgz tflite wasm xz zip zst"""
GITATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in SUFFIXES.split())


@routes.post("/api/validate-yaml")
async def validate_yaml(request: Request):
    form = await request.json()
    errors, warnings = cards.check(form["content"], form.get("repoType", "model"))
    status, errors = 400 if errors else 200, [f"Error: {text}" for text in errors]
    if request.headers.get("accept") == "text/plain":            # so asks RepoCard.validate
        return PlainTextResponse("".join(f"- {text}\n" for text in errors + warnings), status)
    said = {"errors": errors, "warnings": warnings}
    return JSONResponse({key: [{"message": text} for text in texts] for key, texts in said.items()}, status)


def text_of(repo: Repo, files: dict[str, Entry], path: str) -> str:
    return repo.store.read(files[path]).decode("utf-8", "replace") if path in files else ""


def ignored(path: str, gitignore: str) -> bool:
    """The last pattern of a .gitignore that fits the path or a folder above it decides."""
    answer = False
    for line in gitignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        anchored, pattern = "/" in pattern.rstrip("/"), pattern.strip("/").removeprefix("**/")
        parts = path.split("/")
        starts = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        if any(fnmatch.fnmatchcase(p if anchored else p.rpartition("/")[2], pattern) for p in starts):
            answer = not keep
    return answer


def is_large(path: str, size: int, sample: bytes, attributes: str) -> bool:
    patterns = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line]
    named = any(fnmatch.fnmatchcase(path if "/" in p else path.rpartition("/")[2], p) for p in patterns)
    return size > 0 and (named or size > REGULAR_LIMIT or b"\0" in sample)


@routes.post("/api/{kind}/{ns}/{name}/preupload/{rev}")
async def preupload(request: Request, rev: str):
    repo, _ = open_repo(request, "propose" if "create_pr" in request.query_params else "write")
    files = repo.files(repo.find(unquote(rev)))
    form = await request.json()
    gitignore = form.get("gitIgnore") or text_of(repo, files, ".gitignore")
    attributes, rows = text_of(repo, files, ".gitattributes"), []
    for file in form["files"]:
        old = files.get(file["path"])
        only_regular = request.app.state.uploads == "regular"
        as_large = not only_regular and is_large(file["path"], file["size"], base64.b64decode(file.get("sample", "")), attributes)
        rows.append({"path": file["path"], "uploadMode": "lfs" if as_large else "regular",
                     "shouldIgnore": ignored(file["path"], gitignore), "oid": old and (old.sha256 or old.oid)})
    return {"files": rows, "commitOid": repo.find(unquote(rev))}


def checked_path(path: str) -> str:
    if path.startswith("..") or any(part in ("", ".", "..", ".git") for part in path.split("/")):
        raise HubError(422, f"Invalid path in repo: {path!r}")
    return path


def apply(repo: Repo, files: dict[str, Entry], key: str, value: dict):
    """One line of the commit's body, done to `files`."""
    path = checked_path(value["path"].rstrip("/"))
    if key == "file":
        data = value["content"]
        files[path] = repo.store.add_blob(base64.b64decode(data) if value.get("encoding") == "base64" else data.encode())
    elif key == "lfsFile":
        if not repo.store.has_large(value["oid"]):
            raise HubError(400, "Your push was rejected because an LFS pointer pointed to a file that does not exist")
        files[path] = repo.store.large_entry(value["oid"])
    elif key in ("deletedFile", "deletedFolder"):
        inside = [name for name in files if name.startswith(path + "/") or (name == path and key == "deletedFile")]
        if not inside:
            raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        for name in inside:
            del files[name]
    else:
        raise HubError(400, f"Unknown line in the commit: {key}")
    if key in ("file", "lfsFile"):
        clash = [p for p in files if p.startswith(path + "/") or path.startswith(p + "/")]
        if clash:
            raise HubError(400, f"{path} and {clash[0]} cannot both exist: one is a folder")


@routes.post("/api/{kind}/{ns}/{name}/commit/{rev}")
async def commit(request: Request, rev: str):
    propose = bool(request.query_params.get("create_pr"))
    repo, account = open_repo(request, "propose" if propose else "write")
    lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
    repo, _ = open_repo(request)                       # afresh: reading the body took time. From here on nothing waits
    ref = repo.branch(unquote(rev))
    head, header = repo.refs[ref], next((line["value"] for line in lines if line["key"] == "header"), {})
    title = header.get("summary", "").strip()
    if not title:
        raise HubError(400, "A commit needs a summary")
    wanted_parent = header.get("parentCommit")
    if wanted_parent and not propose and repo.find(wanted_parent) != head:
        raise HubError(412, "The branch was updated since you opened this page. Please refresh and try again.")
    parent = repo.find(wanted_parent) if wanted_parent else head
    before = repo.files(parent)
    files = dict(before)
    for line in lines:
        if line["key"] != "header":
            apply(repo, files, line["key"], line["value"])
    if files.get("README.md") != before.get("README.md") and "README.md" in files:
        errors, _ = cards.check(text_of(repo, files, "README.md"), repo.type)
        if errors:
            raise HubError(400, "Invalid metadata in README.md: " + "; ".join(errors))
    sha = repo.write_commit(files, [parent], account.name, title, header.get("description", ""))
    where = f"{base_url(request)}/{'' if repo.kind == 'models' else repo.kind + '/'}{repo.id}"
    answer = {"success": True, "commitOid": sha, "commitUrl": f"{where}/commit/{sha}", "hookOutput": ""}
    if propose:
        number = open_pull(repo, account, title, header.get("description", ""), sha, base=ref, status="open")
        return answer | {"pullRequestUrl": f"{where}/discussions/{number}"}
    repo.point(ref, sha)
    return answer
