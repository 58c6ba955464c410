"""Makes the demo's usage: a year of voice-AI calls of three customers. `python -m starter.demo.make_events`.

Owns `events.ndjson.gz`: one event a line in the wire format of POST /v1/events, in the order in which they are posted.
Same seed, same lines. Only whole numbers are drawn, so that no machine's arithmetic can change a digit.

What the file has on purpose, beside working hours, calm weekends and growth over the year:
- a call on the very start of each period (it belongs to the new one) and one a millisecond before (to the old one);
- calls before a subscription starts, and after the last period that is invoiced: stored, never billed;
- events sent again: the same line, another time, another payload, weeks later, or across a period's end;
- one event id used by two customers: two events;
- sums that fall exactly on a tier's end, a cent of a second above it, on a whole package, and on half a cent.
"""

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from starter.demo.golden.derivation import CUSTOMERS, PREMIUM_MODELS

EVENTS_FILE = Path(__file__).resolve().parent / "events.ndjson.gz"
SEED = 20250101
YEAR_START = datetime(2025, 1, 1, tzinfo=UTC)
YEAR_END = datetime(2026, 1, 1, 5, tzinfo=UTC)
"""Midnight in New York: the last period that is invoiced ends here."""

LATEST_ARRIVAL = timedelta(hours=1)
"""No line stands more than this after its own timestamp; finalizing waits twice as long."""

MILLISECOND = timedelta(milliseconds=1)
HOURS = (2, 1, 1, 1, 2, 4, 10, 25, 60, 95, 110, 105, 80, 85, 100, 105, 95, 75, 45, 30, 20, 12, 7, 4)
"""How likely a call is in each local hour."""
WEEKDAYS = (100, 105, 102, 100, 92, 35, 20)
"""How likely a call is on each local weekday, Monday first."""
DURATION_BANDS = (
    # how often in a hundred, from, to; hundredths of a second
    (5, 100, 1000),
    (25, 1000, 4000),
    (40, 4000, 10000),
    (22, 10000, 20000),
    (7, 20000, 42000),
    (1, 42000, 120000),
)
MODELS = (("sonic-small", 78), ("sonic-large", 17), ("sonic-ultra", 5))
DIRECTIONS = (("inbound", 64), ("outbound", 36))


@dataclass(frozen=True, slots=True)
class Traffic:
    """How much a customer calls, and how its software writes events."""

    external_id: str
    zone: str
    prefix: str
    source: str
    calls_in_january: int
    more_calls_each_month: int
    agents: tuple[str, ...]
    local_timestamps: bool


@dataclass(frozen=True, slots=True)
class Call:
    """One line of the file in its making; `hundredths` of a second, `arrives` orders the file."""

    traffic: Traffic
    event_id: str
    at: datetime
    arrives: datetime
    hundredths: int
    model: str
    agent: str
    direction: str

    def line(self) -> str:
        """The event in the wire format."""
        at = self.at.astimezone(ZoneInfo(self.traffic.zone) if self.traffic.local_timestamps else UTC)
        stamp = at.isoformat(timespec="milliseconds" if at.microsecond else "seconds")
        event = {
            "event_name": "voice_call",
            "external_customer_id": self.traffic.external_id,
            "event_id": self.event_id,
            "timestamp": stamp.replace("+00:00", "Z"),
            "source": self.traffic.source,
            "properties": {
                "duration_seconds": seconds_text(self.hundredths),
                "model": self.model,
                "agent": self.agent,
                "direction": self.direction,
            },
        }
        return json.dumps(event, separators=(",", ":"))


TRAFFIC = (
    Traffic(
        "northwind-labs", "America/New_York", "nw", "dialer", 1100, 40, ("sales-us", "support-us", "renewals"), False
    ),
    Traffic("seine-voix", "Europe/Paris", "sv", "standard", 330, 14, ("accueil", "rendez-vous"), False),
    Traffic("kaveri-health", "Asia/Kolkata", "kh", "ivr", 690, 22, ("appointments", "reports", "reminders"), True),
)


