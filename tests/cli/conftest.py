"""The command line as a person calls it: arguments in, exit code, stdout and stderr out."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from starter import cli

Answer = tuple[int, Any]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What `--json` printed."""
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any) -> Run:
    """Calls `durabill ...` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["durabill", *arguments])
        capsys.readouterr()
        code = cli.run()
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call


@dataclass
class Seen:
    """One request that the API got."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class WrittenApi:
    """An HTTP server that answers what a test wrote down: it stands for the API where only the command is tested."""

    url: str = ""
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Any, status: int = 200) -> None:
        """The next answer to `method path` (without /v1); the last one is repeated."""
        self.answers.setdefault((method, path), []).append((status, body))

    def items(self, path: str, *items: Any) -> None:
        """A list that fits into one page."""
        self.answer("GET", path, {"items": items, "pagination": {"total": len(items), "limit": 200, "offset": 0}})

    def next(self, seen: Seen) -> Answer:
        """Notes the request and gives its answer."""
        self.seen.append(seen)
        waiting = self.answers.get((seen.method, seen.path))
        if not waiting:
            return 404, {"code": "not_found", "message": f"no {seen.path}", "http_status_code": 404}
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[WrittenApi]:
    """A written API that the commands are pointed at, with the key `sk_test`."""
    written = WrittenApi()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            split = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            seen = Seen(
                self.command,
                split.path.removeprefix("/v1"),
                parse_qs(split.query),
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(raw) if raw else None,
            )
            status, body = written.next(seen)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            if status == 503:
                self.send_header("retry-after", "0")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            """Silence: the tests look at what was seen."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    written.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("DURABILL_URL", written.url)
    monkeypatch.setenv("DURABILL_API_KEY", "sk_test")
    yield written
    server.shutdown()
    server.server_close()
    thread.join()
