"""One run at a time writes to a folder: it holds a lock there."""

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vit_demo.errors import UserError

LOCK = ".running"  # the file in a run's folder that is locked while the run goes on
LOCKED_BYTE = 2**20  # behind the words in it, since Windows lets nobody read what is locked


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """No other process passes here for this folder meanwhile; a folder that did not exist and stays empty goes away again.
    Raises UserError when another one has it, OSError when nothing can be written there."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = taken(folder / LOCK)
        try:
            yield
        finally:
            if lies_at(handle, folder / LOCK):
                with suppress(OSError):  # Windows leaves a file that is open: the next run takes it
                    (folder / LOCK).unlink()
            os.close(handle)
    finally:
        with suppress(OSError):
            for place in made:
                place.rmdir()


def taken(path: Path, tries: int = 5) -> int:
    """The open and locked file, which says whose it is. Raises UserError when another process has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    if not locked(handle):
        owner = os.read(handle, 200).decode(errors="replace") or "a process that did not say which"
        os.close(handle)
        raise UserError(f"another run is writing to {path.parent} ({owner}): wait for it, stop it, or give another --output; where its machine is gone, delete {path}")
    if tries and not lies_at(handle, path):  # the run that had it took it away between the two lines above
        os.close(handle)
        return taken(path, tries - 1)
    with suppress(OSError):  # a full disk
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {platform.node()}".encode())
    return handle


def locked(handle: int) -> bool:
    """Lock the file until it is closed, or its process ends in whatever way; False where another process has it. Not flock, which
    a killed run's workers would still hold. A disk that knows no locks keeps nobody from training."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCKED_BYTE)
    except OSError as error:
        os.lseek(handle, 0, os.SEEK_SET)
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True


def lies_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False
