"""ClickHouse's HTTP interface in front of the in-process chDB engine.

Owns one data folder and answers on one loopback port, so that `clickhouse-connect` (sync and async) and curl talk to it
as to a ClickHouse server. It is a process of its own (`python -m deploy.embedded.clickhouse_front`), because the engine
allows one process per data folder. Every request gets an engine connection of its own (0.2 ms): USE, SET and temporary
tables of one request never reach another. `session_id` is accepted and has no effect; users are not checked.
Interface: https://clickhouse.com/docs/interfaces/http
"""

import argparse
import asyncio
import gzip
import json
import os
import re
import uuid
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import lz4.frame
import uvicorn
import zstandard
from chdb import _chdb

from deploy.embedded.clickhouse_sql import output_format, split_insert

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

CONNECTIONS = 4
"""Requests that run in the engine at the same time; more wait in a queue."""

_NOT_SETTINGS = {
    "buffer_size", "client_protocol_version", "compress", "database", "decompress", "default_format", "password",
    "query", "query_id", "quota_key", "role", "session_check", "session_id", "session_timeout", "user",
    "wait_end_of_query",
}  # fmt: skip
_ONLY_HTTP_SETTINGS = {
    "cancel_http_readonly_queries_on_client_close", "enable_http_compression", "http_headers_progress_interval_ms",
    "send_progress_in_http_headers",
}  # fmt: skip
_BOUNDARY = re.compile(r'boundary=(?:"(?P<quoted>[^"]+)"|(?P<plain>[^;\s]+))', re.IGNORECASE)
_PART_NAME = re.compile(rb'[;\s]name="([^"]*)"', re.IGNORECASE)
_PART_FILE = re.compile(rb"[;\s]filename\*?=", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)\. ")
_STATUS = {
    **dict.fromkeys((6, 26, 27, 33, 36, 38, 41, 43, 53, 62, 72, 108, 130, 456, 457), 400),
    516: 403,
    **dict.fromkeys((46, 47, 50, 56, 60, 73, 81, 115), 404),
    241: 500,
    159: 408,
}
"""HTTP status by ClickHouse's error code (its HTTPHandler's table, the codes that a client meets); others are 500."""


class RequestError(Exception):
    """A request that never reaches the engine; text and code are written as ClickHouse writes them."""

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}. ({name})")


@dataclass(frozen=True)
class Request:
    """One request: its statement with the data after it, and what the client asked for."""

    text: bytes
    database: str
    read_only: bool
    default_format: str = "TabSeparated"
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What the engine gave back: the body in `format`, and the counts of the summary header."""

    body: bytes
    format: str
    summary: Mapping[str, str]


class Engine:
    """The chDB engine over one folder. Thread-safe: each call of `run` opens a connection of its own."""

    def __init__(self, data: Path, max_memory: int) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._data = data
        # The module is native code without type stubs.
        self._connect: Callable[[str], Any] = vars(_chdb)["connect"]
        # Deviations of the embedded engine from a server's defaults are put right here.
        self._options = (
            f"async_insert=0&implicit_select=0&allow_introspection_functions=0&max_memory_usage={max_memory}"
        )
        # The engine lives as long as one connection is open.
        self._keeper = self._connect(f"{data}?{self._options}")
        self.version = self._keeper.query("SELECT version()", "TabSeparated").bytes().decode().strip()

    def run(self, request: Request) -> Answer:
        """Executes one request. Raises RuntimeError with ClickHouse's code and text."""
        if "&" in request.database:
            raise RequestError(81, "UNKNOWN_DATABASE", f"Database {request.database} does not exist")
        readonly = "&readonly=2" if request.read_only else ""
        connection = self._connect(f"{self._data}?{self._options}&database={request.database}{readonly}")
        try:
            if request.settings:
                connection.query(_set_statement(request.settings), "TabSeparated")
            return _execute(connection, request)
        finally:
            connection.close()

    def close(self) -> None:
        """Closes the engine; what was acknowledged is on disk already."""
        self._keeper.close()


