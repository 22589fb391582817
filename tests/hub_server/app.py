"""Puts the routes together. Order matters: the most general path comes last."""
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.requests import ClientDisconnect

from . import files, info, lfs, people, pulls, refs, repos, spaces, upload, web
from .access import Account, Moved, caller, missing
from .errors import HubError
from .store import KINDS, Store


def build(store: Store, accounts: tuple[Account, ...], uploads: str, part_size: int) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.store, app.state.accounts = store, accounts
    app.state.uploads, app.state.part_size, app.state.uploads_open = uploads, part_size, {}
    for module in (people, repos, refs, upload, lfs, pulls, spaces, info, files, web):
        app.include_router(module.routes)

    @app.exception_handler(HubError)
    async def refused(request: Request, error: HubError):
        return error.response()

    @app.exception_handler(Moved)
    async def moved(request: Request, error: Moved):
        return RedirectResponse(str(request.url).replace(f"/{error.old}", f"/{error.new}", 1), 307)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect):
        return Response(status_code=400)         # nobody is there to read it

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def unknown(request: Request, error):
        """No such route. A path with a one-word repository id ends here too, and is a repository that does not exist."""
        parts = request.url.path.strip("/").split("/")
        of_repo = (parts[0] == "api" and len(parts) > 2 and parts[1] in KINDS) or "resolve" in parts
        if of_repo and not store.get(parts[1], "/".join(parts[2:4])):
            try:
                return missing(caller(request)).response()
            except HubError as bad_token:
                return bad_token.response()
        if "xet" in request.url.path:
            return HubError(404, "This Hub has no Xet storage: set HF_HUB_DISABLE_XET=1 and try again").response()
        return JSONResponse({"error": "Sorry, we can't find the page you are looking for."}, 404)

    return app
