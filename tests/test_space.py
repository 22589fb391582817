"""The app as a Space: what lies in it, how it gets to the Hub, and that it starts there."""

import itertools
import os
import signal
import sys
import time

import pytest
from huggingface_hub import HfApi, hf_hub_download, metadata_load, snapshot_download

from tests.started import answer, free_port, started
from tests.tiny import save_tiny_model
from vit_demo import space
from vit_demo.classifier import load
from vit_demo.errors import UserError
from vit_demo.images import open_picture
from vit_demo.samples import SAMPLES
from vit_demo.space import WANTED, main, publish

NUMBERS = itertools.count(1)
CARD = "---\nlicense: apache-2.0\ndatasets:\n- uoft-cs/cifar10\n---\n# A model\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = save_tiny_model(tmp_path_factory.mktemp("space") / "model", metrics={"test_accuracy": 0.5})
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def model(hub, folder):
    """A model of one's own on the Hub, public."""
    name = f"{hub.user}/shown-{next(NUMBERS)}"
    hub.seed("models", name, folder)
    return name


@pytest.fixture
def name(hub):
    return f"{hub.user}/space-{next(NUMBERS)}"


def variables(name) -> dict[str, str]:
    return {key: variable.value for key, variable in HfApi().get_space_variables(name).items()}


def read(name) -> str:
    return open(hf_hub_download(name, "README.md", repo_type="space"), encoding="utf-8").read()


def front_matter(name) -> dict:
    return metadata_load(hf_hub_download(name, "README.md", repo_type="space"))


def test_the_front_matter_is_what_spaces_read(tmp_path):
    main(["--folder", str(tmp_path / "space")])
    front = metadata_load(tmp_path / "space" / "README.md")
    pins = dict(line.split("==") for line in (space.ROOT / "requirements.txt").read_text().split())
    assert front["sdk"] == "gradio" and front["sdk_version"] == pins["gradio"] and front["python_version"] == "3.12"
    assert (tmp_path / "space" / front["app_file"]).is_file()
    assert len(front["short_description"]) <= 60 and not {"models", "preload_from_hub"} & set(front)


def test_a_folder_says_what_makes_it_show_the_model(tmp_path, capsys):
    """No file of a Space names its model."""
    for model, told in ((None, ""), ("me/vit@v2", "; set its variable VIT_DEMO_MODEL to me/vit@v2")):
        folder = tmp_path / f"space of {model}".replace("/", " ")
        main(["--folder", str(folder), *(["--model", model] if model else [])])
        assert capsys.readouterr().out == f"done: {folder}{told}\n"


def test_the_requirements_leave_out_what_spaces_bring(tmp_path):
    main(["--folder", str(tmp_path / "space")])
    wanted = (tmp_path / "space" / "requirements.txt").read_text().split()
    ours = (space.ROOT / "requirements.txt").read_text().split()
    assert [line for line in ours if line not in wanted] == [line for line in ours if line.startswith(("gradio==", "huggingface-hub=="))]
    assert set(wanted) < set(ours) and not [line for line in wanted if line.startswith(("torchvision", "accelerate"))]


def test_a_space_holds_the_app_and_nothing_else(tmp_path, monkeypatch):
    assert {path.split("/")[0] for path in space.space_files("Mine")} == {"app.py", "LICENSE", "README.md", "requirements.txt", "vit_demo"}
    wanted = {"app.py", "LICENSE", "requirements.txt", "vit_demo/page.py", "vit_demo/web/page.js", "vit_demo/bundled/.eval_results/a.yaml"}
    for path in (*wanted, "README.md", "training/train.py", "vit_demo/space.py", "vit_demo/.env", "vit_demo/page.pyi", "vit_demo/__pycache__/page.pyc"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("gradio==6.31.0")
    monkeypatch.setattr(space, "ROOT", tmp_path)
    assert set(space.space_files("Mine")) == {*wanted, "README.md"}


def test_a_space_is_made_in_one_commit_with_its_model(hub, model, name, capsys):
    main([name, "--model", model])
    front, commit = front_matter(name), HfApi().model_info(model).sha
    assert front["models"] == [model] and front["datasets"] == ["uoft-cs/cifar10"]
    assert front["preload_from_hub"] == [f"{model} config.json,metrics.json,model.safetensors,preprocessor_config.json {commit}"]
    assert variables(name) == {WANTED: model}
    assert len(hub.commits(name, type="space")) == 2  # the first one made the repository
    assert HfApi().get_space_runtime(name).stage == "RUNNING"
    assert capsys.readouterr().out.rstrip().endswith(f"done: {hub.url}/spaces/{name}")


def test_what_lies_there_is_what_lies_here_without_any_token(name, model):
    publish(name, model)
    there = snapshot_download(name, repo_type="space")
    for path, content in space.space_files("ViT Demo").items():
        read = open(f"{there}/{path}", "rb").read()
        assert b"hf_local" not in read
        if path != "README.md":
            assert read == (content if isinstance(content, bytes) else content.read_bytes())


def test_again_without_a_change_sends_nothing(hub, model, name):
    publish(name, model)
    said, count = [], len(hub.calls)
    publish(name, model, say=said.append)
    assert len(hub.commits(name, type="space")) == 2 and said == ["nothing has changed: no new commit"]
    assert not [c for c in hub.calls[count:] if "/commit/" in c["path"] or c["method"] != "GET" and "variables" in c["path"]]


def test_again_brings_it_up_to_date(hub, model, name):
    publish(name, model)
    for path in ("vit_demo/gone.py", "notes-of-mine.md"):
        HfApi().upload_file(path_or_fileobj=b"x", path_in_repo=path, repo_id=name, repo_type="space")
    HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo="metrics.json", repo_id=model)
    before = len(hub.commits(name, type="space"))
    publish(name, model, title="Cats")
    there = HfApi().list_repo_files(name, repo_type="space")
    assert len(hub.commits(name, type="space")) == before + 1
    assert "notes-of-mine.md" in there and "vit_demo/gone.py" not in there
    assert front_matter(name)["preload_from_hub"][0].endswith(HfApi().model_info(model).sha) and front_matter(name)["title"] == "Cats"


