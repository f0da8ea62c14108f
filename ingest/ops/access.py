"""Who may look: nobody is asked by default, because only this machine can; with a secret set, everybody is.

HTTP Basic (a name and a password, which browsers ask people for) and Bearer (a token, for programs) are
taken, whichever is configured. `OPEN_PATHS` answer without: orchestrators' probes bring no secrets, and what
is told there is yes or no and the numbers of shards. Everything else, `/freshz` and `/metrics` included,
names symbols and wants a secret.

Secrets are compared in constant time, by digests, so that neither their beginning nor their length can be
felt for. They are in no answer and no log.
"""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

log = structlog.get_logger()

OPEN_PATHS = frozenset({"/livez", "/readyz"})

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """What must be brought; all empty: nothing. A name without a password is no secret."""

    user: str = ""
    password: str = ""
    token: str = ""

    @property
    def is_open(self) -> bool:
        """Whether anybody may look."""
        return not self.password and not self.token

    def admits(self, authorization: str) -> bool:
        """Whether an Authorization header brings one of the secrets."""
        scheme, _, given = authorization.partition(" ")
        given = given.strip()
        if scheme.lower() == "bearer" and self.token:
            return _is_same(given.encode(errors="surrogateescape"), self.token.encode())
        if scheme.lower() == "basic" and self.password:
            return _is_same(_decoded(given), f"{self.user}:{self.password}".encode())
        return False

    def challenges(self) -> list[str]:
        """What a browser or program is told to bring."""
        basic = ['Basic realm="ingest", charset="UTF-8"'] if self.password else []
        bearer = ['Bearer realm="ingest"'] if self.token else []
        return basic + bearer


def _decoded(given: str) -> bytes:
    try:
        return base64.b64decode(given, validate=True)
    except ValueError:
        return b""


def _is_same(given: bytes, wanted: bytes) -> bool:
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(wanted).digest())


def guard(access: Access) -> Middleware:
    """Let through who brings a secret, or asks at an open path; answer 401 to the others."""

    @web.middleware
    async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if access.is_open or request.path in OPEN_PATHS:
            return await handler(request)
        if access.admits(request.headers.get("Authorization", "")):
            return await handler(request)
        log.info("http.refused", path=request.path, remote=request.remote)
        return _refusal(access)

    return guarded


def _refusal(access: Access) -> web.Response:
    response = web.Response(
        status=401, text="this wants a password or token: see [http] in the configuration\n"
    )
    for challenge in access.challenges():
        response.headers.add("WWW-Authenticate", challenge)
    return response
