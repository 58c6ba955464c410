"""Who waits while the oldest event is late: tenants that flood, for a moment, and nobody while nothing is stored."""

import asyncio

import pytest

from activities.ingestion import backlog
from activities.ingestion.backlog import LATE_SECONDS, MANY_EVENTS, STUCK_SECONDS, Backlog


class Clock:
    """Monotonic seconds that stand still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def flooded(clock: Clock) -> Backlog:
    """One tenant has put much into both partitions, another one little."""
    found = Backlog(clock)
    for offset in range(10):
        found.add(0, offset, {"flood": MANY_EVENTS // 5, "trickle": 1})
        found.add(1, offset, {"flood": MANY_EVENTS // 5})
    return found


async def test_only_who_floods_is_held_up_and_only_while_the_oldest_event_is_late() -> None:
    clock = Clock()
    found = flooded(clock)
    assert not found.holds_up("flood")
    clock.now += LATE_SECONDS + 0.1
    assert found.holds_up("flood")
    assert not found.holds_up("trickle")
    assert not found.holds_up("another")
    found.stored({0: 10})
    assert found.holds_up("flood"), "the other partition is late"
    found.stored({1: 6})
    assert not found.holds_up("flood"), "few are left"
    found.stored({1: 10})
    assert found.partitions == []


async def test_what_came_after_the_late_events_is_not_late() -> None:
    clock = Clock()
    found = flooded(clock)
    clock.now += LATE_SECONDS + 0.1
    found.add(0, 10, {"flood": 2 * MANY_EVENTS})
    found.stored({0: 10, 1: 10})
    assert not found.holds_up("flood")


async def test_nobody_is_held_up_while_nothing_is_stored() -> None:
    clock = Clock()
    found = flooded(clock)
    clock.now += STUCK_SECONDS + 0.1
    assert not found.holds_up("flood")
    found.stored({0: 0, 1: 0})
    assert not found.holds_up("flood"), "no progress"
    found.stored({0: 1})
    assert found.holds_up("flood"), "the consumers are back and behind"


async def test_a_first_event_after_a_pause_is_no_standstill() -> None:
    clock = Clock()
    found = Backlog(clock)
    clock.now += 3600
    found.add(0, 0, {"flood": 2 * MANY_EVENTS})
    clock.now += LATE_SECONDS + 0.1
    assert found.holds_up("flood")


async def test_a_turn_comes_with_the_news_that_all_is_stored() -> None:
    clock = Clock()
    found = flooded(clock)
    clock.now += LATE_SECONDS + 0.1
    turn = asyncio.create_task(found.turn("flood"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not turn.done()
    found.stored({0: 10, 1: 10})
    await asyncio.wait_for(turn, 1)


async def test_a_turn_comes_also_without_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "HELD_SECONDS", 0.01)
    clock = Clock()
    found = flooded(clock)
    clock.now += LATE_SECONDS + 0.1
    await asyncio.wait_for(found.turn("flood"), 5)
