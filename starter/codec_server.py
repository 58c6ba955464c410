"""The codec server: decrypts payloads for people who look at Temporal's UI or CLI. Owns no keys and no encryption.

The UI of a server without a login of its own sends no header, only cookies; `/login` sets the one that counts.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import parse_qs

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload, Payloads

from activities.adapters.payload_encryption import PayloadEncryption, PayloadRefused

COOKIE = "durabill_codec"
FORM = """<!doctype html><title>durabill codec server</title><form method="post">
<label>Token <input type="password" name="token" autofocus></label> <button>Log in</button></form>"""


class CodecServer:
    """`/encode`, `/decode` and `/login` for those who know the token."""

    def __init__(self, encryption: PayloadEncryption, token: str) -> None:
        self._encryption = encryption
        self._token = token.encode()
        self._pass = hmac.new(self._token, COOKIE.encode(), sha256).hexdigest()

    def app(self, origin: str) -> Starlette:
        """The ASGI application; `origin` is the only web page that may read answers, such as `http://localhost:8233`."""
        cors = Middleware(
            CORSMiddleware,
            allow_origins=[origin],
            allow_methods=["POST"],
            allow_headers=["authorization", "content-type", "x-namespace"],
            allow_credentials=True,
        )
        routes = [
            Route("/encode", self.encode, methods=["POST"]),
            Route("/decode", self.decode, methods=["POST"]),
            Route("/login", self.form, methods=["GET"]),
            Route("/login", self.login, methods=["POST"]),
        ]
        return Starlette(routes=routes, middleware=[cors])

    async def encode(self, request: Request) -> Response:
        """Payloads that somebody types in the UI, encrypted."""
        return await self._answer(request, decoding=False)

    async def decode(self, request: Request) -> Response:
        """Payloads of a history, readable."""
        return await self._answer(request, decoding=True)

    async def form(self, request: Request) -> Response:
        """Asks for the token."""
        return HTMLResponse(FORM)

    async def login(self, request: Request) -> Response:
        """Lets this browser in until it is closed."""
        given = parse_qs((await request.body()).decode(errors="replace")).get("token", [""])[0]
        if not self._is_token(given):
            return HTMLResponse("That is not the token.", 401)
        answer = HTMLResponse("Payloads are readable in the Temporal UI now.")
        answer.set_cookie(COOKIE, self._pass, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    async def _answer(self, request: Request, decoding: bool) -> Response:
        if not self._may(request):
            return _refusal(401, "log in at /login, or send `Authorization: Bearer` with DURABILL_CODEC_SERVER_TOKEN")
        try:
            given = _payloads(await request.json())
            work = self._encryption.decode if decoding else self._encryption.encode
            return JSONResponse(MessageToDict(Payloads(payloads=await work(given))))
        except PayloadRefused as problem:
            return _refusal(400, str(problem))
        except (ParseError, ValueError):
            return _refusal(400, 'the body must be {"payloads": [...]} with bytes in base64, as Temporal sends it')

    def _may(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        cookie = request.cookies.get(COOKIE, "")
        return (scheme.lower() == "bearer" and self._is_token(given)) or _same(cookie.encode(), self._pass.encode())

    def _is_token(self, given: str) -> bool:
        return _same(given.encode(), self._token)


def _payloads(body: object) -> Sequence[Payload]:
    if not isinstance(body, dict):
        raise ValueError("not an object")
    return ParseDict(body, Payloads()).payloads


def _same(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)


def _refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse({"message": message}, status)
