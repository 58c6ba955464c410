"""An S3 server for the embedded stack: versitygw over a folder, built by Go from its pinned module."""

import errno
import os
import secrets
import signal
from pathlib import Path

from deploy.embedded import cache, golang
from deploy.embedded.ports import LOOPBACK, answers, require_free
from deploy.embedded.process import Running, Spec, launch

GENTLY = signal.SIGTERM
BUCKET = "durabill"
REGION = "us-east-1"
ACCESS_KEY = "durabill"
MODULE = Path(__file__).parent / "s3"
PACKAGE = "github.com/versity/versitygw/cmd/versitygw"
TITLE = "Preparing the S3 server (once a machine, about 1 minute)"


def executable() -> Path:
    """versitygw, built once a machine with progress. Raises EmbeddedError."""
    return golang.build("versitygw", MODULE, PACKAGE, TITLE)


def start(data: Path, port: int, log: Path) -> Running:
    """Starts the server with the bucket `durabill` over `data` and returns once it answers. Raises EmbeddedError.

    `extra` of the answer holds bucket, region, access_key and secret_key.
    """
    program = executable()
    require_free("S3", port)
    buckets = data / "buckets"
    (buckets / BUCKET).mkdir(parents=True, exist_ok=True)
    cache.require_space(data, 200 * cache.MEGABYTE)
    secret = _secret(data / "secret")
    argv = [str(program), "--quiet", "--port", f"{LOOPBACK}:{port}", "--region", REGION, "--keep-alive", "posix"]
    if not _keeps_attributes(buckets):
        sidecar = data / "attributes"
        sidecar.mkdir(exist_ok=True)
        argv += ["--sidecar", str(sidecar)]
    argv.append(str(buckets))
    spec = Spec("S3", argv, log, env={"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": secret})
    process = launch(spec, lambda: answers(port))
    extra = {"bucket": BUCKET, "region": REGION, "access_key": ACCESS_KEY, "secret_key": secret}
    return Running("s3", process.pid, process.create_time(), port, f"http://{LOOPBACK}:{port}", extra)


def _secret(file: Path) -> str:
    if not file.is_file():
        file.write_text(secrets.token_hex(16) + "\n")
        file.chmod(0o600)
    return file.read_text().strip()


def _keeps_attributes(folder: Path) -> bool:
    """Whether the file system stores extended attributes, where versitygw keeps an object's metadata."""
    if not hasattr(os, "setxattr"):
        return False
    try:
        os.setxattr(folder, "user.durabill-probe", b"1")
        os.removexattr(folder, "user.durabill-probe")
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return False
        raise
    return True
