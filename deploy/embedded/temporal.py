"""Temporal of the embedded stack: the CLI's dev server with its Web UI over a database file."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from deploy.embedded import cache, golang
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import LOOPBACK, answers, free_port, require_free
from deploy.embedded.process import Running, Spec, launch, stop, surroundings
from deploy.embedded.progress import Step

GENTLY = signal.SIGTERM
NAMESPACE = "default"
RETENTION = "90d"
MODULE = Path(__file__).parent / "temporal"
PACKAGE = "github.com/temporalio/cli/cmd/temporal"
DYNAMIC_CONFIG = Path(__file__).parents[2] / "temporal-dev.yaml"
TITLE = "Preparing the Temporal server (once a machine, about 4 minutes)"
_DOWNLOAD_SPACE = 500 * cache.MEGABYTE


def executable() -> Path:
    """The Temporal CLI: TEMPORAL_CLI, PATH, the user's cache, the SDK's own download, or a build by Go, in this order.

    The last two take minutes once and show progress. Raises EmbeddedError naming all five when none works.
    """
    named = os.environ.get("TEMPORAL_CLI")
    if named:
        if not os.access(named, os.X_OK):
            raise EmbeddedError(f"TEMPORAL_CLI names {named}, which is no executable file: correct it or unset it")
        return Path(named)
    on_path = shutil.which("temporal")
    if on_path:
        return Path(on_path)
    for cached in (golang.place("temporal", MODULE), _download_folder() / "temporal"):
        if cached.is_file():
            return cached
    return _downloaded_or_built()


def _download_folder() -> Path:
    return cache.folder() / "temporal-sdk-download"


def _downloaded_or_built() -> Path:
    try:
        return (
            cache.made_once(_download_folder().name, "Downloading the Temporal server", _DOWNLOAD_SPACE, _download)
            / "temporal"
        )
    except EmbeddedError as error:
        refused = str(error)
    if not golang.available():
        raise EmbeddedError(
            "no Temporal server: TEMPORAL_CLI is not set, there is no `temporal` on PATH and none in the cache "
            f"{cache.folder()}, the download failed ({refused}) and there is no `go` on PATH to build it: "
            "do one of these, for example install Go 1.26 or newer from https://go.dev/dl"
        )
    return golang.build("temporal", MODULE, PACKAGE, TITLE)


def _download(folder: Path, _: Step) -> None:
    """Lets the Python SDK fetch the CLI that it was released with; it is stopped again as soon as it is there."""
    try:
        asyncio.run(_download_by_sdk(folder))
    except (RuntimeError, TimeoutError) as error:
        raise EmbeddedError(str(error).splitlines()[0] if str(error) else "no answer within 5 minutes") from error
    found = [file for file in folder.iterdir() if file.is_file()]
    if len(found) != 1:
        raise EmbeddedError(f"the download left {len(found)} files where one executable was expected")
    found[0].rename(folder / "temporal")


async def _download_by_sdk(folder: Path) -> None:
    from temporalio.testing import WorkflowEnvironment

    async with asyncio.timeout(300):
        server = await WorkflowEnvironment.start_local(download_dest_dir=str(folder))
        await server.shutdown()


def start(
    data: Path,
    port: int,
    ui_port: int,
    log: Path,
    search_attributes: Mapping[str, str] | None = None,
    dynamic_config: Path = DYNAMIC_CONFIG,
    settings: Sequence[str] = (),
) -> Running:
    """Starts the dev server over `data/temporal.db` and returns once the namespace can be used. Raises EmbeddedError.

    search_attributes: name -> type (Keyword, Datetime, Bool, ...), registered when missing.
    dynamic_config: a Temporal server dynamic-config file. settings: further `KEY=JSON` dynamic-config values.
    """
    program = executable()
    require_free("Temporal", port)
    require_free("the Temporal UI", ui_port)
    data.mkdir(parents=True, exist_ok=True)
    cache.require_space(data, 200 * cache.MEGABYTE)
    argv = [
        str(program), "server", "start-dev", "--ip", LOOPBACK, "--port", str(port), "--ui-port", str(ui_port),
        "--metrics-port", str(free_port()), "--http-port", str(free_port()),
        "--db-filename", str(data / "temporal.db"),
        "--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1",
        "--log-level", "warn", "--disable-config-file",
    ]  # fmt: skip
    for name, kind in (search_attributes or {}).items():
        argv += ["--search-attribute", f"{name}={kind}"]
    for value in (*dynamic_config_flags(dynamic_config), *settings):
        argv += ["--dynamic-config-value", value]
    process = launch(Spec("Temporal", argv, log, cwd=data, env=_hidden_environment()), lambda: _serves(program, port))
    started = process.create_time()
    try:
        _set_retention(program, port)
    except EmbeddedError:
        stop(process.pid, started)
        raise
    extra = {"ui_url": f"http://{LOOPBACK}:{ui_port}", "ui_port": str(ui_port)}
    return Running("temporal", process.pid, started, port, f"{LOOPBACK}:{port}", extra)


def dynamic_config_flags(file: Path) -> list[str]:
    """The `KEY=JSON` values of a Temporal dynamic-config file. Raises EmbeddedError for what flags cannot say."""
    try:
        settings = yaml.safe_load(file.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise EmbeddedError(f"{file} cannot be read as a Temporal dynamic-config file: {error}") from error
    flags = []
    for name, values in settings.items():
        if not isinstance(values, list) or len(values) != 1 or "value" not in values[0] or values[0].get("constraints"):
            raise EmbeddedError(
                f"{file}: {name} must have exactly one value and no constraints, because the dev server takes flags"
            )
        flags.append(f"{name}={json.dumps(values[0]['value'])}")
    return flags


def _hidden_environment() -> dict[str, None]:
    """Hides a developer's Temporal settings (a cloud address, an API key) from our own server and its CLI."""
    return {name: None for name in os.environ if name.startswith("TEMPORAL_")}


def _serves(program: Path, port: int) -> bool:
    """Whether the frontend answers for the namespace; asked only once the port accepts connections."""
    return answers(port) and _cli(program, port, "operator", "namespace", "describe", "-n", NAMESPACE).returncode == 0


def _set_retention(program: Path, port: int) -> None:
    done = _cli(program, port, "operator", "namespace", "update", "-n", NAMESPACE, "--retention", RETENTION)
    if done.returncode:
        raise EmbeddedError(f"Temporal refused a retention of {RETENTION}: {done.stderr.strip()}")


def _cli(program: Path, port: int, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [str(program), *command, "--address", f"{LOOPBACK}:{port}", "--disable-config-file"]
    env = surroundings(_hidden_environment())
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, env=env)
