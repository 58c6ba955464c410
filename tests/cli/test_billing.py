"""`durabill billing`: what is refused before anything is asked, and how a report reads."""

from datetime import UTC, datetime

import pytest

from activities.billing_run_states import BillingRunReport, CurrencyTotal, DueCounts, NotDone, PreviewedInvoice
from starter.cli import billing_pages
from tests.cli.conftest import Run

AT = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--as-of", "soon"), "--as-of must be an instant like 2026-03-01T00:00:00Z; got 'soon'"),
        (("run", "--as-of", "2025-03-01T00:00:00"), "must name its offset"),
        (("preview", "--as-of", "2025-03-01T00:00:00.5Z"), "a whole second"),
        (("run", "--as-of", "2999-03-01T00:00:00Z"), "`durabill billing preview` may look ahead"),
    ],
)
def test_an_instant_that_makes_no_sense_is_refused(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ended = run("billing", *arguments)
    assert ended.code == 2
    assert said in ended.err


def test_a_temporal_that_is_down_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:9")  # the discard port: nobody listens
    for arguments in (("run", "--no-wait"), ("status",), ("status", "billing-run/all/2025-03-01T00:00:00Z")):
        ended = run("billing", *arguments)
        assert ended.code == 1
        assert "Check TEMPORAL_ADDRESS" in ended.err


def test_a_report_says_what_is_left_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    left = NotDone("subscription", "subs_1", "tenant_1", "cust_1", AT, "it has no workflow")
    report = BillingRunReport(AT, False, "finished", DueCounts(2, 1), woken=3, remaining=1, not_done=(left,))

    billing_pages.show("billing-run/all/2025-03-01T00:00:00Z", "completed", report, json_output=False)

    shown = capsys.readouterr().out
    for words in ("2 subscriptions, 1 invoices", "Not done", "subs_1", "2025-03-01 00:00", "it has no workflow"):
        assert words in shown
    assert billing_pages.progress_line(report) == "finished: 3 of 3 woken, 2 done"


def test_a_preview_shows_invoices_and_totals_by_currency(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    invoice = PreviewedInvoice(
        "tenant_1", "cust_1", "subs_1", AT, AT, "SUBSCRIPTION_CYCLE", "usd", "1234.5", "0", "1234.5", AT
    )
    total = CurrencyTotal("usd", 1, "1234.5", "0", "1234.5")
    report = BillingRunReport(AT, True, "finished", DueCounts(1, 0), 0, 1, (), 1, (invoice,), (total,))

    billing_pages.show("billing-preview/all/2025-03-01T00:00:00Z", "completed", report, json_output=False)

    shown = capsys.readouterr().out
    assert "nothing was changed" in shown
    assert shown.count("1,234.50 USD") == 3
    data = billing_pages.as_json("billing-preview/all/x", "completed", report)
    assert (data["as_of"], data["totals"][0]["total"], data["invoices"][0]["total"]) == (
        "2025-03-01T00:00:00Z",
        "1234.5",
        "1234.5",
    )