def seconds_text(hundredths: int) -> str:
    """7325 -> "73.25", 7320 -> "73.2", 7300 -> "73"."""
    whole, rest = divmod(hundredths, 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".")


def pick(random: Random, weights: Iterable[int]) -> int:
    """An index, as often as its weight says."""
    table = list(weights)
    ticket = random.randrange(sum(table))
    for index, weight in enumerate(table):
        if ticket < weight:
            return index
        ticket -= weight
    raise AssertionError("a ticket is always below the sum of the weights")


def duration(random: Random) -> int:
    """A call's length in hundredths of a second."""
    _, shortest, longest = DURATION_BANDS[pick(random, (band[0] for band in DURATION_BANDS))]
    return random.randrange(shortest, longest)


def call_at(random: Random, traffic: Traffic, at: datetime) -> Call:
    """A call at an instant; most lines arrive within the minute, some up to forty minutes late."""
    late = random.randrange(2400) if random.randrange(100) < 3 else random.randrange(40)
    return Call(
        traffic=traffic,
        event_id="",
        at=at,
        arrives=at + timedelta(seconds=late),
        hundredths=duration(random),
        model=MODELS[pick(random, (weight for _, weight in MODELS))][0],
        agent=traffic.agents[random.randrange(len(traffic.agents))],
        direction=DIRECTIONS[pick(random, (weight for _, weight in DIRECTIONS))][0],
    )


def month_of_calls(random: Random, traffic: Traffic, month: int) -> list[Call]:
    """The calls of one local calendar month (1 to 12) of 2025."""
    zone = ZoneInfo(traffic.zone)
    first = datetime(2025, month, 1, tzinfo=zone)
    days = [first + timedelta(days=n) for n in range(31) if (first + timedelta(days=n)).month == month]
    weights = [WEEKDAYS[day.weekday()] for day in days]
    calls: list[Call] = []
    for _ in range(traffic.calls_in_january + traffic.more_calls_each_month * (month - 1)):
        day = days[pick(random, weights)]
        local = day.replace(hour=pick(random, HOURS), minute=random.randrange(60), second=random.randrange(60))
        thousandths = 0 if traffic.local_timestamps else random.randrange(1000)
        at = local.astimezone(UTC) + thousandths * MILLISECOND
        if YEAR_START <= at < YEAR_END:
            calls.append(call_at(random, traffic, at))
    return calls


def boundaries(traffic: Traffic) -> list[datetime]:
    """Start and period ends of the customer's subscription within the file's year."""
    [customer] = [customer for customer in CUSTOMERS if customer.external_id == traffic.external_id]
    return [boundary for boundary in customer.boundaries() if boundary <= YEAR_END]


def customer_calls(random: Random, traffic: Traffic) -> list[Call]:
    """A customer's calls in the order of time, with their ids, before anything is sent again."""
    calls = [call for month in range(1, 13) for call in month_of_calls(random, traffic, month)]
    for boundary in boundaries(traffic):
        edges = [call_at(random, traffic, boundary - MILLISECOND), call_at(random, traffic, boundary)]
        calls += [call for call in edges if call.at < YEAR_END]
    calls.sort(key=lambda call: call.at)
    return [replace(call, event_id=f"{traffic.prefix}-2025-{number:06d}") for number, call in enumerate(calls, start=1)]


def shared_ids(calls: list[Call]) -> list[Call]:
    """The last call of each 500 carries an id that other customers use as well: still an event of its own."""
    return [
        replace(call, event_id=f"line-check-{index // 500 + 1:03d}") if index % 500 == 499 else call
        for index, call in enumerate(calls)
    ]


def in_period(calls: list[Call], traffic: Traffic, number: int) -> list[int]:
    """Positions of the calls of the customer's period `number` (0 is the first)."""
    ends = boundaries(traffic)
    return [index for index, call in enumerate(calls) if ends[number] <= call.at < ends[number + 1]]


