"""Repositories on disk: blobs by their content, commits that never change, one small JSON file of refs a repository.

    root/blobs/ab/cdef…                    git blobs by SHA-1, large files by SHA-256
    root/repos/models/USER/NAME/repo.json  settings, refs, discussions
    root/repos/models/USER/NAME/commits/   one JSON a commit with its whole file list
    root/moved.json                        old name -> new name

A commit is written before a ref points at it and every file is put in place by a rename, so a reader (or a killed
server) sees the old state or the new one.
"""
import hashlib
import json
import os
import re
import shutil
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from .errors import HubError

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
MAIN = "refs/heads/main"


class Entry(NamedTuple):
    """One file of a commit. `oid` is git's blob id (of the pointer text for a large file)."""
    oid: str
    size: int
    sha256: str | None = None      # set for a file in large-file storage


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def tree_oids(files: dict[str, Entry]) -> dict[str, str]:
    """git's tree id of every folder, the root being ""."""
    children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for path, entry in files.items():
        folder, _, name = path.rpartition("/")
        children.setdefault(folder, {})[name] = ("100644", entry.oid)
        while folder:
            parent = folder.rpartition("/")[0]
            children.setdefault(parent, {})
            folder = parent
    oids = {}
    for folder in sorted(children, key=lambda f: (f.count("/") if f else -1), reverse=True):
        rows = children[folder]
        body = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for name, (mode, oid) in
                        sorted(rows.items(), key=lambda row: row[0] + ("/" if row[1][0] == "40000" else "")))
        oids[folder] = hashlib.sha1(b"tree %d\0" % len(body) + body).hexdigest()
        if folder:
            parent, _, name = folder.rpartition("/")
            children[parent][name] = ("40000", oids[folder])
    return oids


def write_atomically(path: Path, text: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    new.write_text(text)
    os.replace(new, path)


class Store:
    def __init__(self, root: Path):
        self.root = Path(root)
        shutil.rmtree(self.root / "uploads", ignore_errors=True)      # what an earlier server never finished
        (self.root / "uploads").mkdir(parents=True)

    def blob_path(self, entry: Entry) -> Path:
        key = entry.sha256 or entry.oid
        return self.root / "blobs" / key[:2] / key[2:]

    def has_large(self, sha256: str) -> bool:
        return self.blob_path(Entry("", 0, sha256)).exists()

    def add_blob(self, data: bytes) -> Entry:
        entry = Entry(git_oid(data), len(data))
        path = self.blob_path(entry)
        if not path.exists():
            new = self.root / "uploads" / uuid.uuid4().hex
            new.write_bytes(data)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(new, path)
        return entry

    def large_entry(self, sha256: str) -> Entry:
        size = self.blob_path(Entry("", 0, sha256)).stat().st_size
        return Entry(git_oid(pointer(sha256, size)), size, sha256)

    def read(self, entry: Entry) -> bytes:
        return self.blob_path(entry).read_bytes()

    def folder(self, kind: str, repo_id: str) -> Path:
        return self.root / "repos" / kind / repo_id

    def get(self, kind: str, repo_id: str) -> "Repo | None":
        folder = self.folder(kind, repo_id)
        if not folder.exists():          # names are found whatever their case
            folder = next((r.folder for r in self.all(kind) if r.id.lower() == repo_id.lower()), folder)
        return Repo(self, kind, folder) if (folder / "repo.json").exists() else None

    def all(self, kind: str) -> "list[Repo]":
        found = (self.root / "repos" / kind).glob("*/*/repo.json")
        return [Repo(self, kind, path.parent) for path in sorted(found)]

    def create(self, kind: str, repo_id: str, author: str, private: bool, **more) -> "Repo":
        folder = self.folder(kind, repo_id)
        state = {"id": repo_id, "key": uuid.uuid4().hex[:24], "private": private, "gated": False, "created": now(),
                 "refs": {}, "tags": {}, "likes": [], "discussions": [], "access": {}, **more}
        write_atomically(folder / "repo.json", json.dumps(state))
        return Repo(self, kind, folder)

    def delete(self, repo: "Repo"):
        gone = self.root / "uploads" / uuid.uuid4().hex
        os.replace(repo.folder, gone)
        shutil.rmtree(gone)

    def moved(self) -> dict[str, str]:
        path = self.root / "moved.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def move(self, repo: "Repo", new_id: str):
        target = self.folder(repo.kind, new_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        moved = self.moved() | {f"{repo.kind}/{repo.id}": new_id}
        moved.pop(f"{repo.kind}/{new_id}", None)
        repo.state["id"] = new_id
        repo.save()
        os.replace(repo.folder, target)
        write_atomically(self.root / "moved.json", json.dumps(moved))


class Repo:
    def __init__(self, store: Store, kind: str, folder: Path):
        self.store, self.kind, self.folder = store, kind, folder
        self.state = json.loads((folder / "repo.json").read_text())

    id = property(lambda self: self.state["id"])
    refs = property(lambda self: self.state["refs"])
    type = property(lambda self: KINDS[self.kind])

    def save(self):
        write_atomically(self.folder / "repo.json", json.dumps(self.state))

    def commit(self, sha: str) -> dict:
        return json.loads((self.folder / "commits" / f"{sha}.json").read_text())

    def files(self, sha: str) -> dict[str, Entry]:
        return {path: Entry(*row) for path, row in self.commit(sha)["files"].items()}

    def find(self, revision: str) -> str:
        """Branch, tag, full ref, or a commit id of seven digits or more -> commit id."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.refs[ref]
        if re.fullmatch("[0-9a-f]{7,40}", revision):
            found = list((self.folder / "commits").glob(f"{revision}*.json"))
            if len(found) == 1:
                return found[0].stem
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def branch(self, revision: str) -> str:
        """The ref that a commit to `revision` moves: a branch or a pull request, never a tag or a commit id."""
        for ref in (f"refs/heads/{revision}", revision):
            if ref in self.refs and ref.startswith(("refs/heads/", "refs/pr/")):
                return ref
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def write_commit(self, files: dict[str, Entry], parents: list[str], author: str, title: str, message: str = "") -> str:
        commit = {"parents": parents, "author": author, "date": now(), "title": title, "message": message,
                  "salt": uuid.uuid4().hex, "files": {path: list(files[path]) for path in sorted(files)}}
        text = json.dumps(commit, sort_keys=True)
        sha = hashlib.sha1(text.encode()).hexdigest()
        write_atomically(self.folder / "commits" / f"{sha}.json", text)
        return sha

    def point(self, ref: str, sha: str):
        self.refs[ref] = sha
        self.save()

    def history(self, sha: str) -> list[tuple[str, dict]]:
        """(id, commit) from `sha` back along first parents, newest first."""
        out = []
        while sha:
            commit = self.commit(sha)
            out.append((sha, commit))
            sha = commit["parents"][0] if commit["parents"] else None
        return out
