"""Times as ClickHouse stores them: whole milliseconds since 1970, UTC."""

from datetime import UTC, datetime
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def instant(unix_milliseconds: int) -> datetime:
    """A stored time."""
    seconds, thousandths = divmod(unix_milliseconds, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=thousandths * 1000)


def milliseconds(at: datetime) -> int:
    """Unix time in milliseconds, cut (not rounded) from microseconds, as event times are stored."""
    passed = at - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1000 + passed.microseconds // 1000