MINE = """---
title: Birds   # by their song
emoji: 🐦
license: mit
models:
- me/old
thumbnail: https://example.org/bird.png
sdk: gradio
sdk_version: 4.0.0
app_file: app.py
---
# Birds

Ask me for them.
"""


def test_what_was_changed_of_its_page_stays(hub, model, name):
    publish(name, model, title="Cats")
    publish(name, model)
    assert len(hub.commits(name, type="space")) == 2 and front_matter(name)["title"] == "Cats"
    HfApi().upload_file(path_or_fileobj=MINE.encode(), path_in_repo="README.md", repo_id=name, repo_type="space")
    publish(name, model)
    front, kept = front_matter(name), {"title": "Birds", "emoji": "🐦", "license": "mit", "thumbnail": "https://example.org/bird.png"}
    assert {key: front[key] for key in kept} == kept and front["models"] == [model] and model in front["preload_from_hub"][0]
    assert not {"suggested_hardware", "tags"} & set(front)  # taken out there
    assert front["sdk_version"] == space.pins()["gradio"] and front["python_version"] == "3.12"
    assert read(name).split("---\n")[2].strip() == "# Birds\n\nAsk me for them."
    publish(name)
    assert not {"models", "datasets", "preload_from_hub"} & set(front_matter(name)) and "Ask me" in read(name)
    publish(name, title="Frogs")
    assert front_matter(name)["title"] == "Frogs" and front_matter(name)["license"] == "mit" and "Ask me" in read(name)
    by_hand = read(name).replace("title: Frogs", "title: 'Frogs' # and toads")
    HfApi().upload_file(path_or_fileobj=by_hand.encode(), path_in_repo="README.md", repo_id=name, repo_type="space")
    count = len(hub.commits(name, type="space"))
    publish(name)
    assert len(hub.commits(name, type="space")) == count and read(name) == by_hand


def test_words_that_nobody_changed_follow_the_title_and_the_model(model, name):
    publish(name, model)
    publish(name, title="Cats")
    assert "# Cats\n" in read(name) and "with the model that the app carries." in read(name) and model not in read(name)
    publish(name, model)
    assert "# Cats\n" in read(name) and f"with [{model}](" in read(name)


@pytest.mark.parametrize("title", [None, "Cats"])
def test_words_that_nobody_changed_follow_a_title_that_was_changed_on_the_page(model, name, title):
    publish(name, title=title)
    renamed = read(name).replace(f"title: {title or 'ViT Demo'}", "title: Birds")
    HfApi().upload_file(path_or_fileobj=renamed.encode(), path_in_repo="README.md", repo_id=name, repo_type="space")
    publish(name, model)
    heading = title or "Birds"  # one that may be its owner's stays
    assert front_matter(name)["title"] == "Birds" and f"# {heading}\n" in read(name) and f"with [{model}](" in read(name)
    publish(name, title="Frogs")
    assert "# Frogs\n" in read(name) and "with the model that the app carries." in read(name)


def test_a_new_space_has_our_page_not_the_one_that_it_was_made_with(api, name):
    api.create_repo(name, repo_type="space", space_sdk="gradio")
    publish(name)
    assert front_matter(name)["title"] == "ViT Demo" and front_matter(name)["emoji"] == "🔍" and "# ViT Demo\n" in read(name)


