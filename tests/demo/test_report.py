"""What a person and a program see, and the exit code."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from starter.demo import command
from starter.demo.api import Api
from starter.demo.compare import Difference
from starter.demo.invoices import golden_invoices
from starter.demo.report import show, show_json, succeeded, workflow_url
from starter.demo.runner import Outcome
from tests.demo import fake_api
from tests.demo.fake_api import FakeApi


def outcome(**changes: Any) -> Outcome:
    invoices = [
        {**invoice, "id": f"inv_{number}", "tenant_id": "tenant_1"} for number, invoice in enumerate(golden_invoices())
    ]
    fields: dict[str, Any] = {
        "invoices": invoices,
        "differences": [],
        "pdfs": [Path("pdfs/INV-202501-00001.pdf")],
        "webhooks": {"invoice.update.finalized": 37},
        "webhooks_refused": 0,
        "webhooks_expected": True,
        "events": 30771,
    }
    return Outcome(**{**fields, **changes})


def printed(show_it: Callable[[Outcome, str, Console], None], shown: Outcome) -> str:
    file = io.StringIO()
    show_it(shown, "http://127.0.0.1:8233", Console(file=file, width=220))
    return file.getvalue()


def test_a_person_sees_every_invoice_and_where_to_look() -> None:
    text = printed(show, outcome())
    assert text.count("INV-2025") >= 36
    assert "373.28" in text
    assert "paid, try 2" in text
    assert "2025-03-02 07:00" in text
    assert "http://127.0.0.1:8233/namespaces/default/workflows/invoice%2Ftenant_1%2Finv_6" in text
    assert "37 invoice.update.finalized" in text
    assert "durabill dev stop" in text


def test_a_difference_is_a_row_with_both_figures() -> None:
    text = printed(show, outcome(differences=[Difference("INV-202502-00001", "total", "366.73", "366.74")]))
    assert "Differences from the golden file: 1" in text
    assert "366.73" in text
    assert "366.74" in text
    assert "All 37 invoices equal" not in text


def test_a_program_gets_json() -> None:
    content = json.loads(printed(show_json, outcome()))
    assert content["ok"] is True
    assert len(content["invoices"]) == 37


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"webhooks": {}}, False),
        ({"webhooks": {}, "webhooks_expected": False}, True),
        ({"webhooks_refused": 1}, False),
        ({"differences": [Difference("INV-202501-00001", "total", "177", "177.01")]}, False),
    ],
)
def test_what_counts_as_success(changes: dict[str, Any], good: bool) -> None:
    assert succeeded(outcome(**changes)) is good


def test_no_invoice_no_link() -> None:
    assert workflow_url([], "http://127.0.0.1:8233") is None


@pytest.fixture
def run_against(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[FakeApi], int]:
    def run(fake: FakeApi) -> int:
        monkeypatch.setattr(command, "Api", lambda url, key: Api(url, key, transport=httpx.MockTransport(fake)))
        return command.run_demo("http://demo.test", "sk_test", "http://ui.test", state_folder=tmp_path)

    return run


def test_exit_code_0_when_all_is_right(
    run_against: Callable[[FakeApi], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_against(FakeApi()) == 0
    assert "All 37 invoices equal the golden file" in capsys.readouterr().out


def test_exit_code_1_for_one_cent(
    run_against: Callable[[FakeApi], int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = golden_invoices()
    wrong[3]["total"] = "366.74"
    monkeypatch.setattr(fake_api, "golden_invoices", lambda: wrong)
    assert run_against(FakeApi()) == 1
    out = capsys.readouterr().out
    assert "366.73" in out
    assert "366.74" in out


def test_exit_code_1_and_a_sentence_when_the_story_cannot_go_on(
    run_against: Callable[[FakeApi], int], capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeApi()
    fake.stored["customers"] = [{"id": "cust_1", "external_id": "kaveri-health", "test_clock_id": None}]
    assert run_against(fake) == 1
    assert "The demo stopped: customer kaveri-health has test_clock_id None" in capsys.readouterr().err
