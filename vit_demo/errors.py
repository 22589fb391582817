"""The one kind of error a person can act on."""


class UserError(ValueError):
    """Something the user can put right. The message is one plain line: what is wrong, and what to do.

    Command lines print it after `error:` and exit with 2; the page shows it as a notice.
    """


class Unreachable(UserError):
    """The Hub does not answer, or not now; a copy kept from before can stand in."""


class Damaged(UserError):
    """A file is there and cannot be read; fetching it again may help."""


class Stopped(UserError):
    """Nobody waits for it any more."""

    def __init__(self) -> None:
        super().__init__("stopped")
