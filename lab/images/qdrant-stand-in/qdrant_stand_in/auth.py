"""API keys as Qdrant checks them (src/common/auth/mod.rs, src/actix/mod.rs of qdrant 1.19.0)."""

import hmac
from collections.abc import Mapping
from enum import Enum

PUBLIC_PATHS = frozenset({"/", "/healthz", "/readyz", "/livez"})


class Access(Enum):
    NONE = "none"
    READ = "read"
    WRITE = "write"


class Unauthorized(Exception):
    """No key or a wrong one; the message is the plain-text body of the 401."""


class Keys:
    """The configured keys; with none configured everybody may write."""

    def __init__(self, api_key: str | None, read_only_api_key: str | None) -> None:
        self._write = api_key
        self._read = read_only_api_key

    def access(self, headers: Mapping[str, str]) -> Access:
        """What the request's headers allow. Raises Unauthorized when they allow nothing."""
        if self._write is None and self._read is None:
            return Access.WRITE
        key = headers.get("api-key")
        if key is None:
            authorization = headers.get("authorization", "")
            if not authorization.startswith("Bearer "):
                raise Unauthorized("Must provide an API key or an Authorization bearer token")
            key = authorization.removeprefix("Bearer ")
        if _equal(key, self._write):
            return Access.WRITE
        if _equal(key, self._read):
            return Access.READ
        raise Unauthorized("Invalid API key or JWT")


def _equal(given: str, expected: str | None) -> bool:
    return expected is not None and hmac.compare_digest(given.encode(), expected.encode())
