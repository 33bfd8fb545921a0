"""Errors that clients see, as application/problem+json (RFC 9457)."""

from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

RETRY_AFTER = 5

Dependency = Literal["saiga", "qdrant", "postgres", "embedder"]


class Problem(Exception):
    """A request that cannot be answered: an HTTP status, a stable code and one sentence."""

    def __init__(self, status: HTTPStatus, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail

    def content(self, **extra: Any) -> dict[str, Any]:
        """The members of the problem document, `extra` ones included."""
        return {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "code": self.code,
            "detail": self.detail,
            **extra,
        }

    def response(self, **extra: Any) -> JSONResponse:
        """The problem as a response; one worth retrying says after how many seconds."""
        headers = {}
        if self.status is HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = str(RETRY_AFTER)
        return JSONResponse(
            self.content(**extra), self.status, headers, media_type="application/problem+json"
        )


class Unavailable(Problem):
    """A service that an answer needs did not do its part."""

    def __init__(self, dependency: Dependency, detail: str) -> None:
        sentence = " ".join(detail.split())
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE, f"{dependency}_unavailable", f"{dependency}: {sentence}"
        )


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # The offending input is left out: it may hold what JSON cannot carry.
    errors = [
        {"field": ".".join(str(part) for part in each["loc"][1:]), "message": each["msg"]}
        for each in error.errors()
    ]
    detail = "; ".join(f"{each['field'] or 'body'}: {each['message']}" for each in errors)
    problem = Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail)
    return problem.response(errors=errors)


async def _http_exception(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    response = Problem(status, status.name.lower(), error.detail).response()
    response.headers.update(error.headers or {})
    return response


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return Problem(status, "internal_error", "the request failed, see the service's log").response()


def install(app: FastAPI) -> None:
    """Give every error of `app` the problem form."""
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)
