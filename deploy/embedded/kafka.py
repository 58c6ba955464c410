"""Apache Kafka of the embedded stack: one KRaft node run by Java from jars that Maven fetches into the user's cache."""

import base64
import shutil
import signal
import subprocess
import uuid
from pathlib import Path

from deploy.embedded import cache
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import LOOPBACK, answers, free_port, require_free
from deploy.embedded.process import Running, Spec, launch
from deploy.embedded.progress import Step, step

GENTLY = signal.SIGTERM
POM = Path(__file__).parent / "kafka" / "pom.xml"
_SPACE = 300 * cache.MEGABYTE
_JVM = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""A broker that lives for minutes on a machine that it shares: the second compiler would use more CPU than it saves,
and one thread is enough to collect half a gigabyte."""

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{advertised_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions=4
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.min.session.timeout.ms=1000
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
auto.create.topics.enable=false
"""


def jars() -> Path:
    """The folder of Kafka's jars, fetched once a machine for each content of the pom. Raises EmbeddedError."""
    name = f"kafka-{cache.key(POM)}"
    cached = cache.folder() / name
    if cached.is_dir():
        return cached
    require_java()
    if shutil.which("mvn") is None:
        raise EmbeddedError("Kafka needs Apache Maven once, to fetch its jars: install it and put `mvn` on PATH")
    return cache.made_once(name, "Fetching Apache Kafka (once a machine)", _SPACE, _fetch)


def _fetch(folder: Path, running: Step) -> None:
    command = [
        "mvn",
        "-B",
        "-f",
        str(POM),
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={folder}",
    ]
    cache.run_with_progress(command, folder, running, lambda line: line[-90:])


def require_java() -> str:
    """The path of `java`. Raises EmbeddedError when there is none, or one older than 17."""
    java = shutil.which("java")
    if java is None:
        raise EmbeddedError("Kafka needs Java 17 or newer: install a JDK and put `java` on PATH")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = said.split('"')[1].split(".")[0] if said.count('"') >= 2 else ""
    if not version.isdigit() or int(version) < 17:
        raise EmbeddedError(
            f"Kafka needs Java 17 or newer and `java` on PATH says {said.splitlines()[:1]}: install a newer JDK"
        )
    return java


def start(data: Path, port: int, log: Path, advertised_port: int | None = None) -> Running:
    """Starts a broker over the folder `data` (formatted when new) and returns once it answers. Raises EmbeddedError.

    advertised_port: where clients are told to find it, when something stands in between.
    """
    java = require_java()
    libraries = jars()
    require_free("Kafka", port)
    data.mkdir(parents=True, exist_ok=True)
    cache.require_space(data, 500 * cache.MEGABYTE)
    properties = data / "server.properties"
    properties.write_text(
        _PROPERTIES.format(
            host=LOOPBACK,
            port=port,
            advertised_port=advertised_port or port,
            controller_port=free_port(),
            data=data.resolve() / "log",
        )
    )
    base = [java, *_JVM, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{libraries}/*"]
    if not (data / "log" / "meta.properties").is_file():
        _format(base, data, properties)
    spec = Spec("Kafka", [*base, "kafka.Kafka", str(properties)], log, cwd=data)
    with step("Starting Kafka"):
        process = launch(spec, lambda: answers(port))
    return Running("kafka", process.pid, process.create_time(), port, f"{LOOPBACK}:{port}")


def _format(java: list[str], data: Path, properties: Path) -> None:
    shutil.rmtree(data / "log", ignore_errors=True)
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # Joined by "=": one id in 64 begins with "-", which by itself would be taken for an option.
    argv = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)]
    done = subprocess.run(argv, cwd=data, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EmbeddedError(
            f"Kafka could not format {data / 'log'}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}"
        )