def _set_statement(settings: Mapping[str, str]) -> str:
    for name in settings:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
            raise RequestError(115, "UNKNOWN_SETTING", f"Setting {name} is neither a builtin setting nor a custom one")
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in settings.items()}
    return "SET " + ", ".join(f"{name} = '{value}'" for name, value in quoted.items())


def _execute(connection: Any, request: Request) -> Answer:
    if not request.text.strip():
        raise RequestError(62, "SYNTAX_ERROR", "Syntax error: Empty query")
    insert = split_insert(request.text)
    # The query path alone replaces parameters inside VALUES; it also answers an INSERT without data (code 108).
    if insert and insert.data.strip() and not (insert.format == "Values" and request.parameters):
        stream = connection.send_insert(insert.statement, insert.format)
        connection.insert_append(stream, insert.data)
        done = connection.insert_done(stream)
        written = {"written_rows": str(done.rows_written()), "written_bytes": str(done.bytes_written())}
        return Answer(b"", request.default_format, {"read_rows": "0", "read_bytes": "0", **written})
    statement = request.text
    if insert is None and b";" in statement.rstrip().rstrip(b";"):
        _refuse_several(connection, statement)
    result = connection.query(statement, request.default_format, params=dict(request.parameters))
    summary = {
        "read_rows": str(result.rows_read()),
        "read_bytes": str(result.bytes_read()),
        "written_rows": str(result.rows_written()),
        "written_bytes": str(result.bytes_written()),
        "result_rows": str(result.rows_read()),
    }
    return Answer(result.bytes(), output_format(statement, request.default_format), summary)


