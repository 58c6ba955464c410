"""The golden files are what the derivation says, and the derivation is nobody's echo: it knows no engine."""

import ast
import csv
import json
import sys
from collections import Counter
from datetime import datetime
from decimal import Decimal

import pytest

from starter.demo.golden import derivation, write
from starter.demo.golden.derivation import Call, Customer

UTC_PERIOD_STARTS = {
    # Read off a calendar and the rules of summer time: New York 9 March to 2 November, Paris 30 March to 26 October.
    "northwind-labs": """2025-01-01T05 2025-02-01T05 2025-03-01T05 2025-04-01T04 2025-05-01T04 2025-06-01T04
        2025-07-01T04 2025-08-01T04 2025-09-01T04 2025-10-01T04 2025-11-01T04 2025-12-01T05
        2026-01-01T05 2026-02-01T05""",
    "seine-voix": """2025-01-15T08:30 2025-02-15T08:30 2025-03-15T08:30 2025-04-15T07:30 2025-05-15T07:30
        2025-06-15T07:30 2025-07-15T07:30 2025-08-15T07:30 2025-09-15T07:30 2025-10-15T07:30 2025-11-15T08:30
        2025-12-15T08:30 2026-01-15T08:30""",
    "kaveri-health": """2025-01-30T18:30 2025-02-27T18:30 2025-03-30T18:30 2025-04-29T18:30 2025-05-30T18:30
        2025-06-29T18:30 2025-07-30T18:30 2025-08-30T18:30 2025-09-29T18:30 2025-10-30T18:30 2025-11-29T18:30
        2025-12-30T18:30 2026-01-30T18:30""",
}
AT = datetime.fromisoformat("2025-03-01T00:00:00Z")


@pytest.fixture(scope="module")
def golden() -> list[dict[str, object]]:
    return json.loads((write.FOLDER / "invoices.json").read_text())["invoices"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def contents() -> dict[str, str]:
    return write.contents()


@pytest.mark.parametrize("name", ["invoices.json", "derivation.csv", "derivation.md"])
def test_the_committed_file_is_what_the_derivation_writes(name: str, contents: dict[str, str]) -> None:
    assert (write.FOLDER / name).read_text(encoding="utf-8") == contents[name]


@pytest.mark.parametrize("module", ["derivation.py", "write.py"])
def test_nothing_of_the_engine_is_imported(module: str) -> None:
    tree = ast.parse((write.FOLDER / module).read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    strangers = [
        name
        for name in names
        if name.split(".")[0] not in sys.stdlib_module_names and name != "starter.demo.golden.derivation"
    ]
    assert names
    assert strangers == []
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree))


@pytest.mark.parametrize("customer", derivation.CUSTOMERS, ids=lambda customer: customer.external_id)
def test_periods_start_at_the_local_clock_time(customer: Customer) -> None:
    starts = [
        datetime.fromisoformat(f"{text}Z" if ":" in text else f"{text}:00Z")
        for text in UTC_PERIOD_STARTS[customer.external_id].split()
    ]
    assert customer.boundaries() == starts


def test_talk_in_the_third_tier() -> None:
    # 36000 x 0.0015 = 54; 54000 x 0.0012 = 64.8, and 5 for entering; 10000 x 0.000875 = 8.75; in all 132.55
    line = derivation.talk_line([Call("x", AT, Decimal(100000), "sonic-small")], AT, AT)
    assert (line.quantity, line.amount) == (Decimal(100000), Decimal("132.55"))


@pytest.mark.parametrize(
    ("seconds", "amount"),
    [
        ("36000", "54.00"),  # the tier's end belongs to it: 36000 x 0.0015
        ("36000.01", "59.00"),  # 54 + 5 + 0.01 x 0.0012 = 59.000012
        ("30", "0.05"),  # 0.045: half a cent goes up, though the digit before is even
        ("0", "0.00"),
    ],
)
def test_talk_at_the_edges(seconds: str, amount: str) -> None:
    assert derivation.talk_line([Call("x", AT, Decimal(seconds), "sonic-small")], AT, AT).amount == Decimal(amount)


@pytest.mark.parametrize(("calls", "amount"), [(0, "0.00"), (1, "4.75"), (50, "4.75"), (51, "9.50")])
def test_premium_calls_are_paid_in_started_packages(calls: int, amount: str) -> None:
    large = [Call("x", AT, Decimal(1), "sonic-large")] * calls
    line = derivation.premium_line([*large, Call("x", AT, Decimal(1), "sonic-small")], AT, AT)
    assert (line.quantity, line.amount) == (Decimal(calls), Decimal(amount))


def test_the_first_line_of_an_event_id_wins() -> None:
    def line(customer: str, seconds: str) -> str:
        return json.dumps(
            {
                "external_customer_id": customer,
                "event_id": "e1",
                "timestamp": "2025-01-02T00:00:00Z",
                "properties": {"duration_seconds": seconds, "model": "sonic-small"},
            }
        )

    calls, repeated = derivation.read_calls([line("a", "10"), line("a", "20"), line("b", "30")])
    assert [(call.customer, call.seconds) for call in calls] == [("a", Decimal(10)), ("b", Decimal(30))]
    assert repeated == 1


def test_what_is_finalized_when_the_clock_stops(golden: list[dict[str, object]]) -> None:
    # northwind closes twelve periods, the last on 1 January 2026; the other two close eleven; each has an opening.
    assert Counter(invoice["customer"] for invoice in golden) == {
        "northwind-labs": 13,
        "seine-voix": 12,
        "kaveri-health": 12,
    }
    assert golden[-1]["number"] == "INV-202601-00001"
    assert [invoice["number"] for invoice in golden] == sorted(str(invoice["number"]) for invoice in golden)


def test_the_decline_in_march(golden: list[dict[str, object]]) -> None:
    assert [
        (invoice["number"], invoice["finalized_at"], invoice["paid_at"], invoice["attempts"])
        for invoice in golden
        if invoice["attempts"] != ["SUCCEEDED"]
    ] == [
        ("INV-202503-00001", "2025-03-01T07:00:00Z", "2025-03-02T07:00:00Z", ["FAILED", "SUCCEEDED"]),
    ]


def test_every_row_of_the_sheet_with_a_rate_can_be_recomputed() -> None:
    rows = (write.FOLDER / "derivation.csv").read_text().splitlines()
    checked = 0
    for row in csv.DictReader(rows):
        left, times, right = row["formula"].partition(" x ")
        if times:
            assert Decimal(left) * Decimal(right) == Decimal(row["exact"]), row
            checked += 1
        elif " + " in row["formula"]:
            assert sum(Decimal(part) for part in row["formula"].split(" + ")) == Decimal(row["exact"]), row
            checked += 1
    assert checked > 200
