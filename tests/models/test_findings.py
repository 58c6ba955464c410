"""Stored findings: one open row a finding, met again or closed, counted for the metric."""

from datetime import UTC, datetime, timedelta

from prometheus_client import REGISTRY
from sqlmodel import select

from activities.findings import NAMES, measure_findings
from models.database import Database, Scope
from models.queries.findings import Finding, close_findings, keep_findings, list_findings, open_sentences
from models.tables import FindingRow

NAME = NAMES[0]
FIRST = datetime(2025, 1, 31, tzinfo=UTC)
TEN_MINUTES = timedelta(minutes=10)


async def _pass(database: Database, now: datetime, *found: Finding) -> dict[str, str]:
    async with database.system_transaction() as session:
        await keep_findings(session, NAME, found, now)
        return await close_findings(session, NAME, now)


async def _rows(database: Database, *, closed: bool) -> list[tuple[str, str, bool, int]]:
    async with database.system_transaction() as session:
        rows = await list_findings(session, closed=closed, most=10)
    return sorted((row.reference, row.sentence, row.repaired, row.times_seen) for row in rows)


async def _measured(database: Database) -> float | None:
    async with database.system_transaction() as session:
        await measure_findings(session)
    return REGISTRY.get_sample_value("durabill_findings", {"name": NAME})


async def test_a_finding_is_one_row_while_it_is_met_and_closed_by_the_first_pass_without_it(
    own_database: Database, scope: Scope
) -> None:
    a, b = Finding(scope, "a", "start it", repaired=True), Finding(scope, "b", "look at it")
    assert await _pass(own_database, FIRST, a, b) == {}
    assert await _measured(own_database) == 2

    assert len(await _pass(own_database, FIRST + TEN_MINUTES, Finding(scope, "a", "look at it too"))) == 1

    # What was repaired once says so as long as it is open, and its sentence is the latest.
    assert await _rows(own_database, closed=False) == [("a", "look at it too", True, 2)]
    assert await _rows(own_database, closed=True) == [("b", "look at it", False, 1)]
    assert await _measured(own_database) == 1

    assert await _pass(own_database, FIRST + 2 * TEN_MINUTES) == {"a": "look at it too"}
    assert await _measured(own_database) == 0


async def test_what_comes_back_is_a_finding_of_its_own(own_database: Database, scope: Scope) -> None:
    found = Finding(scope, "a", "look at it")
    await _pass(own_database, FIRST, found)
    await _pass(own_database, FIRST + TEN_MINUTES)
    await _pass(own_database, FIRST + 2 * TEN_MINUTES, found)

    async with own_database.system_transaction() as session:
        rows = (await session.exec(select(FindingRow))).all()
        assert await open_sentences(session, NAME) == {"a": "look at it"}
        assert await open_sentences(session, NAMES[1]) == {}
    assert sorted((row.first_seen_at, row.closed_at is None) for row in rows) == [
        (FIRST, False),
        (FIRST + 2 * TEN_MINUTES, True),
    ]


async def test_a_pass_that_began_earlier_does_not_close_what_a_later_one_met(
    own_database: Database, scope: Scope
) -> None:
    await _pass(own_database, FIRST + TEN_MINUTES, Finding(scope, "a", "look at it"))

    assert await _pass(own_database, FIRST) == {}
    assert await _rows(own_database, closed=False) == [("a", "look at it", False, 1)]


async def test_the_same_thing_of_two_tenants_is_two_findings(own_database: Database, scope: Scope) -> None:
    other = Scope("tenant_other", scope.environment_id)
    await _pass(own_database, FIRST, Finding(scope, "a", "x"), Finding(other, "a", "y"))

    assert [sentence for _, sentence, _, _ in await _rows(own_database, closed=False)] == ["x", "y"]
