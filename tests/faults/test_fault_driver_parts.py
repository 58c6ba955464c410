"""The tools of the fault driver do what they say: otherwise a run under faults would prove nothing."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache

import httpx

from tests.faults.driver import stories
from tests.faults.driver.faults import KINDS, LANES, Faults
from tests.faults.driver.judge import ALERT
from tests.faults.driver.proxies import LOOPBACK, Harm, Proxy, Trap
from tests.faults.driver.webhooks import Mishap, Way, WebhookRelay

Seen = list[bytes]


@cache
def twenty_years() -> list[stories.Story]:
    """What a run could tell."""
    return [stories.story(f"1/{number}", stories.settings_of_tenant(random.Random(number)), 12) for number in range(20)]


@asynccontextmanager
async def server() -> AsyncIterator[tuple[int, Seen]]:
    """Answers each line with itself; what it has seen."""
    seen: Seen = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            seen.append(line)
            writer.write(line)
        writer.close()

    listening = await asyncio.start_server(serve, LOOPBACK, 0)
    yield listening.sockets[0].getsockname()[1], seen
    listening.close()


async def said(port: int, line: bytes) -> bytes:
    """What comes back; nothing when the connection breaks."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(line)
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def struck(strike: Awaitable[bool], act: Callable[[], Awaitable[bytes]]) -> tuple[bool, bytes]:
    """Whether the fault has struck, and what the client got, who acts a moment later."""
    striking = asyncio.ensure_future(strike)
    await asyncio.sleep(0)
    answer = await act()
    return await striking, answer


async def test_a_proxy_loses_requests_and_answers_and_delays_them() -> None:
    async with server() as (port, seen):
        proxy = Proxy(port)
        own = await proxy.start()
        assert await said(own, b"plain\n") == b"plain\n"
        lost = proxy.harm(Trap(Harm.request_lost, b"two"), 5)
        assert await struck(lost, lambda: said(own, b"two\n")) == (True, b"")
        lost = proxy.harm(Trap(Harm.answer_lost, b"three"), 5)
        assert await struck(lost, lambda: said(own, b"three\n")) == (True, b"")
        late = proxy.harm(Trap(Harm.answer_late, b"four", 0.2), 5)
        began = asyncio.get_running_loop().time()
        assert await struck(late, lambda: said(own, b"four\n")) == (True, b"four\n")
        assert asyncio.get_running_loop().time() - began >= 0.2
        assert not await proxy.harm(Trap(Harm.answer_lost, b"never"), 0.01)
        assert await said(own, b"never\n") == b"never\n"
        assert seen == [b"plain\n", b"three\n", b"four\n", b"never\n"]
        await proxy.close()


@asynccontextmanager
async def relayed() -> AsyncIterator[tuple[WebhookRelay, Callable[[str], Awaitable[bytes]], list[str]]]:
    """A relay, who sends through it, and the ids in the order of their arrival."""
    arrived: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        arrived.append(head.decode().split("webhook-id: ")[1].split("\r\n")[0])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(serve, LOOPBACK, 0)
    relay = WebhookRelay(listening.sockets[0].getsockname()[1], random.Random(1))
    url = f"http://{LOOPBACK}:{await relay.start()}/hook"
    async with httpx.AsyncClient(trust_env=False) as client:

        async def send(name: str) -> bytes:
            try:
                answer = await client.post(url, headers={"webhook-id": name}, content=b"{}")
            except httpx.TransportError:
                return b""
            return str(answer.status_code).encode()

        yield relay, send, arrived
    await relay.close()
    listening.close()


async def test_webhooks_come_twice_out_of_order_and_without_an_answer() -> None:
    async with relayed() as (relay, send, arrived):
        assert await struck(relay.harm(Mishap(Way.twice), 5), lambda: send("a")) == (True, b"200")
        assert set(arrived) == {"a"}
        assert len(arrived) > 1
        assert await struck(relay.harm(Mishap(Way.answer_lost), 5), lambda: send("b")) == (True, b"")
        assert arrived[-1] == "b"
        held = asyncio.ensure_future(relay.harm(Mishap(Way.out_of_order), 5))
        await asyncio.sleep(0)
        assert [await send(name) for name in ("c", "d", "e")] == [b"200"] * 3
        assert await held
        assert arrived[-3:] == ["d", "e", "c"]
        assert relay.holds == 0


def test_a_seed_tells_the_same_stories_and_faults_again() -> None:
    settings = stories.settings_of_tenant(random.Random("7"))
    first, again, other = (stories.story(seed, settings, 6) for seed in ("7/1", "7/1", "7/2"))
    assert first == again
    assert first.document != other.document
    faults = Faults("7", 3, 1.0)
    assert faults.schedule("processes") == Faults("7", 3, 1.0).schedule("processes")
    assert Counter(kind for lane in LANES for kind in faults.schedule(lane)) == dict.fromkeys(KINDS, 3)
    assert faults.missing() == dict.fromkeys(KINDS, 3)


def test_years_have_thresholds_that_are_reached_and_balances_that_are_told() -> None:
    told = twenty_years()
    reasons = Counter(invoice["billing_reason"] for each in told for invoice in each.expected["invoices"])
    assert reasons["AUTO_INVOICE_THRESHOLD"] >= 5
    assert sum(entry["event"].startswith(ALERT) for each in told for entry in each.expected["timeline"]) >= 5


def test_years_have_credit_notes_by_hand_and_for_late_usage_and_some_are_refused() -> None:
    told = twenty_years()
    notes = Counter(note["type"] for each in told for note in each.expected["credit_notes"])
    asked = [
        (each, place)
        for each in told
        for place, action in enumerate(each.document["actions"])
        if action["do"] == "credit_note"
    ]
    refused = sum(place in {one["action"] for one in each.expected["refused"]} for each, place in asked)
    assert min(notes["ADJUSTMENT"], notes["REFUND"], refused) >= 3
    assert notes.total() - (len(asked) - refused) >= 3


def test_a_new_card_is_charged_for_one_invoice_at_most() -> None:
    """For several it is charged at once, and which of them gets the next answer is nobody's promise."""
    told = twenty_years()
    charged = [
        sum(
            action["at"][:19] == attempt["at"][:19]
            for invoice in each.expected["invoices"]
            for attempt in invoice["attempts"]
        )
        for each in told
        for action in each.document["actions"]
        if action["do"] == "add_payment_method"
    ]
    assert set(charged) == {0, 1}


def test_the_years_move_over_month_ends_and_summer_time() -> None:
    """Twenty customers are enough for thirty of each."""
    told = twenty_years()
    assert sum(map(stories.month_ends, told)) >= 200
    assert sum(map(stories.clock_changes, told)) >= 20
    assert all(each.scenario.until - each.scenario.subscription.start_date > timedelta(days=360) for each in told)
