"""`python -m deploy.embedded.prepare`, broken off in the middle of a build."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

FAKE_GO = """#!/bin/sh
[ "$1" = list ] && exit 0
echo compiling
sleep 600
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_broken_off_leaves_no_process_and_no_half_made_program(
    tmp_path: Path, how: signal.Signals
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    go = tools / "go"
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    cache = tmp_path / "cache"
    env = {**os.environ, "PATH": f"{tools}:/usr/bin:/bin", "XDG_CACHE_HOME": str(cache)}
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.embedded.prepare", "s3"], env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        assert process.stderr.readline().startswith("Preparing the S3 server")
        children = psutil.Process(process.pid).children(recursive=True)
        assert any(child.name() == "sleep" for child in children)
        process.send_signal(how)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted: nothing half made is left" in errors
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert [file.suffix for file in (cache / "durabill").iterdir()] == [".lock"]


def test_an_unknown_part_is_refused() -> None:
    done = subprocess.run([sys.executable, "-m", "deploy.embedded.prepare", "redis"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.split(":")[0]) == (2, "no part is called redis")
