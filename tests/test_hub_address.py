"""What may name a model on the Hub, and what is refused before anything is looked up."""

import pytest
from huggingface_hub import constants

from vit_demo.errors import UserError
from vit_demo.hub_address import Address, parse

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("text, id, revision", [
    ("user/name", "user/name", None),
    ("  WinKawaks/vit-tiny-patch16-224 \n", "WinKawaks/vit-tiny-patch16-224", None),
    ("user/name@v1.0", "user/name", "v1.0"),
    (f"user/name@{SHA}", "user/name", SHA),
    ("user/name@refs/pr/1", "user/name", "refs/pr/1"),
    ("https://huggingface.co/user/name", "user/name", None),
    ("http://www.huggingface.co/user/name/", "user/name", None),
    ("huggingface.co/user/name?library=transformers#use", "user/name", None),
    ("https://hf.co/user/name/tree/dev", "user/name", "dev"),
    ("https://huggingface.co/user/name/tree/refs%2Fpr%2F1", "user/name", "refs/pr/1"),
    ("https://huggingface.co/user/name/tree/feature%2Fx/a.json", "user/name", "feature/x"),
    ("https://huggingface.co/user/name/blob/main/config.json", "user/name", "main"),
    (f"https://huggingface.co/user/name/resolve/{SHA}/a/b.json", "user/name", SHA),
    (f"https://huggingface.co/user/name/commit/{SHA}", "user/name", SHA),
    ("https://huggingface.co/user/name/discussions/3", "user/name", None),
])
def test_understood(text, id, revision):
    assert parse(text) == Address(id, revision)


def test_a_page_of_another_hub_is_understood_where_that_hub_is_used():
    assert parse(f"{constants.ENDPOINT}/user/name/tree/dev") == Address("user/name", "dev")


def test_a_revision_beside_the_name_wins():
    assert parse("user/name@old", "new") == Address("user/name", "new")
    assert parse("user/name", SHA).pinned and not parse("user/name@main").pinned


@pytest.mark.parametrize("text", [
    "", " ", "name", "/", "a/", "/b", "a/b/c", "../../etc/passwd", "/etc/passwd", "..", "a b/c", "a/b c", "~/model",
    "./runs", "-a/b", ".a/b", "a/..b", "a/b..c", "a/b--c", "a/b.git", "a/" + "b" * 97, "user\\name",
    "C:\\models\\vit", "file:///etc/passwd", "https://example.com/user/name", "http://169.254.169.254/latest/meta",
    "https://huggingface.co/", "https://huggingface.co/user", "https://huggingface.co.evil.org/user/name",
    "user/name\x00", "üser/name", "<b>/<i>", "user/name\nother/name"])
def test_not_a_name(text):
    with pytest.raises(UserError, match="neither a folder here nor a model on the Hub.*looks like user/name") as refusal:
        parse(text)
    assert not set("<>\n\x00") & set(str(refusal.value))


@pytest.mark.parametrize("revision", ["..", "a/../b", "-x", "a b", "a//b", "x" * 201, "ü", "/main", "a;b", "@"])
def test_not_a_revision(revision):
    with pytest.raises(UserError, match="user/name: .* is no revision; name a branch, a tag or a commit"):
        parse(f"user/name@{revision}")


@pytest.mark.parametrize("kind", ["datasets", "spaces", "collections"])
def test_other_pages_of_the_hub(kind):
    with pytest.raises(UserError, match=f"one of the Hub's {kind}; a model's looks like"):
        parse(f"https://huggingface.co/{kind}/user/name")
