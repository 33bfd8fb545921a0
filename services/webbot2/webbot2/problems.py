"""Errors as RFC 9457 problem details with a stable `code` the page translates."""

import json

from aiohttp import web

CONTENT_TYPE = "application/problem+json"


def problem(status: int, code: str, title: str, detail: str) -> web.Response:
    """A problem response; `detail` says what was wrong and what would be right."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return web.Response(
        status=status,
        body=json.dumps(body, ensure_ascii=False).encode(),
        content_type=CONTENT_TYPE,
    )
