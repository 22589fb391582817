"""An answer that is a refusal. The client library chooses its exception by the X-Error-Code header."""
from fastapi.responses import JSONResponse


class HubError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None, **body):
        self.status, self.message, self.code, self.body = status, message, code, body

    def response(self) -> JSONResponse:
        header = self.message.replace("\n", " ").encode("ascii", "replace").decode()
        headers = {"X-Error-Message": header} | ({"X-Error-Code": self.code} if self.code else {})
        return JSONResponse({"error": self.message, **self.body}, self.status, headers)
