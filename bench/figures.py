"""The figures of a measurement."""

from dataclasses import dataclass

from bench.histories import Cost


@dataclass(frozen=True)
class Options:
    """What is measured."""

    subscriptions: int
    runs: int
    processes: int
    events: int
    grace_seconds: int
    sandboxes: tuple[bool, ...]
    lead_seconds: int
    catch_up: bool


@dataclass(frozen=True)
class Machine:
    """Where it was measured, and with what."""

    processor: str
    cores: int
    versions: dict[str, str]


@dataclass(frozen=True)
class BillingRun:
    """One measurement. CPU is in milliseconds a period; latencies are seconds from the boundary to paid."""

    sandbox: bool
    periods: int
    seconds: float
    p50: float
    p99: float
    cpu: dict[str, float]
    worker_places: dict[str, float]
    others_cpu: float
    """Cores that were busy with other things than this measurement."""
    load: float
    """The machine's one-minute load average at the end."""
    cost: Cost
    statements: float
    """Reads of ClickHouse for a period."""


@dataclass(frozen=True)
class CatchUp:
    """Seconds that one subscription took, from its creation, over boundaries that it had missed."""

    sandbox: bool
    boundaries: int
    closed: float
    paid: float
