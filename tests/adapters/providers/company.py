"""A payment company on a loopback port, as far as all have the same: HTTP, outages, lost answers, webhooks sent out.

What a company does with a request is in `stripe_company.py` and `razorpay_company.py`. They stand for clouds that
cannot run here, and keep books that tests read directly.
"""

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Json = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request; `fields` are those of its body or of its query."""

    method: str
    path: str
    fields: Mapping[str, Any]
    headers: Mapping[str, str]


class Answered(Exception):
    """Ends the handling of a request with an error answer."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


@dataclass
class Webhook:
    """A webhook as the company sends it."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Trouble:
    """What goes wrong next: each counts requests that create something at a path that contains `at`."""

    at: str = ""
    answers_lost: int = 0
    """Acted upon, then the connection drops."""
    turned_away: int = 0
    """429: not acted upon."""
    broken: int = 0
    """500 after acting: the company itself does not know."""
    garbled: int = 0
    """200 with a body that is not JSON."""


class Company(ABC):
    """The server; one request at a time, so that its books need no locks."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.asked: list[Asked] = []
        self.webhooks: list[Webhook] = []
        self._serial = 0
        self._one_at_a_time = threading.Lock()
        company = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                company._handle(self)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @abstractmethod
    def answer(self, asked: Asked) -> Json:
        """The body of a 200. Raises `Answered` for anything else."""

    @abstractmethod
    def taken(self, invoice_id: str) -> list[int]:
        """Every amount taken for that invoice and not given back, in minor units."""

    def new_id(self, prefix: str) -> str:
        self._serial += 1
        return f"{prefix}_{self._serial:04}"

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        raw = request.rfile.read(int(request.headers.get("content-length", "0")))
        asked = _read(request, raw)
        with self._one_at_a_time:
            self.asked.append(asked)
            creates = asked.method == "POST" and self.trouble.at in asked.path
            if creates and self._happens("turned_away"):
                _send(request, 429, {"error": {"message": "too many requests", "description": "slow down"}})
                return
            try:
                status, body = 200, self.answer(asked)
            except Answered as refused:
                status, body = refused.status, refused.body
            if creates and self._happens("answers_lost"):
                request.close_connection = True
                request.connection.close()
                return
            if creates and self._happens("broken"):
                _send(request, 500, {"error": {"message": "we do not know", "code": "SERVER_ERROR"}})
                return
            if creates and self._happens("garbled"):
                _send(request, 200, None)
                return
        _send(request, status, body)

    def _happens(self, trouble: str) -> bool:
        left: int = getattr(self.trouble, trouble)
        setattr(self.trouble, trouble, max(left - 1, 0))
        return left > 0


def _read(request: BaseHTTPRequestHandler, raw: bytes) -> Asked:
    address = urlsplit(request.path)
    headers = {name.lower(): value for name, value in request.headers.items()}
    fields: Mapping[str, Any] = dict(parse_qsl(address.query))
    if raw:
        is_json = "json" in headers.get("content-type", "")
        fields = json.loads(raw) if is_json else dict(parse_qsl(raw.decode(), keep_blank_values=True))
    return Asked(request.command, address.path, fields, headers)


def _send(request: BaseHTTPRequestHandler, status: int, body: Json | None) -> None:
    data = b"<html>" if body is None else json.dumps(body).encode()
    request.send_response(status)
    request.send_header("content-type", "application/json")
    request.send_header("content-length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def nested(fields: Mapping[str, Any], name: str) -> dict[str, str]:
    """`name[a]=1&name[b]=2` as a mapping."""
    return {key[len(name) + 1 : -1]: value for key, value in fields.items() if key.startswith(f"{name}[")}
