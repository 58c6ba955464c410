"""`durabill findings`, on a real database."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from models.database import Database
from models.migrate import migrate_postgres
from models.queries.findings import Finding, close_findings, keep_findings
from models.scope import Scope
from tests.cli.conftest import Run

SEEN = datetime(2025, 1, 31, 4, 41, tzinfo=UTC)


async def _plant(dsn: str) -> None:
    await migrate_postgres(dsn)
    database = Database(dsn)
    scope = Scope("tenant_1", "env_1")
    async with database.system_transaction() as session:
        await keep_findings(session, "overdue_action", [Finding(scope, "subs_1", "Look at it.")], SEEN)
        await keep_findings(session, "outbox_stuck", [Finding(scope, "outbox_1", "It was stuck.")], SEEN)
        await close_findings(session, "outbox_stuck", SEEN + timedelta(minutes=10))
    await database.close()


def test_what_is_open_is_shown_with_what_to_do_and_what_is_gone_when_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch, new_postgres_dsn: str
) -> None:
    asyncio.run(_plant(new_postgres_dsn))
    monkeypatch.setenv("DURABILL_POSTGRES_DSN", new_postgres_dsn)

    shown = run("findings")
    assert shown.code == 0
    assert all(word in shown.out for word in ("overdue_action", "subs_1", "2025-01-31 04:41", "Look at it."))
    assert "outbox_stuck" not in shown.out

    (item,) = run("findings", "--json").data
    assert (item["name"], item["reference"], item["first_seen_at"]) == (
        "overdue_action",
        "subs_1",
        "2025-01-31T04:41:00Z",
    )
    assert (item["tenant_id"], item["sentence"], item["closed_at"]) == ("tenant_1", "Look at it.", None)

    (gone,) = run("findings", "--closed", "--json").data
    assert (gone["name"], gone["closed_at"]) == ("outbox_stuck", "2025-01-31T04:51:00Z")


def test_before_the_migration_it_says_so(run: Run, monkeypatch: pytest.MonkeyPatch, new_postgres_dsn: str) -> None:
    monkeypatch.setenv("DURABILL_POSTGRES_DSN", new_postgres_dsn)
    ended = run("findings")
    assert ended.code == 1
    assert "Has `durabill migrate` run?" in ended.err


def test_a_database_that_does_not_answer_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABILL_POSTGRES_DSN", "postgresql://u@127.0.0.1:9/d")
    ended = run("findings")
    assert ended.code == 1
    assert "Check DURABILL_POSTGRES_DSN" in ended.err
