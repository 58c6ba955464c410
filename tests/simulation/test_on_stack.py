"""`durabill simulate --on`: how two results are compared, what is not playable, and what the command says of it.

The stories themselves are played on a running stack in tests/api/test_stories_on_the_stack.py.
"""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from billing.dunning import DeclineKind
from billing.scenario.document import PaymentAnswer
from billing.scenario.parse import parse_scenario
from starter.cli.app import app
from starter.cli.shared import CliError
from starter.simulate.comparing import Comparison, Difference, comparable, differences
from starter.simulate.gaps import DEEP_EXPRESSION, Gap, gaps_of
from starter.simulate.tokens import token_of
from tests.simulation.documents import document

runner = CliRunner()


def gaps(**parts: Any) -> dict[str, str]:
    """What of a document is not playable, and the door that is closed."""
    told = document(**parts)
    return {gap.path: gap.door for gap in gaps_of(parse_scenario(told))}


def result(*numbers: str | None, total: str = "10") -> dict[str, Any]:
    invoices = [{"number": number, "total": total, "lines": [{"price": "seat"}]} for number in numbers]
    return {"invoices": invoices, "wallets": [], "refused": [], "timeline": [{"event": "x"}], "rejected_events": []}


def test_every_field_is_compared_by_its_path() -> None:
    first, second = result("INV-202601-00001"), result("INV-202601-00001", total="11")
    second["invoices"][0]["lines"] = [{"price": "desk"}, {"price": "seat"}]
    assert differences(first, first) == ()
    assert differences(first, second) == (
        Difference("invoices[0].total", "10", "11"),
        Difference("invoices[0].lines[0].price", "seat", "desk"),
        Difference("invoices[0].lines[1]", "(absent)", {"price": "seat"}),
    )


def test_numbers_are_compared_by_month_and_order() -> None:
    """On the stack others took 1 to 6 of January; the order within the story still counts."""
    here = result("INV-202601-00001", None, "INV-202601-00002", "INV-202602-00001")
    there = result("INV-202601-00007", None, "INV-202601-00009", "INV-202602-00031")
    assert differences(here, there) == ()
    swapped = result("INV-202601-00009", None, "INV-202601-00007", "INV-202602-00031")
    assert [each.path for each in differences(here, swapped)] == ["invoices[0].number", "invoices[2].number"]
    later = result("INV-202602-00007", None, "INV-202602-00009", "INV-202602-00031")
    assert len(differences(here, later)) == 3


def test_an_expression_too_deep_for_a_statement_is_not_playable() -> None:
    """The simulator computes it; the API refuses it."""
    deep = {"key": "m", "event_name": "call", "aggregation": {"type": "SUM", "expression": "*".join(["n"] * 60)}}
    usual = {"key": "u", "event_name": "call", "aggregation": {"type": "SUM", "expression": "n * 60"}}
    prices = [{"key": "p", "type": "USAGE", "meter": "m", "billing_model": "FLAT_FEE", "amount": "1"}]
    told = gaps(meters=[usual, deep], plans=[{"key": "pro", "prices": prices}])
    assert told == {"meters[1].aggregation.expression": DEEP_EXPRESSION}


def test_refusals_are_compared_by_their_code() -> None:
    here, there = result(), result()
    here["refused"] = [{"action": 0, "code": "conflict", "message": "invoices[0] is void"}]
    there["refused"] = [{"action": 0, "code": "conflict", "message": "inv_01 is void"}]
    assert differences(here, there) == ()
    assert "message" in here["refused"][0]
    assert "timeline" not in comparable(here)


def test_a_plain_story_is_playable() -> None:
    assert gaps() == {}


def test_what_is_not_offered_is_named_by_its_path() -> None:
    calls = {"key": "calls", "event_name": "c", "aggregation": {"type": "MAX", "field": "n", "bucket_size": "DAY"}}
    prices = [
        {"key": "use", "type": "USAGE", "meter": "calls", "billing_model": "FLAT_FEE", "amount": "1"},
        {
            "key": "seat",
            "type": "FIXED",
            "billing_model": "FLAT_FEE",
            "amount": "1",
            "invoice_cadence": "ADVANCE",
            "billing_period": "ANNUAL",
        },
        {
            "key": "fee",
            "type": "FIXED",
            "billing_model": "FLAT_FEE",
            "amount": "1",
            "invoice_cadence": "ADVANCE",
            "billing_period": "ONETIME",
        },
    ]
    found = gaps(
        meters=[calls, {**calls, "key": "unused"}],
        plans=[{"key": "pro", "prices": prices, "entitlements": [{"meter": "calls", "usage_limit": 1}]}],
        settings={"proration_unit": "day"},
        actions=[
            {"at": "2026-01-03T00:00:00Z", "do": "cancel", "type": "scheduled", "cancel_at": "2026-01-20T00:00:00Z"},
            {"at": "2026-01-04T00:00:00Z", "do": "pause"},
        ],
    )
    assert {
        "plans[0].entitlements": "plans: entitlements",
        "plans[0].prices[1].billing_period": "subscriptions: prices of another billing period",
        "settings.proration_unit": "settings: proration_unit",
        "actions[0]": "cancel: cancellation_type scheduled",
        "actions[1]": "/subscriptions/{id}/pause",
    }.items() <= found.items()
    assert not [path for path in found if path.startswith(("meters[1]", "plans[0].prices[2]"))]


