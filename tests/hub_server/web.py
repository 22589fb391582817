"""A bare page for each repository, so that the addresses that the client libraries print lead somewhere in a browser."""
from html import escape
from urllib.parse import quote, unquote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from .access import caller, open_repo
from .pulls import find
from .store import KINDS

routes = APIRouter()
PAGE = """<!doctype html><meta charset=utf-8><title>{title}</title>
<body style="font:16px sans-serif; max-width:60em; margin:2em auto">{body}"""


def html(title: str, body: str) -> HTMLResponse:
    return HTMLResponse(PAGE.format(title=escape(title), body=f"<h1>{escape(title)}</h1>{body}"))


def rows(items) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


@routes.get("/")
async def home(request: Request):
    account, sections = caller(request), ""
    for kind in KINDS:
        repos = [repo.id for repo in request.app.state.store.all(kind)
                 if not repo.state["private"] or (account and account.owns(repo.id.split("/")[0]))]
        links = (f'<a href="/{"" if kind == "models" else kind + "/"}{name}">{escape(name)}</a>' for name in repos)
        sections += f"<h2>{kind}</h2>{rows(links)}"
    return html("Local Hub", sections)


async def repository(request: Request, rev: str = "main"):
    repo, _ = open_repo(request)
    rev = unquote(rev)
    sha = repo.find(rev)
    commit, files = repo.commit(sha), repo.files(sha)
    where = f"/{'' if repo.kind == 'models' else repo.kind + '/'}{repo.id}"
    links = (f'<a href="{where}/resolve/{sha}/{quote(path)}">{escape(path)}</a> {entry.size:,} bytes' for path, entry in files.items())
    card = repo.store.read(files["README.md"]).decode("utf-8", "replace") if "README.md" in files else "no README.md"
    top = f"<p>{escape(rev)}: {sha[:7]} {escape(commit['title'])}, {commit['date']}</p>"
    return html(repo.id, f"{top}{rows(links)}<pre>{escape(card)}</pre>")


async def discussion(request: Request, num: int):
    repo, _ = open_repo(request)
    item = find(repo, num)
    said = (f"{escape(e['author']['name'])}: {escape(e['data']['latest']['raw'])}" for e in item["events"] if e["type"] == "comment")
    return html(f"{item['title']} #{num}", f"<p>{repo.id}, {item['status']}</p>{rows(said)}")


for start in ("/datasets", "/spaces", ""):
    for end in ("", "/tree/{rev}", "/commit/{rev}", "/blob/{rev}/{path:path}"):
        routes.add_api_route(start + "/{ns}/{name}" + end, repository)
    routes.add_api_route(start + "/{ns}/{name}/discussions/{num}", discussion)
