"""The payload codec and its server: what the Temporal server stores is unreadable without a key."""

from base64 import b64encode
from collections.abc import AsyncIterator

import httpx
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure

from activities.adapters.payload_encryption import PayloadEncryption, PayloadRefused, data_converter
from starter.codec_server import CodecServer
from starter.settings import SettingsError, load_settings

OLD, NEW = b"o" * 32, b"n" * 32
TOKEN = "a token of the tests, long enough for it"
UI = "http://localhost:8233"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"cust_1"')


async def sealed(keys: dict[str, bytes]) -> Payload:
    """PLAIN as Temporal stores it."""
    (payload,) = await PayloadEncryption(keys).encode([PLAIN])
    return payload


async def test_a_payload_and_a_failure_are_unreadable_in_store_and_come_back() -> None:
    converter = data_converter({"1": OLD})
    (stored,) = await converter.encode(["cust_1"])
    assert b"cust_1" not in stored.SerializeToString()
    assert await converter.decode([stored], [str]) == ["cust_1"]

    failure = Failure()
    await converter.encode_failure(ValueError("cust_1 was declined"), failure)
    assert b"cust_1" not in failure.SerializeToString()
    assert "cust_1 was declined" in str(await converter.decode_failure(failure))


async def test_rotation_encrypts_with_the_first_key_and_decrypts_with_any() -> None:
    rotating = PayloadEncryption({"2": NEW, "1": OLD})
    before, after = await sealed({"1": OLD}), (await rotating.encode([PLAIN]))[0]
    assert after.metadata["encryption-key-id"] == b"2"
    assert await rotating.decode([before, after, PLAIN]) == [PLAIN, PLAIN, PLAIN]


async def test_equal_payloads_do_not_look_equal() -> None:
    assert (await sealed({"1": OLD})).data != (await sealed({"1": OLD})).data


@pytest.mark.parametrize("keys", [{"2": NEW}, {"1": NEW}], ids=["key absent", "another key under its id"])
async def test_a_wrong_key_is_refused(keys: dict[str, bytes]) -> None:
    with pytest.raises(PayloadRefused, match="key '1'"):
        await PayloadEncryption(keys).decode([await sealed({"1": OLD})])


async def test_a_changed_or_shortened_payload_is_refused() -> None:
    payload = await sealed({"1": OLD})
    for data in (payload.data[:-1] + bytes([payload.data[-1] ^ 1]), payload.data[:5], b""):
        with pytest.raises(PayloadRefused, match="it was changed"):
            await PayloadEncryption({"1": OLD}).decode([Payload(metadata=payload.metadata, data=data)])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1", "number 1 is not one"),
        ("1:c2hvcnQ=", "key '1' must be 32 bytes"),
        ("1:not base64", "key '1' must be 32 bytes"),
        (f"1:{b64encode(OLD).decode()},1:{b64encode(NEW).decode()}", "stands there twice"),
    ],
)
def test_keys_that_cannot_be_used_are_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.setenv("DURABILL_CODEC_KEYS", text)
    with pytest.raises(SettingsError, match=sentence) as refusal:
        load_settings()
    assert "c2hvcnQ" not in str(refusal.value)
    assert "DURABILL_CODEC_KEYS" in str(refusal.value)


def test_keys_are_read_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABILL_CODEC_KEYS", f"2:{b64encode(NEW).decode()}, 1:{b64encode(OLD).decode()}")
    assert list(load_settings().codec().items()) == [("2", NEW), ("1", OLD)]


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    app = CodecServer(PayloadEncryption({"1": OLD}), TOKEN).app(UI)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8081") as client:
        yield client


async def test_the_server_decodes_for_a_bearer_and_answers_only_the_ui(browser: httpx.AsyncClient) -> None:
    body = MessageToDict(Payloads(payloads=[await sealed({"1": OLD})]))
    headers = {"authorization": f"Bearer {TOKEN}", "origin": UI, "x-namespace": "default"}
    answer = await browser.post("/decode", json=body, headers=headers)
    assert ParseDict(answer.json(), Payloads()).payloads[0] == PLAIN
    assert answer.headers["access-control-allow-origin"] == UI
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-namespace"}
    assert (await browser.options("/decode", headers=asked | {"origin": UI})).status_code == 200
    assert (await browser.options("/decode", headers=asked | {"origin": "http://evil.example"})).status_code == 400

    back = await browser.post("/encode", json=answer.json(), headers=headers)
    again = await browser.post("/decode", json=back.json(), headers=headers)
    assert ParseDict(again.json(), Payloads()).payloads[0] == PLAIN


async def test_a_browser_logs_in_once_and_its_cookie_is_enough(browser: httpx.AsyncClient) -> None:
    body = MessageToDict(Payloads(payloads=[await sealed({"1": OLD})]))
    assert (await browser.post("/login", data={"token": "guess"})).status_code == 401
    assert (await browser.post("/decode", json=body)).status_code == 401
    assert (await browser.post("/decode", json=body, headers={"authorization": "Bearer guess"})).status_code == 401
    assert (await browser.get("/login")).status_code == 200
    login = await browser.post("/login", data={"token": TOKEN})
    assert TOKEN not in login.headers["set-cookie"]
    assert (await browser.post("/decode", json=body)).status_code == 200


async def test_the_server_says_what_is_wrong(browser: httpx.AsyncClient) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    foreign = MessageToDict(Payloads(payloads=[await sealed({"9": NEW})]))
    answer = await browser.post("/decode", json=foreign, headers=headers)
    assert (answer.status_code, "key '9'" in answer.json()["message"]) == (400, True)
    for content in (b"{", b"[]", b'"x"', b'{"payload": 1}', b'{"payloads": 1}'):
        answer = await browser.post("/decode", content=content, headers=headers)
        assert (answer.status_code, "the body must be" in answer.json()["message"]) == (400, True)
