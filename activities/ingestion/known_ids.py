"""Which identities are surely new: a Bloom filter over the table `event_ids`, so that only the rest is looked up.

A filter is exact in one direction: what it has not seen is new. That holds only while nobody else adds identities that
this process may meet, so whoever receives partitions, or the right to write, says so by `reload`. While a filter is
being loaded, or where there is none, every identity is looked up. Design: usage.md section 2.
"""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Final

import numpy
import structlog
from numpy.typing import NDArray

from models.clickhouse.client import ClickHouse, ClickHouseError

BITS_AN_ID: Final = 20
HASHES: Final = 5
"""With 20 bits an identity, 5 in 10,000 new ones are looked up in vain."""

RECENT_IDS: Final = 1 << 20
"""Remembered exactly, in 16 MiB: what came within some ten seconds at 100,000 events a second. A power of two."""

LEAST_IDS: Final = 1 << 20
READ_IDS: Final = 200_000
"""Identities read at once while loading; adding them holds the event loop up for some 10 ms."""

LATE_SECONDS: Final = 60.0
"""How late an insert may still land that another writer had begun: no request to ClickHouse may last longer."""

Words = NDArray[numpy.uint64]
log = structlog.get_logger(__name__)


class BloomFilter:
    """A set that may claim to hold what it does not, for `capacity` identities of 16 bytes; about 2.5 bytes each."""

    def __init__(self, capacity: int) -> None:
        bits = 1 << (max(capacity, LEAST_IDS) * BITS_AN_ID - 1).bit_length()
        self.capacity = bits // BITS_AN_ID
        self.held = 0
        self._mask = numpy.uint64(bits - 1)
        self._table: Words = numpy.zeros(bits // 64, numpy.uint64)

    def add(self, words: Words) -> None:
        """Holds each identity (a row of `hi`, `lo`) from now on."""
        self.held += len(words)
        for at in self._places(words):
            numpy.bitwise_or.at(self._table, at >> numpy.uint64(6), numpy.uint64(1) << (at & numpy.uint64(63)))

    def may_hold(self, words: Words) -> NDArray[numpy.bool_]:
        """For each identity: False when it is surely not held."""
        held = numpy.ones(len(words), numpy.bool_)
        for at in self._places(words):
            held &= (self._table[at >> numpy.uint64(6)] >> (at & numpy.uint64(63))) & numpy.uint64(1) != 0
        return held

    def _places(self, words: Words) -> list[Words]:
        # The words come from SHA-256: they need no further mixing. Sums wrap around at 64 bits, as they should.
        high, low = words[:, 0], words[:, 1] | numpy.uint64(1)
        return [(high + low * numpy.uint64(number)) & self._mask for number in range(HASHES)]


class RecentIds:
    """Identities that are surely stored, because this process stored them of late: mostly retries of requests.

    A table of fixed size in which a newer identity takes the place of an older one: it may forget, and never claims
    wrongly. Each retry that it knows is one look-up in `event_ids` less, and those cost far more than anything else.
    """

    def __init__(self, slots: int = RECENT_IDS) -> None:
        self._mask = numpy.uint64(slots - 1)
        self._table: Words = numpy.zeros((slots, 2), numpy.uint64)

    def add(self, words: Words) -> None:
        """Each identity (a row of `hi`, `lo`) is stored, in `event_ids` too."""
        self._table[words[:, 0] & self._mask] = words

    def held(self, digests: Sequence[bytes]) -> list[bool]:
        """For each of `digests`: True when it is surely stored."""
        words = words_of(digests)
        found: list[bool] = (self._table[words[:, 0] & self._mask] == words).all(axis=1).tolist()
        return found


def words_of(digests: Sequence[bytes]) -> Words:
    """Identities as rows of two words."""
    return numpy.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)


class KnownIds:
    """The filter of one writer. Not shared between processes; used from one event loop."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse
        self._filter: BloomFilter | None = None
        self._coming: BloomFilter | None = None
        self._loading: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a filter: else everything has to be looked up."""
        return self._filter is not None

    def reload(self, after_seconds: float = 0.0) -> None:
        """Another writer may have stored what this one will meet: reads `event_ids` anew, once the seconds are over."""
        self._filter = None
        self._begin(after_seconds)

    def doubtful(self, digests: Sequence[bytes]) -> list[bytes]:
        """Those of `digests` that may have been stored before."""
        if self._filter is None:
            return list(digests)
        claims: list[bool] = self._filter.may_hold(words_of(digests)).tolist()
        return [digest for digest, claimed in zip(digests, claims, strict=True) if claimed]

    def add(self, digests: Sequence[bytes]) -> None:
        """Remembers what has just been stored."""
        words = words_of(digests)
        for one in (self._filter, self._coming):
            if one is not None:
                one.add(words)
        if self._filter is not None and self._filter.held > self._filter.capacity and self._coming is None:
            self._begin()  # it still serves, with more claims in vain, until a larger one is loaded

    async def loaded(self) -> None:
        """Returns when no load is under way."""
        if self._loading is not None:
            await asyncio.wait([self._loading])

    async def close(self) -> None:
        """Ends a load that is under way."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])

    def _begin(self, after_seconds: float = 0.0) -> None:
        if self._loading is not None:
            self._loading.cancel()
        self._coming = None
        self._loading = asyncio.create_task(self._load(after_seconds), name="loading known identities")

    async def _load(self, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        try:
            count = int((await self._clickhouse.query("SELECT count() FROM event_ids"))[0][0])
            coming = self._coming = BloomFilter(2 * count)
            ranges = count // READ_IDS + 1
            bounds = [number * 2**64 // ranges for number in range(ranges + 1)]
            for low, high in itertools.pairwise(bounds):
                read = f"SELECT hi, lo FROM event_ids WHERE hi BETWEEN {low} AND {high - 1} FORMAT RowBinary"
                coming.add(numpy.frombuffer(await self._clickhouse.read(read), "<u8").reshape(-1, 2))
        except ClickHouseError as error:
            # Without a filter the sink works as well, with more lookups; the next occasion loads it.
            log.warning("ingest.known_ids_not_loaded", error=str(error))
            self._coming = None
            return
        self._filter, self._coming = coming, None
        log.info("ingest.known_ids_loaded", ids=count)
