"""Go programs of the embedded stack: built from a pinned module folder into the user's cache."""

import shutil
import subprocess
from pathlib import Path

from deploy.embedded import cache
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.progress import Step

BUILD_SPACE = 4_000 * cache.MEGABYTE
"""Module sources, Go's own build cache and the executable, in bytes."""


def available() -> bool:
    """Whether there is a `go` on PATH."""
    return shutil.which("go") is not None


def place(name: str, module: Path) -> Path:
    """Where the executable `name` of a module folder lies, or will lie, in the user's cache."""
    return cache.folder() / _folder(name, module) / name


def build(name: str, module: Path, package: str, title: str) -> Path:
    """The executable of `package`, built once a machine for each content of the module's go.mod and go.sum.

    Raises EmbeddedError when Go is missing or the build fails.
    """
    if place(name, module).is_file():
        return place(name, module)
    if not available():
        raise EmbeddedError(f"{title} needs Go 1.26 or newer: install it from https://go.dev/dl and put `go` on PATH")

    def make(folder: Path, running: Step) -> None:
        total = _package_count(module, package)
        compiled = 0

        def detail(line: str) -> str:
            nonlocal compiled
            if line.startswith("go: "):
                return line[4:]
            compiled += 1
            return f"{compiled} of at most {total} packages" if total else line

        command = [
            "go",
            "build",
            "-v",
            "-trimpath",
            "-mod=readonly",
            "-buildvcs=false",
            "-o",
            str(folder / name),
            package,
        ]
        cache.run_with_progress(command, module, running, detail)

    return cache.made_once(_folder(name, module), title, BUILD_SPACE, make) / name


def _folder(name: str, module: Path) -> str:
    return f"{name}-{cache.key(module / 'go.mod', module / 'go.sum')}"


def _package_count(module: Path, package: str) -> int:
    """How many packages the build consists of; 0 when Go cannot say (the build then says why)."""
    listed = subprocess.run(
        ["go", "list", "-mod=readonly", "-deps", package], cwd=module, capture_output=True, text=True, check=False
    )
    return len(listed.stdout.splitlines())
