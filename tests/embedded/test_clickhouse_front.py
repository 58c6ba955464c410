"""The HTTP front speaks ClickHouse: what the official clients, sync and async, need from a server."""

import gzip
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import clickhouse_connect
import httpx
import lz4.frame
import pytest
import zstandard
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.parts import Parts

COLUMNS = ["id", "name", "amount", "at", "note", "labels"]
TABLE = """
    CREATE TABLE facts (id UInt64, name String, amount Decimal(38, 15), at DateTime64(3, 'UTC'), note Nullable(String),
    labels Map(String, String)) ENGINE = MergeTree ORDER BY id
"""


def rows(count: int) -> list[list[object]]:
    """Rows with what is hard to carry: quotes, semicolons, other scripts, exact decimals, nulls, maps."""
    at = datetime(2025, 1, 31, 23, 59, 59, 999000, tzinfo=UTC)
    return [[i, f"a;'b\\ कावेरी {i}", Decimal("0.000000000000001") * i, at, None, {"k": "v"}] for i in range(count)]


@pytest.fixture
def client(new_clickhouse_dsn: str) -> Iterator[Client]:
    with clickhouse_connect.get_client(dsn=new_clickhouse_dsn) as client:
        client.command(TABLE)
        yield client


@pytest.fixture
async def async_client(client: Client, new_clickhouse_dsn: str) -> AsyncIterator[AsyncClient]:
    async_client = await clickhouse_connect.get_async_client(dsn=new_clickhouse_dsn)
    yield async_client
    await async_client.close()


@pytest.mark.parametrize("compression", [True, "lz4", "zstd", "gzip", False])
def test_every_row_arrives_with_every_compression(
    new_clickhouse_dsn: str, client: Client, compression: str | bool
) -> None:
    # More than one block of 65,536 rows: a client sends one compressed frame a block.
    sent = rows(150_000)
    with clickhouse_connect.get_client(dsn=new_clickhouse_dsn, compress=compression) as writer:
        assert writer.insert("facts", sent, column_names=COLUMNS).written_rows == 150_000
        first, last = writer.query("SELECT * FROM facts WHERE id IN (0, 149999) ORDER BY id").result_rows
    assert first[:3] == (0, sent[0][1], Decimal(0))
    assert last[:3] == (149_999, sent[-1][1], Decimal("0.000000000149999"))
    assert last[4:] == (None, {"k": "v"})
    totals = client.query("SELECT count(), uniqExact(id), sum(amount), toString(max(at)) FROM facts").first_row
    assert totals == (150_000, 150_000, Decimal("0.000011249925000"), "2025-01-31 23:59:59.999")


async def test_async_client(async_client: AsyncClient) -> None:
    await async_client.insert("facts", rows(70_000), column_names=COLUMNS)
    answer = await async_client.query("SELECT count() FROM facts WHERE id < {limit:UInt64}", parameters={"limit": 10})
    assert answer.result_rows == [(10,)]
    with pytest.raises(DatabaseError) as refused:
        await async_client.query("SELECT * FROM nowhere")
    assert refused.value.code == 60


