"""Late usage in previews: the corrections that drafts would make, none of which is written down."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from activities.late_usage import FrozenPeriod, LookBack, corrections_of, read_anew
from activities.usage_reader import UsageReader
from billing.invoice_lines import InvoiceLine, PeriodCorrection
from billing.late_usage import SettledCorrection
from models.database import Database


class PreviewedCorrections:
    """Corrections that drafts would make, looked at one after the other: none of them is made twice."""

    def __init__(self, database: Database, usage: UsageReader, cutoff: datetime) -> None:
        self._database, self._usage, self._cutoff = database, usage, cutoff
        self._made: dict[str, list[SettledCorrection]] = defaultdict(list)

    async def of(self, look_back: LookBack) -> tuple[PeriodCorrection, ...]:
        """What the next of them has to correct, by what is known now."""
        look_back = replace(look_back, periods=tuple(self._after(period) for period in look_back.periods))
        if not look_back.periods:
            return ()
        return corrections_of(look_back, await read_anew(self._database, self._usage, look_back, self._cutoff))

    def note(self, found: Iterable[PeriodCorrection], lines: tuple[InvoiceLine, ...]) -> None:
        """An invoice with these lines makes these corrections."""
        for one in found:
            self._made[one.invoice_id].append(SettledCorrection(one, lines))

    def _after(self, period: FrozenPeriod) -> FrozenPeriod:
        made = self._made[period.invoice_id]
        return replace(period, counted=period.recounted(made), state=(*period.state, *map(str, range(len(made)))))