def _refuse_several(connection: Any, statement: bytes) -> None:
    if connection.classify_query(statement)["statement_count"] > 1:
        raise RequestError(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")


def decompressed(body: bytes, encoding: str) -> bytes:
    """A request's body after its Content-Encoding (lz4 frame, zstd, gzip, deflate or none)."""
    try:
        if encoding in ("", "identity"):
            return body
        if encoding == "lz4":
            return _all_frames(body, lz4.frame.LZ4FrameDecompressor)
        if encoding == "zstd":
            return _all_frames(body, zstandard.ZstdDecompressor().decompressobj)
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
    except (RuntimeError, zstandard.ZstdError, OSError, EOFError, zlib.error) as error:
        raise RequestError(271, "CANNOT_DECOMPRESS", f"Cannot decompress a body sent as {encoding}: {error}") from error
    raise RequestError(
        48, "UNKNOWN_COMPRESSION_METHOD", f"Content-Encoding {encoding}; send lz4, zstd, gzip or deflate"
    )


def _all_frames(body: bytes, new_decoder: Callable[[], Any]) -> bytes:
    # Clients send one frame per block, and a decoder stops without a word after the first.
    blocks = []
    rest = body
    while rest:
        decoder = new_decoder()
        blocks.append(decoder.decompress(rest))
        if not decoder.eof:
            raise EOFError("the body ends within a compressed frame")
        rest = decoder.unused_data or b""
    return b"".join(blocks)


def compressed(body: bytes, accepted: str) -> tuple[bytes, str]:
    """An answer's body in the first known encoding of `accepted`, and the name of that encoding ('' for none)."""
    if len(body) < 1024:
        return body, ""
    for name in (part.split(";")[0].strip() for part in accepted.split(",")):
        if name == "lz4":
            return lz4.frame.compress(body), name
        if name == "zstd":
            return zstandard.ZstdCompressor(level=1).compress(body), name
        if name == "gzip":
            return gzip.compress(body, 1), name
    return body, ""


def parsed(method: str, query_string: str, headers: Mapping[str, str], body: bytes) -> Request:
    """A Request from the parts of an HTTP request: SQL may stand in `query=`, in the body, or half in each."""
    fields = dict(parse_qsl(query_string, keep_blank_values=True))
    content_type = headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        fields |= _form(content_type, body)
        body = b""
    data = decompressed(body, headers.get("content-encoding", ""))
    statement = fields.get("query", "").encode()
    text = statement + b"\n" + data if statement and data else statement or data
    settings = {
        name: value
        for name, value in fields.items()
        if name not in _NOT_SETTINGS and name not in _ONLY_HTTP_SETTINGS and not name.startswith("param_")
    }
    return Request(
        text=text,
        database=fields.get("database") or headers.get("x-clickhouse-database") or "default",
        read_only=method != "POST",
        default_format=fields.get("default_format") or headers.get("x-clickhouse-format") or "TabSeparated",
        settings=settings,
        parameters={name[6:]: value for name, value in fields.items() if name.startswith("param_")},
    )


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a multipart form (RFC 7578). By hand, because each query with parameters comes as one."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise RequestError(79, "INCORRECT_DATA", "multipart/form-data without a boundary")
    fields: dict[str, str] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + (boundary["quoted"] or boundary["plain"]).encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        found = _PART_NAME.search(head)
        name = found[1].decode() if found else ""
        if _PART_FILE.search(head):
            text = f"External table {name}: the embedded engine takes none; set DURABILL_CLICKHOUSE_DSN to a server"
            raise RequestError(79, "INCORRECT_DATA", text)
        fields[name] = content.decode()
    return fields


class Front:
    """The ASGI application: one route for statements, `/ping` for probes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="engine")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one HTTP request (ASGI 3)."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query_string = scope["query_string"].decode()
        body = await _whole_body(receive)
        if scope["path"] in ("/ping", "/replicas_status") or (scope["method"] == "GET" and not query_string):
            await _reply(send, 200, b"Ok.\n", {})
            return
        query_id = dict(parse_qsl(query_string)).get("query_id") or str(uuid.uuid4())
        always = {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Server-Display-Name": "embedded",
        }
        try:
            request = parsed(scope["method"], query_string, headers, body)
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._engine.run, request)
        except (RequestError, RuntimeError) as error:
            await self._reply_error(send, str(error), always)
            return
        always |= {"X-ClickHouse-Format": answer.format, "X-ClickHouse-Summary": json.dumps(answer.summary)}
        wanted = "enable_http_compression=1" in query_string
        content, encoding = compressed(answer.body, headers.get("accept-encoding", "")) if wanted else (answer.body, "")
        if encoding:
            always["Content-Encoding"] = encoding
        await _reply(send, 200, content, always)

    async def _reply_error(self, send: Send, text: str, headers: Mapping[str, str]) -> None:
        found = _CODE.search(text)
        code = int(found.group(1)) if found else 1002
        # The engine repeats the prefix of an error that crossed its threads.
        text = re.sub(rf"^(Code: {code}\. DB::Exception: )+", rf"Code: {code}. DB::Exception: ", text)
        if "(version " not in text:
            text += f" (version {self._engine.version} (embedded))"
        headers = {**headers, "X-ClickHouse-Exception-Code": str(code)}
        await _reply(send, _STATUS.get(code, 500), text.encode() + b"\n", headers)


async def _whole_body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return b"".join(parts)


async def _reply(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    plain = {"Content-Type": "text/plain; charset=UTF-8", "Content-Length": str(len(body)), **headers}
    pairs = [(name.lower().encode(), value.encode()) for name, value in plain.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def _quarter_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def main() -> None:
    """Serves the folder `--data` on `--port` until SIGTERM or SIGINT."""
    options = argparse.ArgumentParser(prog="clickhouse_front")
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--max-memory", type=int, default=_quarter_of_memory(), help="bytes a query may use")
    chosen = options.parse_args()
    engine = Engine(chosen.data, chosen.max_memory)
    try:
        uvicorn.run(
            Front(engine),
            host=chosen.host,
            port=chosen.port,
            http="httptools",
            log_level="warning",
            access_log=False,
            timeout_keep_alive=600,
            timeout_graceful_shutdown=5,
            server_header=False,
            lifespan="off",
        )
    finally:
        engine.close()


if __name__ == "__main__":
    main()
