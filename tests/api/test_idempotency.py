"""`Idempotency-Key`: the same answer for the same request, 409 for another, and nothing done twice at once."""

from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.api.conftest import Tenant

KEY = {"Idempotency-Key": "order-17"}


def count(client: httpx.Client) -> int:
    """How many customers there are."""
    return int(client.get("/customers").json()["pagination"]["total"])


def test_the_same_request_gets_the_same_answer(client: httpx.Client) -> None:
    body = {"external_id": "acme", "name": "Acme"}
    first = client.post("/customers", json=body, headers=KEY)
    again = client.post("/customers", json=body, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert (again.headers["idempotent-replayed"], "idempotent-replayed" in first.headers) == ("true", False)
    assert count(client) == 1


def test_another_request_is_refused(client: httpx.Client) -> None:
    assert client.post("/customers", json={"external_id": "a", "name": "A"}, headers=KEY).status_code == 201
    for method, path, body in (
        ("POST", "/customers", {"external_id": "b", "name": "B"}),
        ("POST", "/plans", {"external_id": "a", "name": "A"}),
    ):
        answer = client.request(method, path, json=body, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert answer.json()["details"]["field"] == "Idempotency-Key"
    assert count(client) == 1


def test_a_refusal_changes_nothing_and_is_worked_out_again(client: httpx.Client) -> None:
    bad = {"external_id": "a", "name": "A", "timezone": "Mars/Olympus"}
    assert client.post("/customers", json=bad, headers=KEY).status_code == 400
    assert client.post("/customers", json=bad, headers=KEY).status_code == 400
    good = {"external_id": "a", "name": "A"}
    assert client.post("/customers", json=good, headers=KEY).status_code == 201


def test_keys_belong_to_their_tenant(client: httpx.Client, other_tenant: Tenant) -> None:
    body = {"external_id": "acme", "name": "Acme"}
    mine = client.post("/customers", json=body, headers=KEY).json()["id"]
    with other_tenant.client() as other:
        theirs = other.post("/customers", json={**body, "name": "Other"}, headers=KEY)
        assert theirs.status_code == 201
        assert theirs.json()["id"] != mine


def test_many_at_once_act_once(tenant: Tenant) -> None:
    body = {"external_id": "acme", "name": "Acme"}

    def send(_: int) -> httpx.Response:
        with tenant.client() as client:
            return client.post("/customers", json=body, headers=KEY)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(16)))
    created = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    waiting = [answer for answer in answers if answer.status_code == 409]
    assert len(created) == 1
    assert len(created) + len(waiting) >= 1
    assert all(answer.headers["retry-after"] == "1" for answer in waiting)
    assert {answer.status_code for answer in answers} <= {201, 409}
    with tenant.client() as client:
        assert count(client) == 1


def test_deletions_and_reads(client: httpx.Client) -> None:
    made = client.post("/customers", json={"external_id": "acme", "name": "Acme"}).json()["id"]
    assert client.delete(f"/customers/{made}", headers=KEY).status_code == 204
    assert client.delete(f"/customers/{made}", headers=KEY).status_code == 204
    assert client.delete(f"/customers/{made}").status_code == 404
    assert client.get(f"/customers/{made}", headers=KEY).status_code == 404


def test_a_key_that_cannot_be_kept(client: httpx.Client) -> None:
    for key in ("", "x" * 256):
        answer = client.post("/customers", json={"external_id": "a", "name": "A"}, headers={"Idempotency-Key": key})
        assert answer.status_code == 400, key
