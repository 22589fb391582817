"""Two shorthands for tests that speak to the local Hub."""


def put(api, repo: str, path: str = "a.txt", content: bytes = b"one", **more):
    """One file, one commit."""
    return api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo, **more)


def status(error) -> int:
    """The HTTP status behind what pytest.raises caught."""
    return error.value.response.status_code
