"""Usage of a customer with few events: the rows themselves, measured by the rules in memory.

Planning the statement that folds ten meters takes ClickHouse 30 ms of CPU, however little there is to fold; a hundred
rows are read in 10, and measured in 2. The digits are the same (`tests/usage/test_few_events.py`), the checksum too.
"""

from collections import defaultdict
from decimal import Decimal
from typing import Any, Final

import msgspec

from billing.meters import Meter, UsageQuantity
from billing.money import decimal_text
from billing.usage_aggregation import UsageEvent, matches, measure_chosen
from models.clickhouse.client import ClickHouse
from models.clickhouse.meter_query import CARRIED_ON, MeterQuery
from models.clickhouse.times import instant

FEW: Final = 1000
"""Events up to which this is the shorter way: 1,000 take 12 ms of Python, and the statement 60 ms of ClickHouse."""

_CHECKSUMS: Final = 2**128
_PROPERTIES: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


async def usage_of_few(clickhouse: ClickHouse, query: MeterQuery) -> dict[str, UsageQuantity] | None:
    """What each meter of `query`, which is of one customer and has no window, measured.

    None where there are more than FEW events, or one whose properties are no JSON of ours.
    """
    rows = await clickhouse.query(*query.rows_sql(FEW + 1))
    if len(rows) > FEW:
        return None
    events: dict[str, list[tuple[UsageEvent, int]]] = defaultdict(list)
    try:
        for name, event_id, at, accepted, offset, properties, added in rows:
            held = _PROPERTIES.decode(properties)
            event = UsageEvent(str(event_id), str(name), instant(int(at)), held, instant(int(accepted)), int(offset))
            events[event.event_name].append((event, int(added)))
    except msgspec.DecodeError:
        return None
    return {meter.id: _measured(meter, events[meter.event_name], query) for meter in query.meters}


def _measured(meter: Meter, events: list[tuple[UsageEvent, int]], query: MeterQuery) -> UsageQuantity:
    own = [(event, added) for event, added in events if matches(meter, event)]
    usage = measure_chosen(meter, [event for event, _ in own], query.period)
    checksum = sum(added for _, added in own) % _CHECKSUMS
    # What ClickHouse adds up comes without zeros at its end, what is carried on has 12 places: as they are stored.
    quantity = usage.quantity if meter.aggregation in CARRIED_ON else Decimal(decimal_text(usage.quantity))
    return UsageQuantity(quantity, usage.event_count, usage.rejected_values, f"{checksum:032x}", usage.exact)
