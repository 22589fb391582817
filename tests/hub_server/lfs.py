"""Large-file storage: batch (where to send each file) -> PUT, in parts when it is very large -> verify."""
import hashlib
import os
import uuid

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from .access import open_repo, writer
from .errors import HubError
from .files import base_url
from .store import Entry

routes = APIRouter()


@routes.post("/{ns}/{repo_git}/info/lfs/objects/batch")
@routes.post("/{kind}/{ns}/{repo_git}/info/lfs/objects/batch")
async def batch(request: Request, repo_git: str):
    request.path_params["name"] = repo_git.removesuffix(".git")
    open_repo(request, "propose")
    form, hub, rows = await request.json(), request.app.state, []
    for item in form["objects"]:
        row = {"oid": item["oid"], "size": item["size"], "authenticated": True}
        if not hub.store.has_large(item["oid"]):
            key = uuid.uuid4().hex              # stands for the signed address that a storage provider would give
            hub.uploads_open[key] = item["oid"]
            url = f"{base_url(request)}/lfs-storage/{key}"
            upload = {"href": url}
            if item["size"] > hub.part_size:
                parts = -(-item["size"] // hub.part_size)
                upload["header"] = {"chunk_size": str(hub.part_size)} | {str(n): f"{url}/{n}" for n in range(1, parts + 1)}
            row["actions"] = {"upload": upload, "verify": {"href": f"{base_url(request)}/lfs-storage/verify"}}
        rows.append(row)
    return JSONResponse({"transfer": "basic", "objects": rows}, media_type="application/vnd.git-lfs+json")


def upload_key(request: Request, key: str) -> str:
    """The SHA-256 that was announced for this upload address."""
    if key not in request.app.state.uploads_open:
        raise HubError(403, "Request has expired")
    return request.app.state.uploads_open[key]


def finish(request: Request, key: str, path, digest: str):
    """The bytes are whole, or they never were."""
    if digest != upload_key(request, key):
        path.unlink()
        raise HubError(400, "The content does not have the announced sha256")
    store = request.app.state.store
    target = store.blob_path(Entry("", 0, digest))
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, target)


@routes.put("/lfs-storage/{key}")
@routes.put("/lfs-storage/{key}/{part}")
async def put(request: Request, key: str, part: str | None = None):
    upload_key(request, key)
    path = request.app.state.store.root / "uploads" / (f"{key}.{part}" if part else key)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
            digest.update(chunk)
    if part is None:
        finish(request, key, path, digest.hexdigest())
    return Response(headers={"ETag": f'"{digest.hexdigest()[:32]}"'})


@routes.post("/lfs-storage/verify")
async def verify(request: Request):
    writer(request)
    form, store = await request.json(), request.app.state.store
    if not store.has_large(form["oid"]) or store.large_entry(form["oid"]).size != form["size"]:
        raise HubError(404, "The uploaded object is missing or has another size")
    return {}


@routes.post("/lfs-storage/{key}")
async def complete(request: Request, key: str):
    """All parts are there: put them together."""
    oid, folder = upload_key(request, key), request.app.state.store.root / "uploads"
    numbers = [part["partNumber"] for part in (await request.json())["parts"]]
    digest, whole = hashlib.sha256(), folder / key
    with whole.open("wb") as out:
        for number in numbers:
            data = (folder / f"{key}.{number}").read_bytes()
            out.write(data)
            digest.update(data)
            (folder / f"{key}.{number}").unlink()
    finish(request, key, whole, digest.hexdigest())
    return {"success": True, "oid": oid}
