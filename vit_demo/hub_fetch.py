"""A model's address on the Hub -> a folder with its files. The small files come first, then the headers of the
weights, and the weights themselves only when nothing speaks against them. What is kept from before is used again.
"""

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, constants, hf_hub_download, scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import CacheNotFound
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import tqdm

from vit_demo import hub_model
from vit_demo.checks import is_whole
from vit_demo.errors import Unreachable, UserError
from vit_demo.hub_address import Address
from vit_demo.hub_errors import damaged_there, explain
from vit_demo.hub_model import Limits

SMALL_FILE = 2_000_000  # bytes; a config with 1000 long labels has 100,000
VISITORS_BYTES = 3_000_000_000  # kept on disk of all models that visitors named
Report = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    folder: Path  # named after the commit
    note: str = ""  # why an older copy stands in

    @property
    def revision(self) -> str:
        return self.folder.name


def fetch(address: Address, *, token: str | bool | None, limits: Limits, report: Report = lambda line: None,
          afresh: bool = False) -> Snapshot:
    """Refuses with a UserError. `token=False` is a visitor: no token, and files apart from the owner's, so that a
    private model that the owner opened is not there for all. `report` gets a line at each step; a UserError that it
    raises stops the work. `afresh` downloads again what is kept."""
    cache = visitors_cache() if token is False else Path(constants.HF_HUB_CACHE)
    kept = None if afresh else kept_folder(address, cache)
    if kept and address.pinned:
        return Snapshot(kept)
    try:
        report(f"asking the Hub about {address.id}")
        remote = within(limits.answer_seconds, lambda: _ask(address, token, limits, cache, afresh), address, token)
        folder = None if afresh else kept_folder(replace(address, revision=remote.revision), cache)
        if folder is None:
            weights = within(limits.answer_seconds, lambda: _inspect(remote, limits), address, token)
            report(f"fetching {address.id}, {sum(remote.sizes[file] for file in weights) / 1e6:.0f} MB")
            files = within(limits.download_seconds, lambda: [remote.get(w, report) for w in weights], address, token)
            folder = files[0].parent
    except Unreachable as error:
        if kept is None:
            raise
        return Snapshot(kept, note=f"{error}. This is the copy kept from before.")
    _remember(address, remote.revision, cache)
    if token is False:
        trim(cache, VISITORS_BYTES, address.id)
    return Snapshot(folder)


def latest(address: Address, *, token: str | bool | None, limits: Limits) -> str:
    """The commit that the address leads to now, to tell whether a newer version is there."""
    def ask() -> str:
        return HfApi(token=token).model_info(address.id, revision=address.revision, timeout=limits.answer_seconds).sha
    return within(limits.answer_seconds, ask, address, token)


def visitors_cache() -> Path:
    return Path(constants.HF_HUB_CACHE).with_name("hub-of-visitors")


