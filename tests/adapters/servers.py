"""Counterparts of the adapters: the fake payment company as a real process, and an HTTP receiver that records."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

import httpx

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class ProviderProcess:
    """The fake payment company; `kill` is kill -9, `start` again goes on with the same books and port."""

    books: Path
    port: int
    webhook_url: str
    webhook_secret: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = ["--port", str(self.port), "--books", str(self.books)]
        secrets = {
            "DURABILL_SANDBOX_WEBHOOK_URL": self.webhook_url,
            "DURABILL_SANDBOX_WEBHOOK_SECRET": self.webhook_secret,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "starter.sandbox_provider", *arguments], cwd=ROOT, env=os.environ | secrets
        )

    async def ready(self) -> None:
        async with httpx.AsyncClient() as client, asyncio.timeout(30):
            while True:
                assert self.process is not None
                assert self.process.poll() is None, "the provider process has died"
                try:
                    await client.get(f"{self.url}/healthz")
                    return
                except httpx.TransportError:
                    await asyncio.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Received:
    """One request as the receiver saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What the receiver says; `silent` keeps the connection open and says nothing."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"thanks"
    silent: bool = False


class Receiver:
    """A customer's webhook endpoint on a loopback port; `answers` are given in turn, afterwards 200."""

    def __init__(self) -> None:
        self.received: Queue[Received] = Queue()
        self.answers: list[Answer] = []
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.handle(self)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = self.answers.pop(0) if self.answers else Answer()
        self.received.put(Received(request.command, request.path, headers, body))
        if answer.silent:
            self.released.wait(30)
            request.close_connection = True
            return
        request.send_response(answer.status)
        for name, value in answer.headers.items():
            request.send_header(name, value)
        request.send_header("content-length", str(len(answer.body)))
        request.end_headers()
        request.wfile.write(answer.body)

    async def next(self) -> Received:
        return await asyncio.to_thread(self.received.get, timeout=30)

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
