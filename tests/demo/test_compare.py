"""The demo fails on one cent, and on everything else that is not as the golden file says."""

import copy
from typing import Any

import pytest

from starter.demo.compare import Difference, compare
from starter.demo.invoices import golden_invoices

Invoices = list[dict[str, Any]]


@pytest.fixture
def golden() -> Invoices:
    return golden_invoices()


@pytest.fixture
def got(golden: Invoices) -> Invoices:
    return copy.deepcopy(golden)


def test_equal_invoices_have_no_difference(golden: Invoices, got: Invoices) -> None:
    assert len(golden) == 37
    assert compare(golden, got) == []


def test_the_same_figure_may_be_written_differently(golden: Invoices, got: Invoices) -> None:
    got[0]["total"] = "177"
    got[0]["paid_at"] = "2025-01-01T00:00:00-05:00"
    got[0]["lines"][0]["amount"] = "150.000"
    assert compare(golden, got) == []


def test_one_cent_is_seen(golden: Invoices, got: Invoices) -> None:
    got[3]["total"] = "366.74"
    assert compare(golden, got) == [Difference("INV-202502-00001", "total", "366.73", "366.74")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "INV-202502-00009"),
        ("subtotal", "310.78"),
        ("tax", "55.95"),
        ("status", "DRAFT"),
        ("finalized_at", "2025-02-01T07:00:01Z"),
        ("payment_status", "PENDING"),
        ("paid_at", None),
        ("paid_at", "2025-02-01T07:00:00.001Z"),
        ("attempts", []),
        ("attempts", ["SUCCEEDED", "SUCCEEDED"]),
    ],
)
def test_each_field_is_compared(field: str, value: Any, golden: Invoices, got: Invoices) -> None:
    got[3][field] = value
    assert [(d.invoice, d.field) for d in compare(golden, got)] == [("INV-202502-00001", field)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quantity", "105133.02"),
        ("amount", "137.05"),
        ("period_start", "2025-01-01T05:00:01Z"),
        ("period_end", "2025-02-01T05:00:01Z"),
    ],
)
def test_each_field_of_a_line_is_compared(field: str, value: str, golden: Invoices, got: Invoices) -> None:
    got[3]["lines"][1][field] = value
    assert [(d.field, d.got) for d in compare(golden, got)] == [(f"talk {field}", value)]


def test_lines_in_another_order_are_a_difference(golden: Invoices, got: Invoices) -> None:
    got[3]["lines"].reverse()
    assert compare(golden, got) == [
        Difference("INV-202502-00001", "lines", "seat, talk, premium", "premium, talk, seat"),
    ]


def test_a_missing_an_extra_and_a_second_invoice_are_seen(golden: Invoices, got: Invoices) -> None:
    gone = got.pop(0)
    draft = {**copy.deepcopy(got[-1]), "number": None, "status": "DRAFT", "period_start": "2026-01-01T05:00:00Z"}
    second = copy.deepcopy(got[5])
    shown = [(d.invoice, d.got) for d in compare(golden, [*got, draft, second])]
    assert (gone["number"], "missing") in shown
    assert (second["number"], "a second one") in shown
    assert any(name == "(no number)" and text.startswith("northwind-labs") for name, text in shown)
    assert len(shown) == 3


def test_nothing_at_all_is_37_differences(golden: Invoices) -> None:
    assert len(compare(golden, [])) == 37
