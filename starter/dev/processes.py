"""What `durabill dev` runs beside the embedded stack: each process with its command, its settings and its probe.

Owns the settings that all of them share. Starts nothing.
"""

import base64
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import LOOPBACK, choose
from deploy.embedded.process import Spec
from deploy.embedded.stack import Endpoints

REPOSITORY = Path(__file__).resolve().parents[2]
API_PORT = 8080
_RUN = "import sys; sys.argv[0] = 'durabill'; from starter.cli import main; main()"
_PROVIDER_WISHES = (18200, 18201)
_HEALTH_WISHES = (18201, 18202)
_DRAIN_SECONDS = "10"
"""A developer who presses Ctrl-C waits no longer for running activities."""


@dataclass(frozen=True)
class Ports:
    """The loopback ports of our own processes, kept from run to run."""

    api: int
    provider: int
    worker_health: int


@dataclass(frozen=True)
class Secrets:
    """What signs documents' URLs and the provider's webhooks; made once for a data folder."""

    documents: str
    sandbox_webhook: str


@dataclass(frozen=True)
class Service:
    """One process of ours: its name, its specification, and the URL that answers 200 once it is ready (None: none)."""

    name: str
    spec: Spec
    ready_url: str | None

    def is_ready(self) -> bool:
        """Whether it says that it is ready; a process without a probe is ready as soon as it runs."""
        if self.ready_url is None:
            return True
        try:
            with urllib.request.urlopen(self.ready_url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def choose_ports(earlier: Ports | None) -> Ports:
    """`DURABILL_API_PORT` when it is set, else the ports of the last run, else usual ones, else any free ones.

    Raises EmbeddedError when the port that was set is taken.
    """
    fixed = os.environ.get("DURABILL_API_PORT")
    if fixed is not None and not fixed.isdigit():
        raise EmbeddedError(f"DURABILL_API_PORT is {fixed!r}: it must be a port number, for example 8080")
    api = choose("the API", int(fixed) if fixed else None, ((earlier.api,) if earlier else ()) + (API_PORT,))
    provider = choose("the payment sandbox", None, ((earlier.provider,) if earlier else ()) + _PROVIDER_WISHES)
    wishes = ((earlier.worker_health,) if earlier else ()) + tuple(p for p in _HEALTH_WISHES if p != provider)
    return Ports(api, provider, choose("the worker's health", None, wishes))


def kept_secrets(data: Path) -> Secrets:
    """The secrets of a data folder, made when it is new. Raises EmbeddedError when their file is damaged."""
    file = data / "secrets.json"
    if not file.exists():
        webhook = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        scratch = file.with_suffix(".partial")
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(asdict(Secrets(secrets.token_hex(32), webhook))))
        scratch.replace(file)
    try:
        return Secrets(**json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise EmbeddedError(
            f"{file} is damaged ({error}): delete it; URLs of documents made so far then expire"
        ) from error


def settings(endpoints: Endpoints, ports: Ports, kept: Secrets, data: Path) -> dict[str, str]:
    """The settings that every process gets: where the stack is, and where they find each other."""
    api = f"http://{LOOPBACK}:{ports.api}"
    return {
        **endpoints.as_env(),
        "DURABILL_API_HOST": LOOPBACK,
        "DURABILL_API_PORT": str(ports.api),
        "DURABILL_PUBLIC_URL": api,
        "DURABILL_URL": api,
        "DURABILL_DOCUMENTS_DIR": str(data / "documents"),
        "DURABILL_DOCUMENTS_SECRET": kept.documents,
        "DURABILL_SANDBOX_PROVIDER_URL": f"http://{LOOPBACK}:{ports.provider}",
        "DURABILL_SANDBOX_WEBHOOK_URL": f"{api}/v1/webhooks/sandbox/{{tenant}}/{{environment}}",
        "DURABILL_SANDBOX_WEBHOOK_SECRET": kept.sandbox_webhook,
        # Receivers of a developer's webhooks listen on this very machine.
        "DURABILL_WEBHOOKS_ALLOW_PRIVATE": "true",
        "DURABILL_WORKER_DRAIN_SECONDS": _DRAIN_SECONDS,
    }


def environment(chosen: Mapping[str, str]) -> dict[str, str | None]:
    """Changes to our own environment variables: the chosen settings, our code, and no other Temporal's address."""
    hidden: dict[str, str | None] = {name: None for name in os.environ if name.startswith("TEMPORAL_")}
    python_path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    return {**hidden, **chosen, "PYTHONPATH": python_path}


def command(name: str, arguments: list[str], chosen: Mapping[str, str], data: Path) -> Spec:
    """`durabill ARGUMENTS` as a process with those settings and the log `NAME.log`."""
    argv = [sys.executable, "-c", _RUN, *arguments]
    return Spec(f"durabill {arguments[0]}", argv, data / "logs" / f"{name}.log", env=environment(chosen))


def services(chosen: Mapping[str, str], ports: Ports, data: Path) -> list[Service]:
    """The processes in the order in which they start; the consumer only where there is Kafka."""
    books = ["--port", str(ports.provider), "--books", str(data / "sandbox-provider" / "books.sqlite")]
    health = {**chosen, "DURABILL_WORKER_HEALTH_PORT": str(ports.worker_health)}
    started = [
        Service(
            "sandbox-provider",
            command("sandbox-provider", ["sandbox-provider", *books], chosen, data),
            f"http://{LOOPBACK}:{ports.provider}/healthz",
        ),
        Service("api", command("api", ["api"], chosen, data), f"http://{LOOPBACK}:{ports.api}/readyz"),
        Service(
            "worker", command("worker", ["worker"], health, data), f"http://{LOOPBACK}:{ports.worker_health}/readyz"
        ),
    ]
    if "DURABILL_KAFKA_BROKERS" in chosen:
        started.append(Service("consumer", command("consumer", ["consume"], chosen, data), None))
        if os.environ.get("DURABILL_LAZY_TENANTS"):
            started.append(
                Service("lazy-consumer", command("lazy-consumer", ["consume", "--lazy"], chosen, data), None)
            )
    return started
