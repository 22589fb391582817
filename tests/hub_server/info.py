"""What the Hub tells about a repository: model_info and its kin, and the searchable lists."""
import json
import math
import struct
from collections import Counter
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import yaml
from fastapi import APIRouter, Request

from . import cards
from .access import caller, open_repo
from .errors import HubError
from .files import large, page, read_json, truthy
from .spaces import runtime
from .store import KINDS, MAIN, Repo

routes = APIRouter()
ALWAYS = {"_id", "id", "modelId"}
LISTED = ALWAYS | {"author", "likes", "private", "downloads", "tags", "pipeline_tag", "library_name", "createdAt",
                   "gated", "disabled", "lastModified", "sdk"}
TASKS = {"ImageClassification": "image-classification", "CausalLM": "text-generation", "MaskedLM": "fill-mask"}


def card_of(repo: Repo, sha: str) -> dict:
    entry = repo.files(sha).get("README.md")
    try:
        return (cards.front_matter(repo.store.read(entry).decode("utf-8", "replace")) if entry else None) or {}
    except ValueError:
        return {}


def sibling(path: str, entry, with_blobs: bool) -> dict:
    row = {"rfilename": path}
    if with_blobs:
        row |= {"size": entry.size, "blobId": entry.oid}
        if entry.sha256:
            row["lfs"] = {"sha256" if key == "oid" else key: value for key, value in large(entry).items()}
    return row


def safetensors(repo: Repo, sha: str) -> dict | None:
    """Parameters by dtype, from the headers of the *.safetensors files at the top of the repository."""
    counts = Counter()
    for path, entry in repo.files(sha).items():
        if path.endswith(".safetensors") and "/" not in path:
            found = parameters(repo.store.blob_path(entry))
            if found is None:
                return None
            counts += found
    return {"parameters": counts, "total": sum(counts.values())} if counts else None


@lru_cache(maxsize=10_000)
def parameters(blob: Path) -> Counter | None:
    """Of one file; read once, as what a blob holds never changes."""
    counts = Counter()
    with blob.open("rb") as file:
        try:
            header = json.loads(file.read(min(blob.stat().st_size, struct.unpack("<Q", file.read(8))[0])))
            for name, tensor in header.items():
                if name != "__metadata__":
                    counts[tensor["dtype"]] += math.prod(tensor["shape"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error):
            return None
    return counts


def eval_results(repo: Repo, sha: str) -> list:
    """The entries of .eval_results/*.yaml, each with the file that it came from."""
    rows = []
    for path, entry in repo.files(sha).items():
        if path.startswith(".eval_results/") and path.endswith((".yaml", ".yml")):
            try:
                found = yaml.safe_load(repo.store.read(entry)) or []
            except yaml.YAMLError:
                continue
            rows += [{"filename": path, "verified": False, "data": row} for row in found if isinstance(row, dict)]
    return rows


def described(repo: Repo, sha: str, blobs: bool = False) -> dict:
    """Everything; the routes below pick what was asked for."""
    state, card, files = repo.state, card_of(repo, sha), repo.files(sha)
    commits = repo.history(sha)
    info = {
        "_id": state["key"], "id": repo.id, "author": repo.id.split("/")[0], "sha": sha, "lastModified": commits[0][1]["date"],
        "createdAt": state["created"], "private": state["private"], "gated": state["gated"], "disabled": False, "downloads": 0,
        "downloadsAllTime": 0, "likes": len(state["likes"]), "trendingScore": 0, "cardData": card,
        "usedStorage": sum(entry.size for entry in files.values()),
        "siblings": [sibling(path, entry, blobs) for path, entry in files.items()]}
    config = read_json(repo, sha, "config.json") if repo.kind == "models" else {}
    info["tags"] = cards.tags(card, config)
    if repo.kind == "models":
        architecture = next(iter(config.get("architectures") or []), "")
        task = card.get("pipeline_tag") or next((task for end, task in TASKS.items() if architecture.endswith("For" + end)), None)
        library = card.get("library_name") or ("transformers" if architecture else None)
        more = {"modelId": repo.id, "pipeline_tag": task, "library_name": library, "spaces": [], "inference": None,
                "model-index": card.get("model-index"), "safetensors": safetensors(repo, sha),
                "config": {key: config[key] for key in ("architectures", "model_type") if key in config} or None,
                "transformersInfo": {"auto_model": "AutoModelForImageClassification", "pipeline_tag": task,
                                     "processor": "AutoImageProcessor"} if task == "image-classification" else None,
                "baseModels": None, "evalResults": eval_results(repo, sha) or None}
        info |= {key: value for key, value in more.items() if value is not None}
    if repo.kind == "spaces":
        name = repo.id.replace("/", "-").replace(".", "-").lower()
        info |= {"sdk": card.get("sdk") or state["space"]["sdk"], "runtime": runtime(repo), "subdomain": name,
                 "host": f"https://{name}.hf.space", "models": cards.as_list(card.get("models")),
                 "datasets": cards.as_list(card.get("datasets"))}
    return info


def asked_for(request: Request) -> list[str]:
    return [key for name in ("expand", "expand[]") for key in request.query_params.getlist(name)]


@routes.get("/api/{kind}/{ns}/{name}")
@routes.get("/api/{kind}/{ns}/{name}/revision/{rev}")
async def info(request: Request, rev: str = "main"):
    repo, _ = open_repo(request)
    found = described(repo, repo.find(unquote(rev)), truthy(request.query_params.get("blobs")))
    if keys := asked_for(request):
        return {key: value for key, value in found.items() if key in ALWAYS | set(keys)}
    found.pop("evalResults", None)
    return found


def matches(row: dict, query) -> bool:
    wanted = query.getlist("filter") + [tag for text in query.getlist("filter") if "," in text for tag in text.split(",")]
    return (query.get("author", row["author"]) == row["author"]
            and query.get("search", "").lower() in row["id"].lower()
            and all(tag in row["tags"] for tag in wanted if "," not in tag)
            and query.get("pipeline_tag", row.get("pipeline_tag")) == row.get("pipeline_tag")
            and ("gated" not in query or truthy(query["gated"]) == bool(row["gated"])))


@routes.get("/api/{kind}")
async def listed(request: Request, kind: str):
    if kind not in KINDS:
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    account, query = caller(request), request.query_params
    rows = [described(repo, repo.refs[MAIN]) for repo in request.app.state.store.all(kind)
            if MAIN in repo.refs and (not repo.state["private"] or (account and account.owns(repo.id.split("/")[0])))]
    rows = [row for row in rows if matches(row, query)]
    order = query.get("sort", "lastModified")
    rows.sort(key=lambda row: str(row.get(order, "")), reverse=query.get("direction", "-1") != "1")
    keys = LISTED | ({"siblings", "sha"} if truthy(query.get("full")) else set())
    keys |= {"cardData"} if truthy(query.get("cardData")) else set()
    keys |= {"config"} if truthy(query.get("config")) else set()
    if asked := asked_for(request):
        keys = ALWAYS | set(asked)
    return page(request, [{key: value for key, value in row.items() if key in keys} for row in rows])
