"""Users and organisations, likes, and requests for access to gated repositories."""
import uuid

from fastapi import APIRouter, Request

from .access import Account, caller, open_repo, writer
from .errors import HubError
from .files import page
from .store import KINDS, MAIN, now

routes = APIRouter()


@routes.get("/api/whoami-v2")
async def whoami(request: Request):
    account = caller(request)
    if account is None:
        raise HubError(401, "Invalid username or password.")
    role = "write" if account.write else "read"
    return {"type": "user", "id": account.name, "name": account.name, "fullname": account.fullname or account.name,
            "email": f"{account.name}@example.org", "emailVerified": True, "isPro": False, "canPay": False, "avatarUrl": "",
            "orgs": [{"type": "org", "id": org, "name": org, "fullname": org, "avatarUrl": "", "isEnterprise": False,
                      "roleInOrg": "admin"} for org in account.orgs],
            "auth": {"type": "access_token", "accessToken": {"displayName": role, "role": role, "createdAt": now()}}}


def person(request: Request, name: str) -> Account:
    found = next((account for account in request.app.state.accounts if account.name == name), None)
    if found is None:
        raise HubError(404, "This user does not exist")
    return found


def counts(request: Request, namespace: str) -> dict:
    store = request.app.state.store
    return {f"num{kind.capitalize()}": sum(repo.id.startswith(namespace + "/") for repo in store.all(kind)) for kind in KINDS}


@routes.get("/api/users/{name}/overview")
async def user(request: Request, name: str):
    account = person(request, name)
    return {"user": name, "fullname": account.fullname or name, "avatarUrl": "", "isPro": False, "type": "user",
            "orgs": [{"name": org, "fullname": org, "avatarUrl": ""} for org in account.orgs], **counts(request, name)}


def members(request: Request, name: str) -> list[str]:
    found = list(dict.fromkeys(account.name for account in request.app.state.accounts if name in account.orgs))
    if not found:
        raise HubError(404, "This organization does not exist")
    return found


@routes.get("/api/organizations/{name}/overview")
async def organization(request: Request, name: str):
    people = members(request, name)
    return {"name": name, "fullname": name, "avatarUrl": "", "numUsers": len(people), **counts(request, name)}


@routes.get("/api/organizations/{name}/members")
async def organization_members(request: Request, name: str):
    return page(request, [{"user": user, "fullname": user, "avatarUrl": "", "type": "user"} for user in members(request, name)])


@routes.get("/api/settings/repositories")
@routes.get("/api/organizations/{name}/settings/repositories")
async def storage(request: Request, name: str | None = None):
    account = writer(request, name)
    rows = []
    for kind in KINDS:
        for repo in request.app.state.store.all(kind):
            if repo.id.startswith(f"{name or account.name}/"):
                size = sum(entry.size for entry in repo.files(repo.refs[MAIN]).values())
                rows.append({"id": repo.id, "type": repo.type, "storage": size, "storagePercent": 0,
                             "updatedAt": repo.commit(repo.refs[MAIN])["date"],
                             "visibility": "private" if repo.state["private"] else "public"})
    return page(request, rows)


# --- likes -----------------------------------------------------------------------------------------------------------

@routes.get("/api/users/{name}/likes")
async def likes(request: Request, name: str):
    person(request, name)
    return page(request, [{"createdAt": now(), "repo": {"name": repo.id, "type": repo.type}} for kind in KINDS
                          for repo in request.app.state.store.all(kind) if name in repo.state["likes"]])


@routes.get("/api/{kind}/{ns}/{name}/likers")
async def likers(request: Request):
    repo, _ = open_repo(request)
    return page(request, [{"user": user, "fullname": user, "avatarUrl": ""} for user in repo.state["likes"]])


@routes.post("/api/{kind}/{ns}/{name}/like")
@routes.delete("/api/{kind}/{ns}/{name}/like")
async def like(request: Request):
    repo, _ = open_repo(request)
    account, others = writer(request), repo.state["likes"]
    repo.state["likes"] = [user for user in others if user != account.name]
    if request.method == "POST":
        repo.state["likes"].append(account.name)
    repo.save()
    return {}


# --- gated repositories ----------------------------------------------------------------------------------------------

def access_row(user: str, status: str) -> dict:
    return {"requestId": uuid.uuid4().hex[:24], "status": status, "timestamp": now(),
            "user": {"user": user, "fullname": user, "email": f"{user}@example.org"}}


@routes.post("/{ns}/{name}/ask-access")
@routes.post("/{kind}/{ns}/{name}/ask-access")
async def ask_access(request: Request):
    repo, _ = open_repo(request)
    account = writer(request)
    if not repo.state["gated"]:
        raise HubError(400, "This repository is not gated")
    status = "accepted" if repo.state["gated"] == "auto" else "pending"
    repo.state["access"].setdefault(account.name, access_row(account.name, status))
    repo.save()
    return {}


@routes.get("/api/{kind}/{ns}/{name}/user-access-request/{status}")
async def access_requests(request: Request, status: str):
    repo, _ = open_repo(request, "write")
    if not repo.state["gated"]:
        raise HubError(400, "This repository is not gated")
    return page(request, [row for row in repo.state["access"].values() if row["status"] == status])


@routes.post("/api/{kind}/{ns}/{name}/user-access-request/handle")
async def handle_access(request: Request):
    form = await request.json()
    repo, _ = open_repo(request, "write")
    rows = repo.state["access"].values()
    row = next((r for r in rows if form.get("user") == r["user"]["user"] or form.get("requestId") == r["requestId"]), None)
    if row is None:
        raise HubError(404, "No access request of this user")
    if row["status"] == form["status"]:
        raise HubError(404, f"The access request is already {form['status']}")
    row["status"] = form["status"]
    repo.save()
    return {}


@routes.post("/api/{kind}/{ns}/{name}/user-access-request/grant")
async def grant_access(request: Request):
    form = await request.json()
    repo, _ = open_repo(request, "write")
    if not repo.state["gated"] or form["user"] in repo.state["access"]:
        raise HubError(400, "The repository is not gated, or this user has asked already")
    person(request, form["user"])
    row = access_row(form["user"], "accepted")
    del row["user"]["email"]                        # shared only by who asks for access
    repo.state["access"][form["user"]] = row
    repo.save()
    return {}
