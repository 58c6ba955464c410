"""Where a consumer can be stopped from inside a test process, so that a kill or a stall falls between two of its steps.

Nothing of it is in the product: a process of `tests.usage.processes` wraps the adapters' methods before it starts.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from activities.adapters.clickhouse import ClickHouseConnection
from activities.adapters.kafka_consumer import KafkaEventSource
from activities.ingestion.consumption import Record

STEPS: Final = (
    "polled", "judged", "events without counts", "counts without events", "without ids", "stored", "committed"
)  # fmt: skip
"""What a consumer has done with its block when it stops, in the order of its steps."""

_FOREVER: Final = 3600.0


class Pause:
    """SIGSTOPs this process at `step` of its block number `block`, after `reached` has been made."""

    def __init__(self, step: str, reached: Path, block: int = 2) -> None:
        self._step = step
        self._reached = reached
        self._left = block

    def install(self) -> None:
        """Wraps what the steps call."""
        if self._step in ("polled", "committed"):
            self._wrap_source()
        else:
            self._wrap_inserts()

    def _wrap_source(self) -> None:
        poll, commit = KafkaEventSource.poll, KafkaEventSource.commit

        def polling(
            source: KafkaEventSource, records: int, timeout_seconds: float, meanwhile: Callable[[], None]
        ) -> list[Record]:
            found = poll(source, records, timeout_seconds, meanwhile)
            if found and self._step == "polled":
                self._pass()
            return found

        def committing(source: KafkaEventSource, next_offsets: Mapping[int, int]) -> bool:
            done = commit(source, next_offsets)
            if self._step == "committed":
                self._pass()
            return done

        setattr(KafkaEventSource, "poll", polling)  # noqa: B010 (a method is replaced on purpose)
        setattr(KafkaEventSource, "commit", committing)  # noqa: B010

    def _wrap_inserts(self) -> None:
        insert = ClickHouseConnection.insert
        held = {"events without counts": "event_counts", "counts without events": "events"}.get(self._step)
        before = {"judged": "events", "without ids": "event_ids"}.get(self._step)
        after = {
            "events without counts": "events", "counts without events": "event_counts", "stored": "event_ids"
        }.get(self._step)  # fmt: skip

        async def inserting(
            connection: ClickHouseConnection, table: str, columns: Mapping[str, str], values: Sequence[Sequence[Any]]
        ) -> None:
            if table == held and self._left == 1:
                await asyncio.sleep(_FOREVER)  # the two are written at once; only the other one lands
            if table == before:
                self._pass()
            await insert(connection, table, columns, values)
            if table == after:
                self._pass()

        setattr(ClickHouseConnection, "insert", inserting)  # noqa: B010

    def _pass(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._reached.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
