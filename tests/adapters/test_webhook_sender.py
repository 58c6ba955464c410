"""Delivery of webhooks: signed, to public addresses only, once, and every failure is reported as a result."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from activities.adapters.webhook_address import check_url, is_public
from activities.adapters.webhook_sender import HttpWebhookSender
from activities.adapters.webhook_signature import BadSignature, new_secret, sign, verify
from activities.ports import UrlRefused, WebhookSender

from .servers import Answer, Receiver, free_port

BODY = '{"type":"invoice.update.payment","customer":"Kaveri Health कावेरी"}'.encode()


def signed(*secrets: str) -> dict[str, str]:
    return sign(secrets, "whev_1", datetime.now(UTC), BODY)


async def send(url: str, **options: Any) -> Any:
    sender: HttpWebhookSender = HttpWebhookSender(allow_private=True, **options)
    port: WebhookSender = sender
    try:
        return await port.send(url, signed(new_secret()), BODY)
    finally:
        await sender.aclose()


async def test_a_receiver_with_the_standard_library_accepts_it(receiver: Receiver) -> None:
    secret = new_secret()
    sender = HttpWebhookSender(allow_private=True)
    result = await sender.send(f"{receiver.url}/hook?source=durabill", signed(secret), BODY)
    await sender.aclose()
    got = await receiver.next()
    assert result.delivered
    assert (result.status, result.error, result.response_text) == (200, None, "thanks")
    assert (got.method, got.path, got.body) == ("POST", "/hook?source=durabill", BODY)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == "whev_1"
    assert standardwebhooks.Webhook(secret).verify(got.body, got.headers)["type"] == "invoice.update.payment"


def test_during_a_rotation_the_old_and_the_new_secret_both_verify() -> None:
    old, new, stranger = new_secret(), new_secret(), new_secret()
    headers = signed(new, old)
    for secret in (old, new):
        standardwebhooks.Webhook(secret).verify(BODY, headers)
        verify([stranger, secret], headers, BODY, datetime.now(UTC))
    with pytest.raises(BadSignature, match="does not match"):
        verify([stranger], headers, BODY, datetime.now(UTC))
    with pytest.raises(ValueError, match="at least one secret"):
        sign([], "whev_1", datetime.now(UTC), BODY)


def test_the_signature_is_that_of_the_specification() -> None:
    """The worked example that the specification's own libraries test themselves with."""
    moment = datetime.fromtimestamp(1614265330, UTC).astimezone()
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", moment, b'{"test": 2432232314}')
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("status", [301, 307, 400, 410, 500])
async def test_anything_but_2xx_is_a_failure_and_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    receiver.answers = [Answer(status, {"location": f"{receiver.url}/elsewhere"})]
    result = await send(receiver.url)
    assert (result.status, result.error, result.delivered) == (status, f"HTTP {status}", False)
    assert receiver.received.qsize() == 1


async def test_retry_after_is_read_as_seconds_or_date(receiver: Receiver) -> None:
    receiver.answers = [
        Answer(503, {"retry-after": "120"}),
        Answer(503, {"retry-after": "Wed, 01 Jan 2020 00:00:00 GMT"}),
        Answer(503, {"retry-after": "later"}),
        Answer(503),
    ]
    assert [(await send(receiver.url)).retry_after_seconds for _ in range(4)] == [120, 0, None, None]


async def test_a_long_answer_is_cut(receiver: Receiver) -> None:
    receiver.answers = [Answer(200, body=b"\x00" + b"x" * 5_000_000)]
    result = await send(receiver.url)
    assert result.response_text == "\ufffd" + "x" * 2047


async def test_silence_is_a_timeout(receiver: Receiver) -> None:
    receiver.answers = [Answer(silent=True)]
    result = await send(receiver.url, timeout_seconds=0.3)
    assert (result.status, result.error) == (None, "no answer within 0.3 s")
    assert 250 <= result.duration_ms < 5000


