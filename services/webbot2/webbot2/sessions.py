"""The signed session cookie: it holds the visitor, the server holds nothing."""

from aiohttp import web
from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import ValidationError

from webbot2.models import Visitor

COOKIE = "webbot2_session"
LIFETIME_SECONDS = 30 * 24 * 3600


class Sessions:
    """Writes and reads the session cookie with one signing key."""

    def __init__(self, key: bytes) -> None:
        self._serializer = URLSafeTimedSerializer(key, salt=COOKIE)

    def start(self, request: web.Request, response: web.StreamResponse, visitor: Visitor) -> None:
        """Set the cookie; it is Secure when the browser came over HTTPS (or a proxy says so)."""
        response.set_cookie(
            COOKIE,
            self._serializer.dumps(visitor.model_dump()),
            max_age=LIFETIME_SECONDS,
            httponly=True,
            samesite="Lax",
            secure=request.headers.get("X-Forwarded-Proto", request.scheme) == "https",
        )

    def end(self, response: web.StreamResponse) -> None:
        """Remove the cookie from the browser."""
        response.del_cookie(COOKIE, httponly=True, samesite="Lax")

    def visitor(self, request: web.Request) -> Visitor | None:
        """The visitor, or None for a missing, expired or tampered cookie."""
        try:
            data = self._serializer.loads(request.cookies.get(COOKIE, ""), max_age=LIFETIME_SECONDS)
            return Visitor.model_validate(data)
        except (BadSignature, ValidationError):
            return None
