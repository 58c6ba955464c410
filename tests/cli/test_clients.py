"""Clients: a process starts while everything it talks to is down, and says what is down."""

from collections.abc import Collection
from pathlib import Path

import pytest
from temporalio.service import RPCError, RPCStatusCode

from activities.adapters.directory_store import DirectoryStore
from activities.adapters.s3_store import S3Store
from models.clickhouse.client import ClickHouseUnavailable
from starter.clients import Need, open_clients, open_object_store, required
from starter.settings import SettingsError, load_settings

NOBODY = "127.0.0.1:9"
"""The discard port: nothing listens there."""


@pytest.fixture(autouse=True)
def _everything_is_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DURABILL_POSTGRES_DSN": f"postgresql://u:p@{NOBODY}/d",
        "DURABILL_CLICKHOUSE_DSN": f"http://default@{NOBODY}/d",
        "TEMPORAL_ADDRESS": NOBODY,
        "DURABILL_SANDBOX_PROVIDER_URL": f"http://{NOBODY}",
        "DURABILL_DOCUMENTS_DIR": str(tmp_path / "documents"),
        "DURABILL_DOCUMENTS_SECRET": "s" * 32,
    }.items():
        monkeypatch.setenv(name, value)


async def test_everything_opens_while_everything_is_down() -> None:
    async with open_clients(load_settings()) as clients:
        assert set(clients.providers) == {"sandbox"}
        probes = clients.probes()
        assert list(probes) == ["postgres", "clickhouse", "temporal"]
        for probe in probes.values():
            with pytest.raises((OSError, ClickHouseUnavailable, RuntimeError)):
                await probe()


async def test_a_command_while_temporal_is_down_is_told_unavailable() -> None:
    async with open_clients(load_settings(), {"temporal"}) as clients:
        workflow = required(clients.temporal, "temporal").get_workflow_handle("invoice/t/i")
        for call in (workflow.signal("s"), workflow.query("q"), workflow.execute_update("u")):
            with pytest.raises(RPCError) as refusal:
                await call
            assert refusal.value.status is RPCStatusCode.UNAVAILABLE


@pytest.mark.parametrize("need", [set(), {"clickhouse"}])
async def test_only_what_was_asked_for_is_opened(need: Collection[Need]) -> None:
    async with open_clients(load_settings(), need) as clients:
        assert (clients.clickhouse is not None) is ("clickhouse" in need)
        assert (clients.temporal, clients.object_store, clients.webhook_sender) == (None, None, None)
        with pytest.raises(RuntimeError, match="without 'temporal'"):
            required(clients.temporal, "temporal")


async def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DURABILL_CLICKHOUSE_DSN")
    with pytest.raises(SettingsError, match="DURABILL_CLICKHOUSE_DSN is not set"):
        async with open_clients(load_settings()):
            pytest.fail("opened without a ClickHouse")
    monkeypatch.delenv("DURABILL_DOCUMENTS_SECRET")
    with pytest.raises(SettingsError, match="DURABILL_DOCUMENTS_SECRET is not set"):
        open_object_store(load_settings())


def test_documents_go_into_the_bucket_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_object_store(load_settings()), DirectoryStore)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("DURABILL_S3_BUCKET", "invoices")
    monkeypatch.setenv("DURABILL_S3_ENDPOINT", f"http://{NOBODY}")
    assert isinstance(open_object_store(load_settings()), S3Store)
