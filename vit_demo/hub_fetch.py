"""A model's address on the Hub -> a folder with its files. The small files come first, then the headers of the
weights, and the weights themselves only when nothing speaks against them. What is kept from before is used again.
"""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Protocol, TypeVar

from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.utils import tqdm

from vit_demo import hub_model
from vit_demo.checks import is_whole, refuse_above
from vit_demo.errors import Stopped, Unreachable, UserError
from vit_demo.hub_address import Address
from vit_demo.hub_cache import VISITORS_BYTES, kept_folder, remember, trim, visitors_cache
from vit_demo.hub_errors import damaged_there, explain, late
from vit_demo.hub_model import Limits
from vit_demo.turns import HEARD

SMALL_FILE = 2_000_000  # bytes; a config with 1000 long labels has 100,000
# What else the page shows of a model where it is there: what training and benchmarks measured, up to so many bytes.
BESIDE = {"metrics.json": SMALL_FILE, "faithfulness.json": SMALL_FILE, "extras.safetensors": 20_000_000}
# How often a download tells how far it is and hears a stop; the client's own 10 MB are half a minute of a slow line.
constants.DOWNLOAD_CHUNK_SIZE = 1_000_000
# The client would read 25 MB of names and shapes, which take 330 MB when unpacked; those of a ViT of 40 layers are 0.1 MB.
constants.SAFETENSORS_MAX_HEADER_LENGTH = 250_000
T = TypeVar("T")


class Report(Protocol):
    def __call__(self, step: str, share: float | None = None) -> None:
        """What is being done, and how much of it, where that is known."""


def silent(step: str, share: float | None = None) -> None:
    pass


@dataclass(frozen=True)
class Snapshot:
    folder: Path  # named after the commit
    note: str = ""  # why an older copy stands in

    @property
    def revision(self) -> str:
        return self.folder.name


def fetch(address: Address, *, token: str | bool | None, limits: Limits, report: Report = silent,
          stop: Event | None = None, afresh: bool = False) -> Snapshot:
    """Refuses with a UserError. `token=False` is a visitor: no token, and files apart from the owner's, so that a
    private model that the owner opened is not there for all. `stop`, once set, ends it with Stopped and leaves no half
    file behind. `afresh` downloads again what is kept."""
    stop = stop or Event()
    cache = visitors_cache() if token is False else Path(constants.HF_HUB_CACHE)
    kept = None if afresh else kept_folder(address, cache)
    if kept and address.pinned:
        return Snapshot(kept)

    left = Event()  # set when nobody waits any more for what a thread of this fetch does; `stop` is the caller's, who may go on with others

    def asked(seconds: float, call: Callable[[], T]) -> T:
        try:
            return within(seconds, call, address, token, stop)
        except UserError:
            left.set()
            raise

    try:
        report("asking the Hub")
        remote = asked(limits.answer_seconds, lambda: _ask(address, token, limits, cache, afresh))
        folder = None if afresh else kept_folder(replace(address, revision=remote.revision), cache)
        if folder is None:
            weights = asked(limits.answer_seconds, lambda: _inspect(remote, limits))
            beside = [file for file, most in BESIDE.items() if 0 < remote.sizes.get(file, 0) <= most]
            bar = _bar(sum(remote.sizes[file] for file in (*beside, *weights)), report, left)
            files = asked(limits.download_seconds, lambda: [remote.get(file, bar) for file in (*beside, *weights)])
            folder = files[0].parent
    except Unreachable as error:
        if kept is None:
            raise
        return Snapshot(kept, note=f"{error}. This is the copy kept from before.")
    remember(address, remote.revision, cache)
    if token is False:
        trim(cache, VISITORS_BYTES, address.id)
    return Snapshot(folder)


def latest(address: Address, *, token: str | bool | None, limits: Limits) -> str:
    """The commit that the address leads to now, to tell whether a newer version is there."""
    def ask() -> str:
        return HfApi(token=token).model_info(address.id, revision=address.revision, timeout=limits.answer_seconds).sha
    return within(limits.answer_seconds, ask, address, token)


def branches(address: Address, *, token: str | bool | None, limits: Limits) -> list[str]:
    """The names of the repository's branches."""
    def ask() -> list[str]:
        return [branch.name for branch in HfApi(token=token).list_repo_refs(address.id).branches]
    return within(limits.answer_seconds, ask, address, token)


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

    def get(self, file: str, bar: type[tqdm] | None = None) -> Path:
        return Path(hf_hub_download(
            self.address.id, file, revision=self.revision, token=self.api.token, cache_dir=self.cache,
            force_download=self.afresh, etag_timeout=self.timeout, tqdm_class=bar))

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
        refuse_above(name, "number of tensors", len(tensors), limits.tensors)
    hub_model.check_weights(name, tensors, config, limits)
    return weights


def within(seconds: float, call: Callable[[], T], address: Address, token: str | bool | None, stop: Event | None = None) -> T:
    """The call's result, its errors explained, or no more waiting: the client's own calls can hang for ever, and a
    thread that hangs cannot be stopped, only left behind."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # handed over to the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name=f"hub {address.id}").start()
    deadline = time.monotonic() + seconds
    while not wait([future], min(HEARD, seconds)).done:
        if stop is not None and stop.is_set():
            raise Stopped
        if time.monotonic() > deadline:
            raise late(address.id)
    try:
        return future.result()
    except UserError:
        raise
    except Exception as error:
        raise explain(error, address, token) from error


def _bar(total: int, report: Report, left: Event) -> type[tqdm]:
    """The client tells of its progress by a bar alone, one a file: here all of them count together. `left`, once set, ends the download."""
    fetched = 0

    class Bar(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            nonlocal fetched
            if left.is_set():
                raise Stopped
            fetched += n or 0  # the bar's own count stands still where bars are switched off
            report(f"fetching {megabytes(fetched)} of {megabytes(total)} MB", fetched / max(total, 1))
            return super().update(n)

        def update_transfer(self, n: float | None = 1) -> None:
            """The same bytes as they come over the network, told once more."""

        def set_transfer_postfix_str(self, *_, **__) -> None:
            pass

    return Bar


def megabytes(count: float) -> str:
    return f"{count / 1e6:.0f}" if count >= 1e7 else f"{count / 1e6:.1f}"
