"""What can go wrong while something is written to the Hub, each in one line that says what to do. No token is ever shown."""

from contextlib import contextmanager

from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from vit_demo.errors import UserError

LOGIN = "run `hf auth login` with a token that may write"
AGAIN = "run the same command again, it goes on from what is there"
BAD_CARD = "Invalid metadata in README.md"
STATUS = {
    401: f"the Hub does not accept your token: {LOGIN}",
    403: "your token may not write to {repo}: use a repository of your own, or " + LOGIN,
    409: "{repo} is being changed by someone else: " + AGAIN,
    412: "{repo} was changed while this ran, and nothing was written: look at the change, then " + AGAIN,
    413: "the files are too large for {repo}: see what the Hub allows your account to store",
    429: "the Hub asks for fewer requests: wait a few minutes, then " + AGAIN,
}


@contextmanager
def told(repo: str, bad_licence: str | None = None):
    """Errors of the Hub's client library inside the block become a UserError about `repo`; others pass. `bad_licence`: the line for
    a card's licence that the Hub does not know, where the caller can say what to do about it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        chain = [error]
        while chain[-1].__cause__ is not None:  # a failed upload comes wrapped in a RuntimeError
            chain.append(chain[-1].__cause__)
        line = next(filter(None, (explained(cause, repo, bad_licence) for cause in chain)), None)
        if line is None:
            raise
        raise UserError(line) from error


def explained(error: Exception, repo: str, bad_licence: str | None = None) -> str | None:
    """One line, or None when the error does not come from the Hub or from the way to it."""
    if isinstance(error, LocalTokenNotFoundError):
        return f"you are not logged in to the Hub: {LOGIN}"
    if isinstance(error, HFValidationError):
        return f"{repo!r} is no repository name: write USER/NAME with letters, digits, '-', '_' and '.'"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing can be sent to the Hub: unset it"
    if isinstance(error, GatedRepoError):
        return f"{repo} asks for its terms to be accepted: open its page on the Hub first"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no such branch: leave --revision out, or name one that is there"
    if isinstance(error, RepositoryNotFoundError):
        return f"{repo} is not there, or your token may not see it: check the name, or {LOGIN}"
    if isinstance(error, BadRequestError):
        return f"the Hub does not accept the files for {repo}: {server_words(error)}"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 0
        return STATUS.get(status, f"the Hub answered with an error ({status}): wait a little, then {AGAIN}").format(repo=repo)
    if isinstance(error, ValueError) and str(error).startswith(BAD_CARD):  # raised by create_commit, which asks the Hub first
        return bad_licence if bad_licence and '"license"' in str(error) else f"the Hub does not accept {' '.join(str(error).split())[:200]}"
    # What the client's transport raises: httpx before huggingface_hub 2, httpx2 since, both over sockets.
    if type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2") or isinstance(error, (ConnectionError, TimeoutError, LocalEntryNotFoundError)):
        return f"the Hub cannot be reached or broke off: check the network, then {AGAIN}"
    return None


def server_words(error: HfHubHTTPError) -> str:
    """The first line of the Hub's own message: it names the field of the card that it does not like."""
    words = (error.server_message or str(error)).strip().splitlines()
    return words[0][:200] if words else "no reason given"
