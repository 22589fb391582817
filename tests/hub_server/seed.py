"""A folder becomes a repository at once, without a client: for tests and for `--seed-dataset`."""
import hashlib
import os
import shutil
import uuid
from pathlib import Path

from .store import MAIN, Entry, Store
from .upload import GITATTRIBUTES, is_large


def seed(store: Store, kind: str, repo_id: str, folder) -> None:
    if store.get(kind, repo_id):
        return
    files, owner = {".gitattributes": store.add_blob(GITATTRIBUTES.encode())}, repo_id.split("/")[0]
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            name, size = path.relative_to(folder).as_posix(), path.stat().st_size
            if is_large(name, size, b"", GITATTRIBUTES):
                files[name] = copy_large(store, path)
            else:
                files[name] = store.add_blob(path.read_bytes())
    space = {"sdk": None, "hardware": "cpu-basic", "sleep": None, "stage": None, "volumes": None, "variables": {}, "secrets": {}}
    repo = store.create(kind, repo_id, owner, private=False, **({"space": space} if kind == "spaces" else {}))
    repo.point(MAIN, repo.write_commit(files, [], owner, "Put up from a folder"))


def copy_large(store: Store, path: Path) -> Entry:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    target = store.blob_path(Entry("", 0, sha256))
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        new = store.root / "uploads" / uuid.uuid4().hex
        shutil.copyfile(path, new)
        os.replace(new, target)
    return store.large_entry(sha256)
