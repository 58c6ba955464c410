"""A whole durabill as real processes behind proxies: two workers, Kafka and consumer, S3 on a small file system."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.embedded import kafka, s3
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import free_port
from deploy.embedded.process import Part, Running, Spec, is_alive, launch, surroundings, tail
from deploy.embedded.stack import Endpoints
from starter.dev import processes
from tests.faults.driver.proxies import LOOPBACK, Proxy
from tests.faults.driver.webhooks import WebhookRelay
from tests.parts import Parts

READY_SECONDS = 120
STARTS = 5
GAVE_UP = "Error: The consumer ended"
STORE_MEGABYTES = 256
WORKERS = ("worker-1", "worker-2")
ENGINES = ("postgres", "clickhouse", "temporal", "kafka", "s3")


@dataclass
class FaultStack:
    """Everything that runs. Our processes reach everything else, and are reached, through `proxies` alone."""

    folder: Path
    engines: Parts
    parts: dict[str, Part] = field(default_factory=dict)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    """Held by whoever does something to a part."""
    relay: WebhookRelay | None = None
    store_is_small: bool = False
    put_failures: int = 0
    """Answers of the object store that were errors of its own."""
    failed_starts: list[str] = field(default_factory=list)
    died: list[str] = field(default_factory=list)
    """Processes that ended although nobody killed them."""
    gave_up: int = 0
    """How often the consumer ended, as it does, with a sentence that says what it cannot reach."""

    @property
    def postgres_dsn(self) -> str:
        """The database itself, without a proxy: for the judge."""
        return self.parts["postgres"].running.url

    @property
    def provider_url(self) -> str:
        """The payment company itself."""
        return self.parts["provider"].running.url

    @property
    def store_folder(self) -> Path:
        """The file system of the object store."""
        return self.folder / "store"

    def log(self, name: str) -> str:
        """The last words of a process."""
        log = self.folder / "logs" / f"{name}.log"
        return tail(log if log.exists() else next((self.folder / "logs").glob(f"{name}-*.log"), log), 8)

    async def kill(self, name: str) -> None:
        """kill -9, then back over the same data and port."""
        async with self.locks[name]:
            await asyncio.to_thread(self.parts[name].kill)
            await self._back(name)

    async def stall(self, name: str, seconds: float) -> None:
        """The process and its children stand still for a while, with all connections open."""
        async with self.locks[name]:
            stopped = _signal_all(self.parts[name].running, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                for process in stopped:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGCONT)

    async def watch(self) -> None:
        """For ever: a process that ended by itself is noted and, as any supervisor does, started again."""
        while True:
            await asyncio.sleep(1)
            for name in self.parts:
                running = self.parts[name].running
                if not self.locks[name].locked() and not is_alive(running.pid, running.started):
                    async with self.locks[name]:
                        last_words = self.log(name)
                        if name == "consumer" and GAVE_UP in last_words:
                            self.gave_up += 1
                        else:
                            self.died.append(f"{name}: {last_words}")
                        await self._back(name)

    async def _back(self, name: str) -> None:
        """Started again; one that cannot start because others are away is started once more."""
        for attempt in range(STARTS):
            try:
                await asyncio.to_thread(self.parts[name].restart)
                return
            except EmbeddedError as problem:
                self.failed_starts.append(f"{name}: {problem}")
                if attempt == STARTS - 1:
                    raise

    def saw_store(self, answer: bytes) -> None:
        """Counts the object store's own errors."""
        self.put_failures += answer.startswith(b"HTTP/1.1 5")

    async def fill_store(self) -> Path:
        """Takes all that is left of the object store's file system."""
        filler = self.store_folder / "filler"
        await asyncio.to_thread(_fill, filler)
        return filler

    async def close(self) -> None:
        """Ends everything that was started here."""
        if self.relay is not None:
            await self.relay.close()
        for proxy in self.proxies.values():
            await proxy.close()
        await asyncio.to_thread(self.engines.close)
        if self.store_is_small:
            await asyncio.to_thread(subprocess.run, ["umount", "-l", str(self.store_folder)], check=False)


async def start_stack(folder: Path, chance: random.Random) -> FaultStack:
    """Everything, migrated and ready. What was started is ended when a part of it does not start."""
    stack = FaultStack(folder, Parts(folder))
    try:
        await _start_engines(stack)
        await _start_ours(stack, chance)
    except BaseException:
        await stack.close()
        raise
    stack.locks = {name: asyncio.Lock() for name in stack.parts}
    return stack