def kept_folder(address: Address, cache: Path) -> Path | None:
    """The folder of an earlier download, if all that a model needs is in it."""
    config = try_to_load_from_cache(address.id, "config.json", cache_dir=cache, revision=address.revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    sizes = {file.name: 0 for file in folder.iterdir() if file.is_file()}  # is_file is false for a broken link
    try:
        hub_model.choose_weights(address.id, sizes, lambda: hub_model.parse_json(
            address.id, hub_model.INDEX, (folder / hub_model.INDEX).read_bytes()), hub_model.NO_LIMITS)
    except UserError:
        return None
    return folder if "preprocessor_config.json" in sizes else None


@dataclass(frozen=True)
class Remote:
    """One commit of a repository, all of it named and none of its weights fetched."""

    address: Address
    api: HfApi
    revision: str
    sizes: dict[str, int]  # of every file, in bytes
    cache: Path
    afresh: bool
    timeout: float

    def get(self, file: str, report: Report | None = None) -> Path:
        return Path(hf_hub_download(
            self.address.id, file, revision=self.revision, token=self.api.token, cache_dir=self.cache,
            force_download=self.afresh, etag_timeout=self.timeout, tqdm_class=_bar(report, file) if report else None))

    def json(self, file: str) -> dict:
        if file not in self.sizes:
            raise UserError(f"{self.address.id}: it holds no {file}, so it is not a whole model; its owner has to save "
                            "the model there with its image processor")
        if self.sizes[file] > SMALL_FILE:
            raise UserError(f"{self.address.id}: its {file} has {self.sizes[file]:,} bytes; the limit is {SMALL_FILE:,}")
        return hub_model.parse_json(self.address.id, file, self.get(file).read_bytes())

    def header(self, file: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Tensor -> (type, shape), from the first bytes of a weight file."""
        try:
            found = self.api.parse_safetensors_file_metadata(
                self.address.id, file, revision=self.revision, timeout=self.timeout).tensors
            tensors = {key: (str(tensor.dtype), tuple(tensor.shape)) for key, tensor in found.items()}
            if all(is_whole(side) and side >= 0 for _, shape in tensors.values() for side in shape):
                return tensors
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):  # it holds some other JSON
            pass
        raise damaged_there(self.address.id)


def _ask(address: Address, token: str | bool | None, limits: Limits, cache: Path, afresh: bool) -> Remote:
    api = HfApi(token=token)
    info = api.model_info(address.id, revision=address.revision, files_metadata=True, timeout=limits.answer_seconds)
    sizes = {file.rfilename: math.inf if file.size is None else file.size for file in info.siblings or ()}
    return Remote(address, api, info.sha, sizes, cache, afresh, limits.answer_seconds)


def _inspect(remote: Remote, limits: Limits) -> tuple[str, ...]:
    """All checks that need no weights, cheapest first -> the weight files."""
    name = remote.address.id
    config = hub_model.read_config(name, remote.json("config.json"), limits)
    hub_model.read_processor(name, remote.json("preprocessor_config.json"), config)
    weights = hub_model.choose_weights(name, remote.sizes, lambda: remote.json(hub_model.INDEX), limits)
    tensors = {}
    for file in weights:
        tensors |= remote.header(file)
    hub_model.check_weights(name, tensors, config, limits)
    if 0 < remote.sizes.get("metrics.json", 0) <= SMALL_FILE:
        remote.get("metrics.json")
    return weights


def within(seconds: float, call: Callable[[], T], address: Address, token: str | bool | None) -> T:
    """The call's result, its errors explained, or no more waiting: the client's own calls can hang for ever, and a
    thread that hangs cannot be stopped, only left behind."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # handed over to the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name=f"hub {address.id}").start()
    try:
        return future.result(seconds)
    except TimeoutError:
        raise Unreachable(f"{address.id}: the Hub did not answer within {seconds:g} s; try again, or open a model from "
                          "a folder") from None
    except UserError:
        raise
    except Exception as error:
        raise explain(error, address, token) from error


def _bar(report: Report, file: str) -> type[tqdm]:
    """The client tells of its progress by a bar alone."""
    class Bar(tqdm):
        fetched = 0

        def update(self, n: float | None = 1) -> bool | None:
            self.fetched += n or 0  # its own count stands still where bars are switched off
            report(f"fetching {file}: {self.fetched / 1e6:.0f} of {(self.total or 0) / 1e6:.0f} MB")
            return super().update(n)
    return Bar


def _remember(address: Address, revision: str, cache: Path) -> None:
    """Name the commit that a branch leads to, as the client's cache does. Only now, when all of it is here: a download
    that was broken off leaves the older, complete copy the one to fall back on."""
    if address.pinned:
        return
    ref = cache / repo_folder_name(repo_id=address.id, repo_type="model") / "refs" / (address.revision or "main")
    half_written = ref.with_name(f"{ref.name}.{os.getpid()}.{threading.get_ident()}")
    with suppress(OSError):  # a cache that can only be read serves all the same
        ref.parent.mkdir(parents=True, exist_ok=True)
        half_written.write_text(revision)
        half_written.replace(ref)


def trim(cache: Path, most_bytes: float, newest: str) -> None:
    """Delete whole models, the longest unused first and never the newest, until the rest fits."""
    try:
        found = scan_cache_dir(cache)
    except CacheNotFound:
        return
    size = found.size_on_disk
    for repository in sorted(found.repos, key=lambda kept: kept.last_accessed):
        if size > most_bytes and repository.repo_id != newest:
            found.delete_revisions(*(revision.commit_hash for revision in repository.revisions)).execute()
            size -= repository.size_on_disk