async def test_a_refused_connection_and_an_unknown_name_are_results() -> None:
    assert (await send(f"http://127.0.0.1:{free_port()}")).error.startswith("ConnectError")
    assert "does not resolve" in (await send("http://nobody.invalid/")).error


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://example.com/hook", "must begin with https"),
        ("ftp://example.com/hook", "must begin with https"),
        ("example.com/hook", "must begin with https"),
        ("https://", "no host"),
        ("https://user:pass@example.com/", "user name or password"),
        ("https://exa mple.com:x/", "not a URL"),
        ("https://example.com/" + "x" * 2048, "2048 at most"),
        ("https://127.0.0.1/hook", "127.0.0.1"),
        ("https://localhost/hook", "public internet"),
        ("https://2130706433/hook", "127.0.0.1"),
        ("https://0x7f.1/hook", "127.0.0.1"),
        ("https://10.1.2.3/", "public internet"),
        ("https://169.254.169.254/latest/meta-data", "public internet"),
        ("https://[::1]/", "public internet"),
        ("https://[fe80::1]/", "public internet"),
        ("https://[::ffff:10.0.0.1]/", "public internet"),
    ],
)
async def test_an_url_that_is_not_acceptable_is_refused_at_save_and_at_delivery(url: str, problem: str) -> None:
    with pytest.raises(UrlRefused, match=problem):
        await check_url(url)
    sender = HttpWebhookSender()
    result = await sender.send(url, signed(new_secret()), BODY)
    await sender.aclose()
    assert result.status is None
    assert problem in (result.error or "")


async def test_acceptable_urls_pass() -> None:
    await check_url("https://93.184.215.14/hook")
    await check_url("https://not-created-yet.invalid/hook")
    await check_url("http://127.0.0.1:9000/hook", allow_private=True)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("64:ff9b::808:808", True),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
        ("::ffff:192.168.0.1", False),
        ("100.64.0.1", False),
        ("192.168.1.1", False),
        ("172.16.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::", False),
    ],
)
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    assert is_public(ip_address(address)) is expected


async def test_a_name_that_is_pointed_elsewhere_after_saving_is_refused(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when saved, loopback when delivered; and looked up once, so there is no third answer."""
    answers = ["93.184.215.14", "127.0.0.1", "93.184.215.14"]
    asked: list[str] = []

    def lookup(host: str, port: int, **options: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[len(asked) - 1], port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    url = f"https://rebind.example:{receiver.port}/"
    await check_url(url)
    sender = HttpWebhookSender()
    result = await sender.send(url, signed(new_secret()), BODY)
    await sender.aclose()
    assert "127.0.0.1" in (result.error or "")
    assert asked == ["rebind.example", "rebind.example"]
    assert receiver.received.empty()


async def test_host_and_certificate_are_those_of_the_name_not_of_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes to the address that was judged; Host and SNI, and so the certificate, still name the host."""
    trusted, serving = await certificate_for("hooks.example", tmp_path)
    seen: dict[str, str | None] = {}

    def remember_name(sock: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        seen["sni"] = name

    serving.sni_callback = remember_name

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen["host"] = next(line[6:].decode() for line in head.split(b"\r\n") if line.lower().startswith(b"host: "))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [entry])
    right = await send(f"https://hooks.example:{port}/x", ssl_context=trusted)
    wrong = await send(f"https://other.example:{port}/x", ssl_context=trusted)
    server.close()
    await server.wait_closed()
    assert right.status == 204
    assert seen["host"] == f"hooks.example:{port}"
    assert "certificate" in (wrong.error or "").lower()
    assert seen["sni"] == "other.example"


async def certificate_for(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A fresh self-signed certificate: the context that trusts it, and the one that serves it."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    process = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"),
        *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
        *("-keyout", str(key), "-out", str(certificate)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    return ssl.create_default_context(cafile=str(certificate)), serving


def test_old_signatures_are_refused() -> None:
    secret = new_secret()
    sent = datetime(2025, 1, 1, tzinfo=UTC)
    headers = sign([secret], "whev_1", sent, BODY)
    assert verify([secret], headers, BODY, sent + timedelta(minutes=5)) == sent
    with pytest.raises(BadSignature):
        verify([secret], headers, BODY, sent + timedelta(minutes=5, seconds=1))
