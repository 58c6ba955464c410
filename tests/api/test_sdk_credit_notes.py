"""Credit notes by the official SDK: an unpaid invoice costs less, a paid one fills the wallet, each once."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flexprice
import httpx
import pytest

from tests.api.test_sdk_billing import Story
from tests.api.test_sdk_voids import refused


def opening(story: Story) -> Any:
    """The first invoice: 3 seats at 12.5 and 18 % tax, 44.25."""
    story.advance("2025-01-01T00:00:01Z")
    return story.invoice(invoice_status=["FINALIZED"])


@pytest.fixture
def unpaid(sdk: Any, client: httpx.Client) -> Story:
    """A customer whose card is declined."""
    return Story(sdk, client, card="pm_card_declines_soft")


def asked(invoice: Any, amount: str, **more: Any) -> dict[str, Any]:
    """A request for a note on the invoice as a whole."""
    return {"invoice_id": invoice.id, "reason": "BILLING_ERROR", "amount": amount, **more}


def bad(client: httpx.Client, body: dict[str, Any]) -> str:
    """The field that a request is refused for with 400."""
    answer = client.post("/creditnotes", json=body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["details"]["field"])


def test_an_adjustment_lowers_what_is_tried_next(unpaid: Story, sdk: Any) -> None:
    invoice = opening(unpaid)
    line = invoice.line_items[0]
    note = sdk.credit_notes.create_credit_note(
        invoice_id=invoice.id, reason="SERVICE_ISSUE", memo="Outage of 3 January", idempotency_key="n1",
        line_items=[{"invoice_line_item_id": line.id, "amount": "14.75"}], metadata={"ticket": "7"},
    )  # fmt: skip
    assert (note.credit_note_type, note.credit_note_status, note.total_amount) == ("ADJUSTMENT", "FINALIZED", "14.75")
    assert (note.credit_note_number, note.memo, note.metadata) == (
        "CN-202501-00001", "Outage of 3 January", {"ticket": "7"},
    )  # fmt: skip
    (credited,) = note.line_items
    assert (credited.invoice_line_item_id, credited.display_name, credited.amount) == (
        line.id, line.display_name, "14.75",
    )  # fmt: skip

    after = sdk.invoices.get_invoice(id=invoice.id)
    assert (after.amount_due, after.adjustment_amount, after.amount_remaining) == ("44.25", "14.75", "29.5")
    explained = unpaid.client.get(f"/invoices/{invoice.id}/explain").json()["text"]
    assert explained[-1] == "Credit note CN-202501-00001: 14.75 usd off what is left to pay (SERVICE_ISSUE)"
    unpaid.advance("2025-01-02T00:00:01Z")
    tried = unpaid.client.get("/payments", params={"destination_id": invoice.id}).json()["items"][0]["attempts"]
    assert sorted(attempt["amount"] for attempt in tried) == ["29.5", "44.25"]


def test_an_adjustment_of_all_settles(unpaid: Story, sdk: Any, client: httpx.Client) -> None:
    invoice = opening(unpaid)
    sdk.credit_notes.create_credit_note(
        invoice_id=invoice.id, reason="DUPLICATE",
        line_items=[{"invoice_line_item_id": invoice.line_items[0].id, "amount": "44.25"}],
    )  # fmt: skip
    after = sdk.invoices.get_invoice(id=invoice.id)
    assert (after.payment_status, after.amount_remaining, after.amount_paid) == ("SUCCEEDED", "0", "0")
    assert after.paid_at is not None
    assert refused(client, "POST", "/creditnotes", asked(invoice, "1"))[0] == "FINALIZED"
    unpaid.advance("2025-01-20T00:00:00Z")
    assert len(client.get("/payments", params={"destination_id": invoice.id}).json()["items"][0]["attempts"]) == 1


def test_a_refund_is_credit_of_the_wallet(sdk: Any, client: httpx.Client) -> None:
    story = Story(sdk, client)
    invoice = opening(story)
    note = sdk.credit_notes.create_credit_note(
        invoice_id=invoice.id, reason="UNSATISFACTORY",
        line_items=[{"invoice_line_item_id": invoice.line_items[0].id, "amount": "11.8"}],
    )  # fmt: skip
    assert (note.credit_note_type, note.refund_status) == ("REFUND", "SUCCEEDED")
    assert client.get(f"/creditnotes/{note.id}").json()["tax_amount"] == "1.8"
    after = sdk.invoices.get_invoice(id=invoice.id)
    assert (after.refunded_amount, after.payment_status) == ("11.8", "PARTIALLY_REFUNDED")
    (wallet,) = client.get(f"/customers/{story.customer['id']}/wallets").json()
    (given,) = sdk.wallets.get_wallet_transactions(id_path_parameter=wallet["id"]).items
    assert (wallet["balance"], given.transaction_reason) == ("11.8", "CREDIT_NOTE")

    # 32.45 are left of what was paid, whoever gives it back
    assert bad(client, asked(invoice, "32.46")) == "amount"
    payment = sdk.payments.list_payments(destination_id=invoice.id).items[0]
    assert client.post(f"/payments/{payment.id}/refund", json={"amount": "32.46"}).status_code == 400
    assert client.post("/creditnotes", json=asked(invoice, "32.45")).status_code == 201
    assert sdk.invoices.get_invoice(id=invoice.id).payment_status == "REFUNDED"
    assert client.post(f"/payments/{payment.id}/refund", json={"amount": "1"}).status_code == 409
    assert refused(client, "POST", f"/creditnotes/{note.id}/void") == ("FINALIZED", [])


def test_a_draft_waits_and_is_finalized_or_void_once(unpaid: Story, sdk: Any, client: httpx.Client) -> None:
    invoice = opening(unpaid)
    kept, dropped = (
        unpaid.post("/creditnotes", asked(invoice, amount, process_credit_note=False), 201) for amount in ("10", "5")
    )
    assert (kept["credit_note_status"], "credit_note_number" in kept) == ("DRAFT", False)
    assert sdk.invoices.get_invoice(id=invoice.id).adjustment_amount == "0"

    final = sdk.credit_notes.process_credit_note(id=kept["id"])
    assert (final.credit_note_status, final.credit_note_number) == ("FINALIZED", "CN-202501-00001")
    assert refused(client, "POST", f"/creditnotes/{kept['id']}/finalize") == ("FINALIZED", ["void"])
    assert sdk.credit_notes.void_credit_note(id=dropped["id"]).credit_note_status == "VOIDED"
    assert refused(client, "POST", f"/creditnotes/{dropped['id']}/finalize") == ("VOIDED", [])

    assert sdk.credit_notes.void_credit_note(id=kept["id"]).credit_note_status == "VOIDED"
    after = sdk.invoices.get_invoice(id=invoice.id)
    assert (after.adjustment_amount, after.amount_remaining) == ("0", "44.25")
    assert refused(client, "POST", f"/creditnotes/{kept['id']}/void") == ("VOIDED", [])


def test_the_same_key_gives_one_note(unpaid: Story, sdk: Any, client: httpx.Client) -> None:
    invoice = opening(unpaid)
    body = asked(invoice, "10", idempotency_key="once")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: client.post("/creditnotes", json=body), range(6)))
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    again = unpaid.post("/creditnotes", body, 201)
    assert {answer.json()["id"] for answer in answers} == {again["id"]}
    assert (again["credit_note_status"], again["credit_note_number"]) == ("FINALIZED", "CN-202501-00001")
    assert sdk.invoices.get_invoice(id=invoice.id).adjustment_amount == "10"
    assert refused(client, "POST", "/creditnotes", {**body, "amount": "11"})[0] == "used"
    sent = [client.post("/creditnotes", json=asked(invoice, "1"), headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert sent[0].json() == sent[1].json()
    # an API that was killed between the draft and its effect
    cut_off = asked(invoice, "2", idempotency_key="cut off")
    left = unpaid.post("/creditnotes", {**cut_off, "process_credit_note": False}, 201)
    done = unpaid.post("/creditnotes", cut_off, 201)
    assert (done["id"], done["credit_note_status"]) == (left["id"], "FINALIZED")
    assert sdk.invoices.get_invoice(id=invoice.id).adjustment_amount == "13"


def test_notes_at_once_never_give_more_than_there_is(unpaid: Story, sdk: Any, client: httpx.Client) -> None:
    """8 times 10 are asked for, of 44.25: four are given, whatever the order."""
    invoice = opening(unpaid)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/creditnotes", json=asked(invoice, "10")), range(8)))
    assert sorted(answer.status_code for answer in answers).count(201) == 4, [answer.text for answer in answers]
    assert sdk.invoices.get_invoice(id=invoice.id).adjustment_amount == "40"
    numbers = {answer.json()["credit_note_number"] for answer in answers if answer.status_code == 201}
    assert numbers == {f"CN-202501-0000{number}" for number in range(1, 5)}


def test_what_cannot_be_is_refused_and_changes_nothing(unpaid: Story, sdk: Any, client: httpx.Client) -> None:
    invoice = opening(unpaid)
    line = {"invoice_line_item_id": invoice.line_items[0].id, "amount": "1"}
    whole = asked(invoice, "1")
    lines = {name: value for name, value in whole.items() if name != "amount"}
    assert bad(client, asked(invoice, "44.26")) == "amount"
    assert bad(client, asked(invoice, "0.001")) == "amount"
    assert bad(client, {**whole, "reason": "BECAUSE"}) == "reason"
    assert bad(client, {**whole, "credit_note_number": "CN-1"}) == "credit_note_number"
    assert bad(client, {**lines, "line_items": [line, {**line, "amount": "43.26"}]}) == "line_items[1].amount"
    assert bad(client, {**lines, "line_items": [{**line, "invoice_line_item_id": "inv_line_x"}]}) == (
        "line_items[0].invoice_line_item_id"
    )
    for body, words in (
        (lines, "line_items or amount"),
        ({**whole, "line_items": [line]}, "line_items or amount"),
        ({**whole, "refund_target": "BACK_TO_SOURCE"}, "POST /payments/{id}/refund"),
    ):
        answer = client.post("/creditnotes", json=body)
        assert (answer.status_code, words in answer.text) == (400, True), answer.text
    assert refused(client, "POST", "/creditnotes", {**whole, "credit_note_type": "REFUND"})[0] == "FINALIZED"
    assert client.post("/creditnotes", json={**whole, "invoice_id": "inv_none"}).status_code == 404
    assert client.get("/creditnotes/cn_none").status_code == 404
    sdk.invoices.void_invoice(id=invoice.id)
    assert refused(client, "POST", "/creditnotes", whole)[0] == "VOIDED"
    assert client.get("/creditnotes").json()["items"] == []


def test_a_note_has_a_document_and_the_invoices_stays_as_it_was(unpaid: Story, client: httpx.Client) -> None:
    invoice = opening(unpaid)
    before = client.get(f"/invoices/{invoice.id}/pdf").content
    draft = unpaid.post("/creditnotes", asked(invoice, "10", process_credit_note=False), 201)
    assert refused(client, "GET", f"/creditnotes/{draft['id']}/pdf") == ("DRAFT", ["finalize", "void"])
    unpaid.post(f"/creditnotes/{draft['id']}/finalize", {})
    document = client.get(f"/creditnotes/{draft['id']}/pdf")
    assert (document.content[:5], document.headers["content-disposition"]) == (
        b"%PDF-", 'inline; filename="CN-202501-00001.pdf"',
    )  # fmt: skip
    client.put(f"/customers/{unpaid.customer['id']}", json={"name": "Acme under another name"})
    assert client.get(f"/creditnotes/{draft['id']}/pdf").content == document.content
    link = client.get(f"/creditnotes/{draft['id']}/pdf", params={"url": True}).json()["presigned_url"]
    assert httpx.get(link).content == document.content
    assert client.get(f"/invoices/{invoice.id}/pdf").content == before


def test_notes_are_listed_and_searched(unpaid: Story, sdk: Any, client: httpx.Client) -> None:
    invoice = opening(unpaid)
    made = [unpaid.post("/creditnotes", asked(invoice, amount), 201)["id"] for amount in ("1", "2", "3")]
    listed = client.get("/creditnotes", params={"invoice_id": invoice.id, "order": "asc"}).json()
    assert ([each["id"] for each in listed["items"]], listed["pagination"]["total"]) == (made, 3)
    wanted = {"external_customer_id": "acme", "filters": [{"field": "total_amount", "operator": "gt", "value": "1"}]}
    found = client.post("/creditnotes/search", json=wanted)
    assert [each["id"] for each in found.json()["items"]] == made[:0:-1], found.text
    assert client.get("/creditnotes", params={"credit_note_status": "VOIDED"}).json()["items"] == []
    assert isinstance(sdk.credit_notes.get_credit_note(id=made[0]), flexprice.models.CreditNoteResponse)
