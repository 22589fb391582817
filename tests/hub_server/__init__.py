"""A small Hugging Face Hub on this machine, which the unmodified client libraries talk to over HF_ENDPOINT.

    with HubServer(root) as hub:
        HfApi(endpoint=hub.url, token=hub.token).create_repo("demo")

By hand: python -m tests.hub_server --help
"""
import socket
import threading
from pathlib import Path

import uvicorn

from .access import DEFAULT_ACCOUNTS, Account
from .app import build
from .faults import Fault, Front, Protocol
from .seed import seed
from .store import Store

__all__ = ["Account", "DEFAULT_ACCOUNTS", "HubServer"]


class HubServer:
    """The server, in a thread of its own between __enter__ and __exit__ (or start and stop).

    uploads: "auto" sends large and binary files through large-file storage as the Hub does; "regular" puts all in the commit.
    part_size: bytes beyond which a large file is sent in parts of that size.
    """

    def __init__(self, root, port: int = 0, accounts: tuple[Account, ...] = DEFAULT_ACCOUNTS, uploads: str = "auto",
                 part_size: int = 16 * 1024 * 1024):
        self.root, self.store = Path(root), Store(root)
        self.user, self.token = accounts[0].name, accounts[0].token
        self.front = Front(build(self.store, tuple(accounts), uploads, part_size))
        self.calls, self.port = self.front.calls, port
        # One thread and no waiting inside a handler's change: commits are one after the other.
        self._uvicorn = uvicorn.Server(uvicorn.Config(self.front, host="127.0.0.1", port=port, http=Protocol, ws="none", lifespan="off",
                                                      proxy_headers=False, log_level="error", timeout_graceful_shutdown=1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, bound: socket.socket | None = None) -> "HubServer":
        """Serve, on `bound` if a socket is given (so nobody can take its port meanwhile). OSError: the port is taken."""
        listening = bound or socket.create_server(("127.0.0.1", self.port))
        listening.listen()                      # from here on a client waits instead of being refused
        self.port = listening.getsockname()[1]
        self._thread = threading.Thread(target=self._uvicorn.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()
        return self

    def stop(self):
        self._uvicorn.should_exit = self._uvicorn.force_exit = True
        self._thread.join()

    def wait(self):
        self._thread.join()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def env(self) -> dict[str, str]:
        """The environment in which a process, started afresh, talks to this server alone."""
        return {"HF_ENDPOINT": self.url, "HF_TOKEN": self.token, "HF_HOME": str(self.root / "hf-home"),
                "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

    def fault(self, pattern: str, **what) -> Fault:
        """Spoil the calls whose path matches: status=, headers=, delay=, drop=True, cut=BYTES, rate=BYTES A SECOND; times=N, method=. See Fault."""
        rule = Fault(pattern, **what)
        self.front.faults.append(rule)
        return rule

    def seed(self, kind: str, repo_id: str, folder) -> None:
        """Put a folder up as a repository without going through a client. kind: models, datasets or spaces."""
        seed(self.store, kind, repo_id, folder)

    def clear_faults(self):
        self.front.faults.clear()

    def commits(self, repo_id: str, type: str = "model", revision: str = "main") -> list[dict]:
        """Newest first: {id, title, author, files: {path: [git oid, size, sha256 or None]}, …}."""
        repo = self.store.get(type + "s", repo_id)
        return [{"id": sha, **commit} for sha, commit in repo.history(repo.find(revision))]