@pytest.mark.parametrize(
    ("statement", "code", "name"),
    [
        ("SELEC 1", 62, "SYNTAX_ERROR"),
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE"),
        ("SELECT nothing FROM facts", 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT throwIf(number = 5) FROM numbers(10)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT {missing:UInt8}", 456, "UNKNOWN_QUERY_PARAMETER"),
        ("SELECT 1; SELECT 2", 62, "Multi-statements"),
        ('INSERT INTO facts (id) FORMAT JSONEachRow {"id": "z"}', 27, "CANNOT_PARSE_INPUT"),
    ],
)
def test_errors_carry_code_and_text(client: Client, statement: str, code: int, name: str) -> None:
    with pytest.raises(DatabaseError, match=name) as refused:
        client.command(statement)
    assert refused.value.code == code
    assert str(refused.value).count("DB::Exception") == 1


def test_unknown_database_and_setting(new_clickhouse_dsn: str) -> None:
    with pytest.raises(DatabaseError, match="nowhere does not exist"):
        clickhouse_connect.get_client(dsn=f"{new_clickhouse_dsn.rpartition('/')[0]}/nowhere")
    url, _, database = new_clickhouse_dsn.rpartition("/")
    answer = httpx.post(f"{url}/?database={database}&no_such_setting=1", content="SELECT 1")
    assert (answer.status_code, answer.headers["x-clickhouse-exception-code"]) == (404, "115")


def test_parameters_long_and_odd(client: Client) -> None:
    for value in ("a\tb\n'\\", "x" * 100_000, "कावेरी"):
        assert client.query("SELECT {v:String}", parameters={"v": value}).result_rows == [(value,)]
    listed = client.query("SELECT arraySort({ids:Array(String)})", parameters={"ids": ["b", "a'"]})
    assert listed.result_rows == [(["a'", "b"],)]


def test_settings_last_for_one_request(client: Client) -> None:
    zone = "SELECT timeZoneOf(now()), getSetting('async_insert')"
    assert client.query(zone, settings={"session_timezone": "Asia/Kolkata"}).first_row == ("Asia/Kolkata", False)
    client.command("SET session_timezone = 'Asia/Kolkata'")
    assert client.query(zone).first_row == ("UTC", False)


def test_raw_inserts_and_formats(client: Client) -> None:
    line = b'{"id": 1, "name": "x"}\n'
    assert client.raw_insert("facts", ["id", "name"], line, fmt="JSONEachRow").written_rows == 1
    packed = gzip.compress(line)
    assert client.raw_insert("facts", ["id", "name"], packed, fmt="JSONEachRow", compression="gzip").written_rows == 1
    client.command("INSERT INTO facts (id, name) VALUES (2, 'a;b'), ({id:UInt64}, 'c')", parameters={"id": 3})
    assert client.raw_query("SELECT sum(id) AS total FROM facts", fmt="JSONEachRow") == b'{"total":7}\n'
    assert client.command("SELECT count() FROM facts") == 4


def test_statement_in_the_url_and_data_in_the_body(client: Client, new_clickhouse_dsn: str) -> None:
    url, _, database = new_clickhouse_dsn.rpartition("/")
    insert = {"database": database, "query": "INSERT INTO facts (id) FORMAT TSV", "query_id": "mine"}
    for body, encoding in ((lz4.frame.compress(b"1\n2\n"), "lz4"), (zstandard.compress(b"3\n"), "zstd"), (b"4\n", "")):
        headers = {"Content-Encoding": encoding} if encoding else {}
        answer = httpx.post(url, params=insert, content=body, headers=headers)
        assert (answer.status_code, answer.headers["x-clickhouse-query-id"]) == (200, "mine")
    assert client.command("SELECT groupArray(id) FROM (SELECT id FROM facts ORDER BY id)") == "[1,2,3,4]"


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip"])
def test_a_body_cut_short_is_refused_and_stores_nothing(client: Client, new_clickhouse_dsn: str, encoding: str) -> None:
    pack = {"lz4": lz4.frame.compress, "zstd": zstandard.compress, "gzip": gzip.compress}[encoding]
    body = pack("".join(f"{i}\n" for i in range(10_000)).encode())
    url, _, database = new_clickhouse_dsn.rpartition("/")
    insert = {"database": database, "query": "INSERT INTO facts (id) FORMAT TSV"}
    answer = httpx.post(url, params=insert, content=body[:-10], headers={"Content-Encoding": encoding})
    assert answer.headers["x-clickhouse-exception-code"] == "271"
    assert client.command("SELECT count() FROM facts") == 0


def test_get_only_reads(new_clickhouse_dsn: str) -> None:
    url = new_clickhouse_dsn.rpartition("/")[0]
    assert httpx.get(url, params={"query": "SELECT 1"}).text == "1\n"
    assert httpx.get(f"{url}/ping").text == "Ok.\n"
    refused = httpx.get(url, params={"query": "CREATE DATABASE by_get"})
    assert refused.headers["x-clickhouse-exception-code"] == "164"


def test_what_was_acknowledged_survives_kill_9(parts: Parts) -> None:
    part = parts.start("clickhouse")
    with clickhouse_connect.get_client(dsn=part.running.url) as client:
        client.command(TABLE)
        for _ in range(5):
            client.insert("facts", rows(1000), column_names=COLUMNS)
        part.kill()
    part.restart()
    with clickhouse_connect.get_client(dsn=part.running.url) as client:
        assert client.command("SELECT count() FROM facts") == 5000
