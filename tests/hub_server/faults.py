"""Sits in front of the server: writes the call log, and spoils the calls that a fault rule names."""
import asyncio
import json
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass
class Fault:
    """What happens to calls whose path matches `pattern` (a regular expression, searched in the decoded path)."""
    pattern: str
    method: str | None = None          # None: any
    times: float = float("inf")        # how many calls are spoilt before the rule is spent
    delay: float = 0                   # seconds to wait before going on
    status: int | None = None          # answer this; the call is never handled
    headers: dict = field(default_factory=dict)      # sent with `status`, such as Retry-After or X-Error-Code
    drop: bool = False                 # close the connection before the call is handled
    cut: int | None = None             # handle the call, then close after this many bytes of the answer's body
    rate: float | None = None          # handle the call, and send its body at this many bytes a second

    def takes(self, method: str, path: str) -> bool:
        if self.times <= 0 or self.method not in (None, method) or not re.search(self.pattern, path):
            return False
        self.times -= 1
        return True


class Protocol(H11Protocol):
    """uvicorn's own, which also remembers each connection's transport so that a fault can cut it."""
    transports: dict = {}

    def connection_made(self, transport):
        super().connection_made(transport)
        self.transports[self.client, self.server] = transport

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.transports.pop((self.client, self.server), None)


class Front:
    """The ASGI application that uvicorn serves."""

    def __init__(self, app):
        self.app, self.calls, self.faults = app, [], []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        # Routes see the path as it was sent, so that the %2F in a revision such as refs%2Fpr%2F1 is no separator.
        scope = scope | {"path": scope["raw_path"].decode()}
        path = unquote(scope["path"])
        call = {"method": scope["method"], "path": path, "query": scope["query_string"].decode(), "status": None, "bytes": 0}
        self.calls.append(call)
        sent = {key: value for key, value in scope["headers"] if key in (b"x-request-id", b"x-amzn-trace-id")}
        request_id = sent.get(b"x-request-id") or sent.get(b"x-amzn-trace-id") or b"local"
        cut = rate = None
        for fault in self.faults:
            if fault.takes(scope["method"], path):
                try:
                    await asyncio.sleep(fault.delay)
                except asyncio.CancelledError:          # the server stops meanwhile
                    return await self.hang_up(scope)
                if fault.drop:
                    return await self.hang_up(scope)
                if fault.status:
                    return await self.refuse(fault, call, send)
                cut = fault.cut if cut is None else cut
                rate = fault.rate if rate is None else rate

        async def watched(message):
            if message["type"] == "http.response.start":
                call["status"] = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id)]
            else:
                body = message.get("body", b"")
                if cut is not None and call["bytes"] + len(body) >= cut:
                    body = body[:cut - call["bytes"]]
                    call["bytes"] += len(body)
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    await asyncio.sleep(0.02)       # let what was sent leave before the line goes dead
                    return await self.hang_up(scope)
                call["bytes"] += len(body)
                if rate:
                    await asyncio.sleep(len(body) / rate)
            await send(message)

        await self.app(scope, receive, watched)

    async def hang_up(self, scope):
        Protocol.transports[scope["client"], scope["server"]].abort()
        await asyncio.sleep(0)      # uvicorn learns of it before this call returns to it without an answer

    async def refuse(self, fault, call, send):
        body = json.dumps({"error": f"fault rule: {fault.status}"}).encode()
        call["status"], call["bytes"] = fault.status, len(body)
        headers = {"content-type": "application/json", "content-length": str(len(body))} | fault.headers
        await send({"type": "http.response.start", "status": fault.status,
                    "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()]})
        await send({"type": "http.response.body", "body": body})
