"""python -m tests.hub_server: a local Hub to try publishing on, without an account and without a network."""
import argparse
import shlex
from pathlib import Path

from . import DEFAULT_ACCOUNTS, Account, HubServer

EXAMPLES = """
examples:
  python -m tests.hub_server --root /tmp/hub --port 8900
  python -m tests.hub_server --root /tmp/hub --port 8900 --user alice:hf_alice --user bob:hf_bob:read
  python -m tests.hub_server --root /tmp/hub --port 8900 --seed-dataset uoft-cs/cifar10=data/cifar10

Then, in another terminal, paste the export lines that it prints and use hf, huggingface_hub, transformers and
datasets as ever: they all follow HF_ENDPOINT. What was uploaded stays in DIR, so stopping (Ctrl-C) and starting again
goes on where it was.
"""


def account(text: str) -> Account:
    name, _, rest = text.partition(":")
    token, _, role = rest.partition(":")
    if not name or not token or role not in ("", "read", "write"):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:TOKEN or NAME:TOKEN:read")
    return Account(name, token, write=role != "read")


def seeding(text: str) -> tuple[str, Path]:
    repo_id, _, folder = text.partition("=")
    if repo_id.count("/") != 1 or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not USER/NAME=FOLDER with an existing folder")
    return repo_id, Path(folder)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.hub_server", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="where repositories are kept (made if missing)")
    parser.add_argument("--port", type=int, default=8900, help="port on 127.0.0.1 (default 8900; 0: any free one)")
    parser.add_argument("--user", type=account, action="append", metavar="NAME:TOKEN[:read]",
                        help="an account, as often as you like; default: tester:hf_local (writes), tester:hf_local_read and "
                             "stranger:hf_stranger")
    parser.add_argument("--seed-dataset", type=seeding, action="append", default=[], metavar="USER/NAME=FOLDER",
                        help="put a folder up as a dataset repository, unless it is there already")
    options = parser.parse_args(argv)
    try:
        hub = HubServer(options.root, options.port, accounts=tuple(options.user or DEFAULT_ACCOUNTS))
        for repo_id, folder in options.seed_dataset:
            hub.seed("datasets", repo_id, folder)
        hub.start()
    except OSError as error:
        parser.error(f"cannot serve {options.root} on port {options.port} ({error.strerror}): choose another --root or --port")
    print(f"Local Hub on {hub.url}, user {hub.user}, kept in {options.root}. Stop it with Ctrl-C. In another terminal:\n\n"
          f"export HF_ENDPOINT={hub.url} HF_TOKEN={hub.token} HF_HUB_DISABLE_XET=1\n"
          f"export HF_HOME={shlex.quote(str((options.root / 'hf-home').resolve()))}\n", flush=True)
    try:
        hub.wait()
    except KeyboardInterrupt:
        hub.stop()


if __name__ == "__main__":
    main()