def test_credits_that_are_bought_by_invoice_are_not_offered() -> None:
    at = {"at": "2026-01-02T00:00:00Z", "do": "top_up", "wallet": "w", "credits": "5"}
    invoiced = {**at, "transaction_reason": "PURCHASED_CREDIT_INVOICED"}
    found = gaps(wallets=[{"key": "w"}, {"key": "v", "wallet_type": "POST_PAID"}], actions=[at, invoiced])
    assert found == {"actions[1]": "wallets/{id}/top-up: transaction_reason PURCHASED_CREDIT_INVOICED"}


def test_the_providers_answers_are_a_token() -> None:
    answers = [PaymentAnswer("succeeded"), PaymentAnswer("declined", DeclineKind.soft), PaymentAnswer("unknown")]
    assert token_of(answers) == "pm_script_ok_soft_lost_ok"
    assert token_of(answers[1:], 1) == "pm_script_soft_lost_ok_ok"
    assert token_of([]) == "pm_script_ok"
    assert token_of([PaymentAnswer("requires_action")]) == "pm_script_action_ok"


SAME = Comparison("a", invoices=3)
DIFFERENT = Comparison("b", differences=(Difference("invoices[0].total", "10", "11"),), invoices=1)
NOT_PLAYABLE = Comparison("c", gaps=(Gap("actions[0]", "/subscriptions/{id}/pause"),))
BROKEN = Comparison("d", error={"code": "validation_error", "message": "until is required", "path": "until"})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Documents by name; the stack makes of each what its text says."""
    outcomes = {"same": SAME, "different": DIFFERENT, "not playable": NOT_PLAYABLE, "broken": BROKEN}
    monkeypatch.setattr("starter.cli.api_client.connect", lambda url: nullcontext(url))
    monkeypatch.setattr("starter.simulate.on_stack.compare", lambda api, text: outcomes[text])
    files = {}
    for name in outcomes:
        (tmp_path / f"{name}.json").write_text(name)
        files[name] = str(tmp_path / f"{name}.json")
    return files


@pytest.mark.parametrize(
    ("names", "flags", "code"),
    [
        (["same"], [], 0),
        (["same", "not playable"], [], 0),
        (["same", "not playable"], ["--strict"], 1),
        (["same", "different"], [], 1),
        (["broken"], [], 1),
    ],
)
def test_only_what_differs_fails(told: dict[str, str], names: list[str], flags: list[str], code: int) -> None:
    files = [told[name] for name in names]
    assert runner.invoke(app, ["simulate", *files, "--on", "http://stack", *flags]).exit_code == code


def test_a_person_sees_every_difference_and_why_not(told: dict[str, str]) -> None:
    shown = runner.invoke(app, ["simulate", *told.values(), "--on", "http://stack"]).stdout
    for text in (
        "invoices[0].total",
        "11",
        "actions[0]: the API does not offer /subscriptions",
        "until is required",
    ):
        assert text in shown
    for line in ("Same          1", "Different     1", "Not playable  1", "No story      1"):
        assert line in shown


def test_a_script_gets_the_same_as_json(told: dict[str, str]) -> None:
    shown = json.loads(runner.invoke(app, ["simulate", *told.values(), "--on", "http://stack", "--json"]).stdout)
    assert [each["outcome"] for each in shown["scenarios"]] == ["same", "different", "not_playable", "error"]
    assert shown["scenarios"][1]["differences"] == [{"path": "invoices[0].total", "simulator": "10", "stack": "11"}]
    assert shown["scenarios"][2]["not_playable"] == [
        {"path": "actions[0]", "reason": "the API does not offer /subscriptions/{id}/pause"}
    ]
    assert "timeline" in {each["path"] for each in shown["not_compared"]}


def test_lines_are_not_played(told: dict[str, str]) -> None:
    ended = runner.invoke(app, ["simulate", "--jsonl", told["same"], "--on", "http://stack"])
    assert isinstance(ended.exception, CliError)
    assert ended.exception.exit_code == 2
