"""ClickHouse of the embedded stack: the `clickhouse` executable on PATH, else the chDB engine behind our HTTP front."""

import os
import shutil
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

from deploy.embedded import cache
from deploy.embedded.ports import LOOPBACK, require_free
from deploy.embedded.process import Running, Spec, launch

GENTLY = signal.SIGTERM
DATABASE = "default"
_SERVER_CONFIG = """\
<clickhouse>
  <logger><level>warning</level><console>1</console></logger>
  <listen_host>{host}</listen_host>
  <http_port>{port}</http_port>
  <path>{data}/</path>
  <tmp_path>{data}/tmp/</tmp_path>
  <timezone>UTC</timezone>
  <users_config>{users}</users_config>
  <mark_cache_size>268435456</mark_cache_size>
</clickhouse>
"""
_SERVER_USERS = """\
<clickhouse>
  <profiles><default><async_insert>0</async_insert></default></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
      <access_management>1</access_management>
    </default>
  </users>
</clickhouse>
"""


def start(data: Path, port: int, log: Path) -> Running:
    """Starts ClickHouse's HTTP interface over the folder `data` and returns once it answers. Raises EmbeddedError."""
    require_free("ClickHouse", port)
    data.mkdir(parents=True, exist_ok=True)
    cache.require_space(data, 200 * cache.MEGABYTE)
    executable = shutil.which("clickhouse")
    spec = _server(executable, data, port, log) if executable else _front(data, port, log)
    process = launch(spec, lambda: _answers(port))
    url = f"http://default@{LOOPBACK}:{port}/{DATABASE}"
    return Running("clickhouse", process.pid, process.create_time(), port, url)


def _front(data: Path, port: int, log: Path) -> Spec:
    repository = str(Path(__file__).parents[2])
    python_path = os.pathsep.join(filter(None, (repository, os.environ.get("PYTHONPATH"))))
    argv = [
        sys.executable,
        "-m",
        "deploy.embedded.clickhouse_front",
        "--data",
        str(data / "engine"),
        "--port",
        str(port),
    ]
    return Spec("ClickHouse (chDB)", argv, log, env={"PYTHONPATH": python_path, "TZ": "UTC"})


def _server(executable: str, data: Path, port: int, log: Path) -> Spec:
    config = data / "server.xml"
    users = data / "users.xml"
    users.write_text(_SERVER_USERS)
    config.write_text(_SERVER_CONFIG.format(host=LOOPBACK, port=port, data=data / "server", users=users))
    return Spec("ClickHouse", [executable, "server", f"--config-file={config}"], log, cwd=data)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
