"""Where the data of an INSERT begins."""

import pytest

from deploy.embedded.clickhouse_sql import Insert, output_format, split_insert


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02", Insert(b"INSERT INTO t ", "Native", b"\x01\x02")),
        # Exactly one line end belongs to the statement: binary data may begin with another.
        (b"INSERT INTO t FORMAT Native\n\n\x02", Insert(b"INSERT INTO t ", "Native", b"\n\x02")),
        (b"insert into t format CSV 1,2", Insert(b"insert into t ", "CSV", b"1,2")),
        (b"/* a */ INSERT INTO t (a) VALUES (1)", Insert(b"/* a */ INSERT INTO t (a) ", "Values", b" (1)")),
        (b"INSERT INTO t FORMAT VALUES (1)", Insert(b"INSERT INTO t ", "Values", b"(1)")),
        (b"INSERT INTO `my FORMAT x` FORMAT TSV\n1", Insert(b"INSERT INTO `my FORMAT x` ", "TSV", b"1")),
        (
            b"INSERT INTO t (`values`) -- VALUES\nFORMAT TSV\n1",
            Insert(b"INSERT INTO t (`values`) -- VALUES\n", "TSV", b"1"),
        ),
        (b"INSERT INTO t SETTINGS a=1 FORMAT TSV\n", Insert(b"INSERT INTO t SETTINGS a=1 ", "TSV", b"")),
        (b"INSERT INTO t SELECT 1 FORMAT TSV", None),
        (b"INSERT INTO t WITH 1 AS a SELECT a", None),
        (b"SELECT 'INSERT INTO t FORMAT CSV'", None),
        (b"", None),
    ],
)
def test_split(text: bytes, expected: Insert | None) -> None:
    assert split_insert(text) == expected


def test_output_format_is_the_trailing_clause() -> None:
    assert output_format(b"SELECT 1\n FORMAT JSONEachRow ;", "TabSeparated") == "JSONEachRow"
    assert output_format(b"SELECT 'FORMAT x' AS y", "TabSeparated") == "TabSeparated"