def stretch_to(calls: list[Call], period: list[int], total: int) -> None:
    """Lengthens or shortens ordinary calls by at most 15 s each until the period sums up to `total` hundredths."""
    missing = total - sum(calls[index].hundredths for index in period)
    for index in period:
        if not 3000 <= calls[index].hundredths <= 30000:
            continue
        step = max(-1500, min(1500, missing))
        calls[index] = replace(calls[index], hundredths=calls[index].hundredths + step)
        missing -= step
        if missing == 0:
            return
    raise ValueError(f"the period misses its sum by {missing} hundredths of a second")


def half_cent_total(calls: list[Call], period: list[int]) -> int:
    """The next sum below, in hundredths, whose third tier ends on half a cent: 120 s x 0.000875 = 0.105, each 160 s."""
    current = sum(calls[index].hundredths for index in period)
    return current - (current - 9_000_000 - 12_000) % 16_000


def whole_packages(calls: list[Call], period: list[int]) -> None:
    """Moves calls to a large model until their count is a multiple of 50."""
    premium = sum(1 for index in period if calls[index].model in PREMIUM_MODELS)
    small = [index for index in period if calls[index].model not in PREMIUM_MODELS]
    for index in small[: -premium % 50]:
        calls[index] = replace(calls[index], model="sonic-large")


def put_edges(traffic: Traffic, calls: list[Call]) -> None:
    """The sums on purpose, each in a period of its own."""
    if traffic.external_id == "seine-voix":
        stretch_to(calls, in_period(calls, traffic, 3), 3_600_000)
        stretch_to(calls, in_period(calls, traffic, 4), 3_600_001)
    if traffic.external_id == "northwind-labs":
        period = in_period(calls, traffic, 6)
        stretch_to(calls, period, half_cent_total(calls, period))
    if traffic.external_id == "kaveri-health":
        whole_packages(calls, in_period(calls, traffic, 2))


def sent_again(random: Random, call: Call) -> Call:
    """A later line with the id of `call`; it must not count."""
    arrives = call.arrives + timedelta(seconds=5 + random.randrange(900))
    kind = random.randrange(4)
    if kind == 0:  # the network asked for a repeat
        return replace(call, arrives=arrives)
    if kind == 1:  # stamped anew
        return replace(call, at=arrives, arrives=arrives)
    if kind == 2:  # corrected by its sender, who ought to amend it instead
        return replace(call, at=arrives, arrives=arrives, hundredths=duration(random))
    weeks_later = arrives + timedelta(days=20 + random.randrange(20))
    return replace(call, at=weeks_later, arrives=weeks_later)


def repeats(random: Random, traffic: Traffic, calls: list[Call]) -> list[Call]:
    """About one call in 150 again, and the last call of each period once more from beyond its end."""
    again = [sent_again(random, call) for call in calls if random.randrange(150) == 0]
    ends = set(boundaries(traffic))
    for call in calls:
        if call.at + MILLISECOND in ends:
            later = call.arrives + timedelta(minutes=5)
            again.append(replace(call, at=later, arrives=later))
    return [call for call in again if call.at < YEAR_END]


def make_lines() -> list[str]:
    """All lines of the file, in the order of posting."""
    random = Random(SEED)
    everything: list[Call] = []
    for traffic in TRAFFIC:
        calls = shared_ids(customer_calls(random, traffic))
        put_edges(traffic, calls)
        everything += calls + repeats(random, traffic, calls)
    everything.sort(key=lambda call: call.arrives)
    return [call.line() for call in everything]


def compressed(lines: list[str]) -> bytes:
    """The file's bytes; no clock and no name in its header."""
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), compresslevel=9, mtime=0)


if __name__ == "__main__":
    EVENTS_FILE.write_bytes(compressed(make_lines()))