def test_another_app_is_not_written_over(api, name):
    api.create_repo(name, repo_type="space", space_sdk="gradio")
    head = api.upload_file(path_or_fileobj=b"print(1)", path_in_repo="app.py", repo_id=name, repo_type="space").oid
    with pytest.raises(UserError, match=f"^{name} holds another app: give the Space another name, or delete its app.py first$"):
        publish(name)
    assert api.repo_info(name, repo_type="space").sha == head


def test_a_page_whose_top_is_no_table_is_told_of():
    with pytest.raises(UserError, match="are no YAML table: correct them on its page$"):
        space.readme(None, None, "---\ntitle: [\n---\n# Mine\n")


def test_a_revision_is_kept(model, name):
    commit = HfApi().model_info(model).sha
    publish(name, f"{model}@{commit}")
    assert variables(name) == {WANTED: f"{model}@{commit}"} and front_matter(name)["models"] == [model]


@pytest.mark.parametrize("closed", [{"private": True}, {"gated": "auto"}])
def test_a_closed_model_is_not_preloaded_and_asks_for_a_secret(model, name, closed):
    said = []
    HfApi().update_repo_settings(model, **closed)
    publish(name, model, say=said.append)
    assert "preload_from_hub" not in front_matter(name) and variables(name) == {WANTED: model}
    assert "secret HF_TOKEN" in said[-1]


def test_without_a_model_it_shows_the_one_that_the_app_carries(model, name):
    publish(name, model)
    said = []
    publish(name, say=said.append)
    assert variables(name) == {} and "models" not in front_matter(name) and model in said[0]


def test_a_private_space_stays_private(model, name):
    publish(name, private=True)
    assert HfApi().repo_info(name, repo_type="space").private
    publish(name + "-open")
    with pytest.raises(UserError, match="public already"):
        publish(name + "-open", private=True)


def test_what_a_space_cannot_show_is_refused_before_it_is_made(hub, api, repo, folder, name):
    api.upload_file(path_or_fileobj=b'{"model_type": "bert"}', path_in_repo="config.json", repo_id=repo)
    for model, says in [(repo, "bert"), (str(folder), "put it on the Hub"), (f"{hub.user}/absent", "no such model"), ("a/b/c", "user/name")]:
        with pytest.raises(UserError, match=says):
            publish(name, model)
    assert not api.repo_exists(name, repo_type="space")


@pytest.mark.parametrize(("token", "says"), [(None, "hf auth login"), ("hf_wrong", "does not accept your token"),
                                             ("hf_local_read", "may not write"), ("hf_stranger", "may not write")])
def test_a_token_that_will_not_do_is_one_line(hub, name, monkeypatch, token, says):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    else:
        monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match=says) as error:
        publish(name)
    assert "hf_" not in str(error.value) and "\n" not in str(error.value)


def test_the_command_line_ends_with_one_line_and_exit_2(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    for words in (["--folder", str(tmp_path)], []):
        monkeypatch.setattr("sys.argv", ["space", *words])
        with pytest.raises(SystemExit) as end:
            space.cli()
        out, err = capsys.readouterr()
        assert end.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1 and not out


def test_ctrl_c_ends_with_one_line_and_exit_130(monkeypatch, capsys):
    monkeypatch.setattr(space, "publish", lambda *given, **more: os.kill(os.getpid(), signal.SIGINT) or time.sleep(10))
    monkeypatch.setattr("sys.argv", ["space", "me/vit-demo"])
    with pytest.raises(SystemExit) as end:
        space.cli()
    assert end.value.code == 130 and capsys.readouterr().err == "stopped: run the same command again to finish\n"


def test_it_starts_as_spaces_start_it_and_shows_the_model(hub, model, name, folder, tmp_path):
    """The Space's own files, nothing else, in the environment of a Gradio Space; on every address, so on 127.0.0.2 too."""
    publish(name, model)
    there = snapshot_download(name, repo_type="space", local_dir=tmp_path / "space")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **hub.env(), "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1",
                   "SYSTEM": "spaces", "SPACE_ID": name, "SPACE_AUTHOR_NAME": hub.user, "GRADIO_SERVER_NAME": "0.0.0.0",
                   "GRADIO_SERVER_PORT": str(port := free_port()), "GRADIO_NUM_PORTS": "1", **variables(name)}
    path, expected = SAMPLES[0][0], dict(load(folder).top_k(open_picture(SAMPLES[0][0]), 10))
    python = os.environ.get("VIT_DEMO_SPACE_PYTHON", sys.executable)  # .ci/run names one that has the Space's requirements alone
    with started([python, "app.py"], there, environment, tmp_path / "log") as app:
        told = answer(app, f"http://127.0.0.2:{port}", path, 10, set(expected))
    assert told == pytest.approx(expected, abs=1e-5), (tmp_path / "log").read_text()
