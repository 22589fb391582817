"""The local Hub, seen through the real client: pull requests, discussions, cards pushed as pull requests."""
import pytest
from huggingface_hub import ModelCard, RepoCard, hf_hub_download, metadata_update
from huggingface_hub.errors import HfHubHTTPError

from tests.hub_server.client import put


def test_a_pull_request_by_a_stranger_is_merged_by_the_owner(api, stranger, repo):
    put(api, repo, content=b"one")
    pull = put(stranger, repo, "w.safetensors", b"weights", create_pr=True)
    assert (pull.pr_num, pull.pr_revision) == (1, "refs/pr/1")
    assert "w.safetensors" not in api.list_repo_files(repo)
    put(api, repo, "b.txt")                                          # main goes on meanwhile
    with pytest.raises(HfHubHTTPError, match="403"):
        stranger.merge_pull_request(repo, 1)
    api.merge_pull_request(repo, 1, comment="thanks")
    assert {"a.txt", "b.txt", "w.safetensors"} <= set(api.list_repo_files(repo))
    details = api.get_discussion_details(repo, 1)
    assert (details.status, details.merge_commit_oid) == ("merged", api.model_info(repo).sha)
    assert [d.num for d in api.get_repo_discussions(repo, discussion_type="pull_request")] == [1]
    assert api.list_repo_refs(repo, include_pull_requests=True).pull_requests[0].ref == "refs/pr/1"


def test_conflicting_pull_requests_are_409_and_leave_main_alone(api, repo):
    put(api, repo, content=b"one")
    put(api, repo, content=b"theirs", create_pr=True)
    head = put(api, repo, content=b"ours").oid
    assert api.get_discussion_details(repo, 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.merge_pull_request(repo, 1)
    assert api.model_info(repo).sha == head


def test_discussions_are_talked_in_renamed_and_closed(api, stranger, repo):
    talk = stranger.create_discussion(repo, "A question", description="How?")
    said = api.comment_discussion(repo, talk.num, "So.")
    assert api.edit_discussion_comment(repo, talk.num, said.id, "Thus.").content == "Thus."
    api.rename_discussion(repo, talk.num, "Answered")
    api.change_discussion_status(repo, talk.num, "closed", comment="done")
    found = api.get_discussion_details(repo, talk.num)
    assert (found.title, found.status, found.author) == ("Answered", "closed", "stranger")
    assert [e.content for e in found.events if e.type == "comment"] == ["How?", "Thus.", "done"]
    assert not list(api.get_repo_discussions(repo, discussion_status="open"))


def test_cards_are_pushed_and_updated_also_as_pull_requests(api, repo):
    ModelCard("---\nlicense: mit\n---\n# One").push_to_hub(repo)
    assert metadata_update(repo, {"tags": ["vit"]}).endswith(api.model_info(repo).sha)
    url = metadata_update(repo, {"language": "en"}, create_pr=True)
    assert url and ModelCard.load(repo).data.to_dict() == {"license": "mit", "tags": ["vit"]}
    assert RepoCard.load(hf_hub_download(repo, "README.md", revision="refs/pr/1")).data.language == "en"
