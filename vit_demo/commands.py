"""How a command begins and ends, from the first library that it loads to its exit status."""

import os
import signal
import sys
from collections.abc import Callable

from vit_demo.errors import UserError

STOPPED = 130  # the exit status of a command that was asked to stop


def quiet_while_loading() -> None:
    """Ctrl-C ends the process without a word until `cli` begins: libraries take seconds to load, and have a traceback for it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def cli(main: Callable, stopped: str = "stopped") -> None:
    """A command from its start to its exit status: a UserError is one line and 2, Ctrl-C is `stopped` and 130, and so is SIGTERM,
    by which a job is ended. Of several processes the first one answers; the others may wait where no handler runs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in filter(lambda stream: hasattr(stream, "reconfigure"), (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")  # a class may be called what a console cannot write
    previous = signal.signal(signal.SIGTERM, interrupted) if int(os.environ.get("RANK", 0)) == 0 else signal.getsignal(signal.SIGTERM)
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        raise SystemExit(STOPPED) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def interrupted(number, frame) -> None:
    raise KeyboardInterrupt
