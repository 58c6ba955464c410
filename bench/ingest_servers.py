"""The servers of an ingest measurement: PostgreSQL, ClickHouse, the API and, where asked, Kafka and a consumer.

Owns their folder, which is thrown away afterwards, and their CPU clocks. Temporal is not needed and not started.
"""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from activities.adapters.clickhouse import migrate_clickhouse
from activities.adapters.kafka_settings import KafkaSettings, ensure_topics
from activities.api_keys import bootstrap, create_api_key
from activities.catalog import MeterFilter, NewMeter, create_meter
from activities.customers import NewCustomer, create_customer
from bench.ten_meters import ten_meters
from deploy.embedded.ports import LOOPBACK, free_port
from deploy.embedded.process import launch, stop
from deploy.embedded.stack import PartName, Stack
from models.database import Database
from models.migrate import migrate_postgres
from models.scope import Scope
from starter.dev.processes import Service, command

NAMES: dict[str, str] = {"clickhouse": "ClickHouse", "postgres": "PostgreSQL", "kafka": "Kafka broker"}


@dataclass
class Servers:
    """Where they are, who may send, and which processes they are by role."""

    data: Path
    settings: dict[str, str]
    scope: Scope
    key: str
    processes: dict[str, psutil.Process] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The API."""
        return f"http://{LOOPBACK}:{self.settings['DURABILL_API_PORT']}"

    @property
    def kafka(self) -> KafkaSettings | None:
        """The broker, where there is one."""
        brokers = self.settings.get("DURABILL_KAFKA_BROKERS")
        return None if brokers is None else KafkaSettings(brokers)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU used so far, by role."""
        return {role: _cpu_of_tree(process) for role, process in self.processes.items()}

    def memory_bytes(self) -> dict[str, int]:
        """Resident memory by role."""
        return {
            role: sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
            for role, process in self.processes.items()
        }


@contextmanager
def running(kafka: bool, customers: int) -> Iterator[Servers]:
    """Everything up, migrated, with a key, known customers and ten meters; stopped and deleted on leaving."""
    data = Path(tempfile.mkdtemp(prefix="durabill-bench-ingest-")).resolve()
    parts: tuple[PartName, ...] = ("postgres", "clickhouse", *(("kafka",) if kafka else ()))
    stack = Stack(data, {}, {part: free_port() for part in parts}, external={"temporal": f"{LOOPBACK}:1"})
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, data, ignore_errors=True)
        ending.callback(stack.down)
        chosen = {
            **stack.up(parts).as_env(),
            "DURABILL_API_HOST": LOOPBACK,
            "DURABILL_API_PORT": str(free_port()),
            "DURABILL_DOCUMENTS_SECRET": "0" * 64,
            "DURABILL_DOCUMENTS_DIR": str(data / "documents"),
            "DURABILL_LOG_LEVEL": "warning",
        }
        scope, key = asyncio.run(_prepare(chosen, customers))
        servers = Servers(data, chosen, scope, key)
        servers.processes |= {NAMES[name]: psutil.Process(part.pid) for name, part in stack.running().items()}
        services = [("API", Service("api", command("api", ["api"], chosen, data), f"{servers.url}/healthz"))]
        if kafka:
            services.append(("consumer", Service("consumer", command("consumer", ["consume"], chosen, data), None)))
        for role, service in services:
            process = _launched(service)
            ending.callback(stop, process.pid, process.create_time())
            servers.processes[role] = psutil.Process(process.pid)
        yield servers


def _launched(service: Service) -> psutil.Popen:
    return launch(service.spec, service.is_ready)


async def _prepare(chosen: dict[str, str], customers: int) -> tuple[Scope, str]:
    postgres = chosen["DURABILL_POSTGRES_DSN"]
    await migrate_postgres(postgres)
    await migrate_clickhouse(chosen["DURABILL_CLICKHOUSE_DSN"])
    if "DURABILL_KAFKA_BROKERS" in chosen:
        await ensure_topics(KafkaSettings(chosen["DURABILL_KAFKA_BROKERS"]))
    database = Database(postgres)
    now = datetime.now(UTC)
    try:
        async with database.system_transaction() as session:
            made = await bootstrap(session, "bench", "production", now)
            key = await create_api_key(session, made.scope, "bench", now)
        async with database.transaction(made.scope) as session:
            for number in range(customers):
                name = f"customer-{number:05d}"
                await create_customer(session, made.scope, NewCustomer(name, name), now)
            for meter in ten_meters():
                wanted = tuple(MeterFilter(one.key, one.values) for one in meter.filters)
                new = NewMeter(meter.name, meter.event_name, meter.aggregation.value, meter.field, wanted)
                await create_meter(session, made.scope, new)
    finally:
        await database.close()
    return made.scope, key.api_key


def client_argv(*arguments: str) -> list[str]:
    """The command of a load client."""
    return [sys.executable, "-m", "bench.ingest_client", *arguments]


def client_environment() -> dict[str, str]:
    """Our own surroundings, with the repository on the path."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def _cpu_of_tree(root: psutil.Process) -> float:
    used = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system + times.children_user + times.children_system
    return used