async def _start_engines(stack: FaultStack) -> None:
    folder = stack.folder
    stack.store_is_small = _mount(stack.store_folder)
    broker = stack.proxies["kafka"] = Proxy(0)
    advertised, kafka_port, s3_port = await broker.start(), free_port(), free_port()
    broker.set_target(kafka_port)
    logs = folder / "logs"
    starters: Mapping[str, Callable[[], Running]] = {
        "kafka": lambda: kafka.start(folder / "kafka", kafka_port, logs / "kafka.log", advertised),
        "s3": lambda: s3.start(stack.store_folder, s3_port, logs / "s3.log"),
    }
    for name in ENGINES:
        start = starters.get(name)
        stack.parts[name] = await asyncio.to_thread(
            *((stack.engines.start, name) if start is None else (stack.engines.start_other, start))
        )
        if name != "kafka":
            sees = stack.saw_store if name == "s3" else None
            stack.proxies[name] = Proxy(stack.parts[name].running.port, sees)
            await stack.proxies[name].start()


async def _start_ours(stack: FaultStack, chance: random.Random) -> None:
    ports = processes.Ports(free_port(), free_port(), free_port())
    for name, port in (("provider", ports.provider), ("api", ports.api)):
        stack.proxies[name] = Proxy(port)
        await stack.proxies[name].start()
    stack.relay = WebhookRelay(ports.api, chance)
    relay = await stack.relay.start()
    kept = processes.kept_secrets(stack.folder)
    direct = processes.settings(_endpoints(stack, behind=False), ports, kept, stack.folder)
    await asyncio.to_thread(_migrate, processes.command("migrate", ["migrate"], direct, stack.folder))
    settings = processes.settings(_endpoints(stack, behind=True), ports, kept, stack.folder)
    settings["DURABILL_SANDBOX_PROVIDER_URL"] = f"http://{LOOPBACK}:{stack.proxies['provider'].port}"
    settings["DURABILL_SANDBOX_WEBHOOK_URL"] = (
        f"http://{LOOPBACK}:{relay}/v1/webhooks/sandbox/{{tenant}}/{{environment}}"
    )
    for service in _services(settings, ports, stack.folder):
        stack.parts[service.name] = await asyncio.to_thread(stack.engines.start_other, _starter(service))


def _services(settings: Mapping[str, str], ports: processes.Ports, folder: Path) -> list[processes.Service]:
    """As `durabill dev` runs them, but two workers, and a company that reports every outcome as companies do."""
    services = {service.name: service for service in processes.services(settings, ports, folder)}
    books = ["--port", str(ports.provider), "--books", str(folder / "books.sqlite"), "--report-all"]
    provider = processes.command("provider", ["sandbox-provider", *books], settings, folder)
    found = [processes.Service("provider", provider, services["sandbox-provider"].ready_url), services["api"]]
    for name in WORKERS:
        health = free_port()
        spec = processes.command(name, ["worker"], {**settings, "DURABILL_WORKER_HEALTH_PORT": str(health)}, folder)
        found.append(processes.Service(name, spec, f"http://{LOOPBACK}:{health}/readyz"))
    return [*found, services["consumer"]]


def _endpoints(stack: FaultStack, *, behind: bool) -> Endpoints:
    def reached(name: str) -> str:
        running = stack.parts[name].running
        return running.url.replace(f":{running.port}", f":{stack.proxies[name].port}") if behind else running.url

    extra = stack.parts["s3"].running.extra
    return Endpoints(
        postgres_dsn=reached("postgres"),
        clickhouse_dsn=reached("clickhouse"),
        temporal_address=reached("temporal"),
        temporal_ui_url=stack.parts["temporal"].running.extra["ui_url"],
        kafka_brokers=f"{LOOPBACK}:{stack.proxies['kafka'].port}",
        s3_endpoint=reached("s3"),
        s3_bucket=extra["bucket"],
        s3_access_key=extra["access_key"],
        s3_secret_key=extra["secret_key"],
        s3_region=extra["region"],
    )


def _starter(service: processes.Service) -> Callable[[], Running]:
    url = (service.ready_url or "").rpartition("/")[0]
    port = int(url.rpartition(":")[2] or 0)

    def start() -> Running:
        process = launch(service.spec, service.is_ready, READY_SECONDS)
        return Running(service.name, process.pid, process.create_time(), port, url)

    return start


def _migrate(spec: Spec) -> None:
    done = subprocess.run(list(spec.argv), capture_output=True, text=True, env=surroundings(spec.env), check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _mount(folder: Path) -> bool:
    """A file system of its own with a size limit; whether that is possible here (it needs root on Linux)."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={STORE_MEGABYTES}m,mode=700", "none", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _fill(filler: Path) -> None:
    left = shutil.disk_usage(filler.parent).free
    with filler.open("wb") as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(left, 1))


def _signal_all(running: Running, which: signal.Signals) -> list[psutil.Process]:
    """Sends the signal to the process and what it has started."""
    try:
        process = psutil.Process(running.pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    reached = []
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(which)
            reached.append(member)
    return reached
