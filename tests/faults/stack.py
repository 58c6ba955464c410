"""A whole durabill as real processes: the engines, the payment sandbox, API and worker, each to be killed at will."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.ports import free_port
from deploy.embedded.process import Part, Running, Spec, is_alive, launch, surroundings, tail
from deploy.embedded.stack import Endpoints
from starter.dev import processes
from tests.parts import Parts

READY_SECONDS = 90


@dataclass(frozen=True)
class Stack:
    """Everything that runs. `kill` of a part is kill -9; `restart` brings it back over the same data and port."""

    postgres: Part
    clickhouse: Part
    temporal: Part
    provider: Part
    api: Part
    worker: Part
    folder: Path

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return self.api.running.url

    @property
    def provider_url(self) -> str:
        """Where the payment sandbox shows its books."""
        return self.provider.running.url

    def revive(self) -> None:
        """Starts again what a test that failed has left dead, in the order of dependence."""
        for part in (self.postgres, self.clickhouse, self.temporal, self.provider, self.api, self.worker):
            if not is_alive(part.running.pid, part.running.started):
                part.restart()

    def log(self, name: str) -> str:
        """The last words of one of our own processes: api, worker or sandbox-provider."""
        return tail(self.folder / "logs" / f"{name}.log", 20)

    def died(self) -> list[str]:
        """Our own processes that have ended although nobody killed them, with their last words."""
        own = {"sandbox-provider": self.provider, "api": self.api, "worker": self.worker}
        return [
            f"{name}: {self.log(name)}"
            for name, part in own.items()
            if not is_alive(part.running.pid, part.running.started)
        ]


def start_stack(parts: Parts, folder: Path) -> Stack:
    """Engines of this stack alone, migrated, and over them the processes that `durabill dev` runs."""
    postgres, clickhouse, temporal = (parts.start(name) for name in ("postgres", "clickhouse", "temporal"))
    endpoints = Endpoints(
        postgres.running.url, clickhouse.running.url, temporal.running.url, temporal.running.extra["ui_url"]
    )
    ports = processes.Ports(free_port(), free_port(), free_port())
    folder.mkdir(parents=True, exist_ok=True)
    settings = processes.settings(endpoints, ports, processes.kept_secrets(folder), folder)
    _migrate(processes.command("migrate", ["migrate"], settings, folder))
    provider, api, worker = (
        parts.start_other(_starter(service)) for service in processes.services(settings, ports, folder)
    )
    return Stack(postgres, clickhouse, temporal, provider, api, worker, folder)


def _starter(service: processes.Service) -> Callable[[], Running]:
    assert service.ready_url is not None
    url = service.ready_url.rpartition("/")[0]

    def start() -> Running:
        process = launch(service.spec, service.is_ready, READY_SECONDS)
        return Running(service.name, process.pid, process.create_time(), int(url.rpartition(":")[2]), url)

    return start


def _migrate(spec: Spec) -> None:
    done = subprocess.run(list(spec.argv), capture_output=True, text=True, env=surroundings(spec.env), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
