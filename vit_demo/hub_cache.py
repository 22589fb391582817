"""What is kept on disk of models from the Hub: the owner's in the client's own cache, visitors' in one beside it."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from huggingface_hub import constants, scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import CacheNotFound
from huggingface_hub.file_download import repo_folder_name

from vit_demo import hub_model
from vit_demo.errors import UserError
from vit_demo.hub_address import Address

VISITORS_BYTES = 3_000_000_000  # kept on disk of all models that visitors named


def visitors_cache() -> Path:
    return Path(constants.HF_HUB_CACHE).with_name("hub-of-visitors")


def kept_folder(address: Address, cache: Path) -> Path | None:
    """The folder of an earlier download, if all that a model needs is in it. Where a name leads is known from then; of files that
    came by their commit alone, as a Space has them from its start, the latest copy stands for the name."""
    config = try_to_load_from_cache(address.id, "config.json", cache_dir=cache, revision=address.revision)
    if isinstance(config, str):
        return whole(Path(config).parent, address.id)
    there = cache / repo_folder_name(repo_id=address.id, repo_type="model")
    refs = {str(ref.relative_to(there / "refs")): ref.read_text() for ref in (there / "refs").rglob("*") if ref.is_file()}
    if address.revision is not None or "main" in refs:
        return None
    unnamed = (folder for folder in (there / "snapshots").glob("*") if folder.is_dir() and folder.name not in refs.values())  # a branch's copy is another model
    return next((folder for folder in sorted(unnamed, key=lambda folder: folder.stat().st_mtime, reverse=True) if whole(folder, address.id)), None)


def whole(folder: Path, name: str) -> Path | None:
    """The folder, if all that a model needs is in it."""
    sizes = {file.name: 0 for file in folder.iterdir() if file.is_file()}  # is_file is false for a broken link
    try:
        hub_model.choose_weights(name, sizes, lambda: hub_model.parse_json(
            name, hub_model.INDEX, (folder / hub_model.INDEX).read_bytes()), hub_model.NO_LIMITS)
    except UserError:
        return None
    return folder if {"config.json", "preprocessor_config.json"} <= sizes.keys() else None


def remember(address: Address, revision: str, cache: Path) -> None:
    """Name the commit that a branch leads to, as the client's cache does. Only now, when all of it is here: a download
    that was broken off leaves the older, complete copy the one to fall back on. The folder's date tells when it was last asked for."""
    there = cache / repo_folder_name(repo_id=address.id, repo_type="model")
    with suppress(OSError):
        os.utime(there / "snapshots" / revision)
    if address.pinned:
        return
    ref = there / "refs" / (address.revision or "main")
    half_written = ref.with_name(f"{ref.name}.{os.getpid()}.{threading.get_ident()}")
    with suppress(OSError):  # a cache that can only be read serves all the same
        ref.parent.mkdir(parents=True, exist_ok=True)
        half_written.write_text(revision)
        half_written.replace(ref)


def trim(cache: Path, most_bytes: float, newest: str) -> None:
    """Delete whole models, the longest unused first and never the newest, until the rest fits; then older commits of the newest, and never
    the one that was remembered last."""
    try:
        found = scan_cache_dir(cache)
    except CacheNotFound:
        return
    size = found.size_on_disk
    for repository in sorted(found.repos, key=lambda kept: kept.last_accessed):
        if size > most_bytes and repository.repo_id != newest:
            found.delete_revisions(*(revision.commit_hash for revision in repository.revisions)).execute()
            size -= repository.size_on_disk
    if size > most_bytes:
        there = [revision for repository in found.repos if repository.repo_id == newest for revision in repository.revisions]
        older = sorted(there, key=lambda revision: revision.snapshot_path.stat().st_mtime)[:-1]
        # Of one, of two, of three: together, because what commits share goes with the last that has it, and the scan is of before.
        deletions = [found.delete_revisions(*(kept.commit_hash for kept in older[:count])) for count in range(len(older) + 1)]
        next((some for some in deletions if size - some.expected_freed_size <= most_bytes), deletions[-1]).execute()
