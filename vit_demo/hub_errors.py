"""What the Hub's client raises -> one line that says what to do."""

import errno

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    NotASafetensorsRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)

from vit_demo.errors import Unreachable, UserError
from vit_demo.hub_address import Address


def explain(error: Exception, address: Address, token: str | bool | None) -> UserError:
    """The library wraps the reason in others, in ways that differ between its versions: the chain is searched."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    for cause in chain:
        if found := _reason(cause, address, visitor=token is False):
            return found
    return Unreachable(f"{address.id}: the Hub could not be reached ({type(chain[-1]).__name__}); check the network")


def damaged_there(name: str) -> UserError:
    return UserError(f"{name}: the weights in the repository are damaged; its owner has to upload them again")


def late(name: str) -> Unreachable:
    return Unreachable(f"{name}: the Hub did not answer in time; try again, or open a model from a folder")


def _reason(error: Exception, address: Address, visitor: bool) -> UserError | None:
    name = address.id
    if isinstance(error, GatedRepoError):  # a kind of RepositoryNotFoundError, so it comes first
        return UserError(f"{name}: it is gated, and only public models can be opened here" if visitor else
                         f"{name}: it is gated; ask for access on https://huggingface.co/{name}, then run hf auth login")
    if isinstance(error, RevisionNotFoundError):
        return UserError(f"{name}: it has no revision {address.revision}; check its branches and tags on the Hub")
    if isinstance(error, RepositoryNotFoundError):
        return UserError(f"{name}: the Hub has no such public model; check its name" if visitor else
                         f"{name}: there is no such folder here, and no such model on the Hub that can be read; check "
                         "its name, or run hf auth login if it is private")
    if isinstance(error, (SafetensorsParsingError, NotASafetensorsRepoError)):
        return damaged_there(name)
    if isinstance(error, OfflineModeIsEnabled):
        return Unreachable(f"{name}: HF_HUB_OFFLINE forbids asking the Hub; unset it, or open a model from a folder")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return UserError(f"{name}: its files changed while it was being opened; try again")
    if isinstance(error, HfHubHTTPError):
        return _status(error.response.status_code, name, visitor)
    if isinstance(error, TimeoutError):
        return late(name)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{name}: the disk is full; make room where the Hub's files are kept, or set HF_HOME")
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR) or isinstance(error, RuntimeError) and "home directory" in str(error):
        return UserError(f"{name}: the Hub's files cannot be kept here, writing is forbidden; set HF_HOME to another folder")
    return None


def _status(status: int, name: str, visitor: bool) -> UserError:
    if status == 401 and not visitor:
        return UserError(f"{name}: the Hub does not accept your token; run hf auth login again")
    if status in (401, 403):
        return UserError(f"{name}: the Hub does not let this app read it; only models that you may read can be opened")
    if status == 416:  # a range of a file that is shorter than any safetensors file
        return damaged_there(name)
    if status == 429:
        return Unreachable(f"{name}: the Hub takes no more questions from here for now (429); wait some minutes")
    return Unreachable(f"{name}: the Hub has trouble answering ({status}); try again in a while")
