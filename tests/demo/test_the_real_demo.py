"""The demo as a newcomer runs it, on a stack of its own with Kafka and S3; then again; then with one cent wrong."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DURABILL = (sys.executable, "-c", "from starter.cli import main; main()")


def durabill(folder: Path, *arguments: str, code: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """`durabill ARGUMENTS` in `folder`, with the code below `code`."""
    environment = {**os.environ, "PYTHONPATH": str(code)}
    return subprocess.run(
        [*DURABILL, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=540, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the demo keeps its data; whatever it started is stopped in the end."""
    made = tmp_path_factory.mktemp("demo")
    yield made
    stopped = durabill(made, "dev", "stop")
    assert stopped.returncode == 0, stopped.stderr


@pytest.fixture(scope="module")
def played(folder: Path) -> "subprocess.CompletedProcess[str]":
    """The whole year, through a Kafka broker and an S3 server."""
    return durabill(folder, "demo", "--kafka", "--s3", "--json")


def test_the_year_ends_as_worked_out_by_hand(played: "subprocess.CompletedProcess[str]") -> None:
    assert played.returncode == 0, played.stderr[-4000:]
    report = json.loads(played.stdout)
    assert report["differences"] == []
    assert len(report["invoices"]) == 37


def test_a_second_run_uses_what_is_there(played: "subprocess.CompletedProcess[str]", folder: Path) -> None:
    again = durabill(folder, "demo", "--kafka", "--s3", "--json")
    assert again.returncode == 0, again.stderr[-4000:]
    first, second = json.loads(played.stdout), json.loads(again.stdout)
    assert second["invoices"] == first["invoices"]


def test_an_invoice_explains_itself_down_to_its_events(
    played: "subprocess.CompletedProcess[str]", folder: Path
) -> None:
    explained = durabill(folder, "invoices", "explain", "INV-202503-00001")
    assert explained.returncode == 0, explained.stderr
    assert "usage: 111471.99 from 1142 events" in explained.stdout
    # 54 + 69.8 + 18.78799125 = 142.58799125: tier by tier, and what they come to
    assert {"54", "69.8", "18.78799125", "142.58799125"} <= set(explained.stdout.split())
    assert durabill(folder, "invoices", "verify", "INV-202503-00001").returncode == 0


def test_one_cent_is_noticed(played: "subprocess.CompletedProcess[str]", folder: Path, tmp_path: Path) -> None:
    code = tmp_path / "code"
    for package in ("billing", "models", "activities", "workflows", "starter", "deploy"):
        shutil.copytree(ROOT / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("worker.py", "temporal-dev.yaml"):
        shutil.copy(ROOT / file, code / file)
    golden = code / "starter" / "demo" / "golden" / "invoices.json"
    right = golden.read_text()
    assert right.count('"total": "114.50"') == 1
    golden.write_text(right.replace('"total": "114.50"', '"total": "114.51"'))
    wrong = durabill(folder, "demo", "--kafka", "--s3", "--json", code=code)
    assert wrong.returncode == 1, wrong.stderr[-4000:]
    assert [(d["invoice"], d["field"]) for d in json.loads(wrong.stdout)["differences"]] == [
        ("INV-202503-00002", "total")
    ]
