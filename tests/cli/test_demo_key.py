"""The key of the demo: made once, remembered where only its user reads it, made again when the data is new."""

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from starter.cli import stack
from starter.dev import Dev
from tests.cli.conftest import WrittenApi


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "credentials.json"


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were made; making one is tested in test_bootstrap."""
    keys: list[str] = []

    def create(_running: Any, _environment: str) -> str:
        keys.append(f"sk_{len(keys)}")
        return keys[-1]

    monkeypatch.setattr(stack, "_create_key", create)
    return keys


def running(api: WrittenApi) -> Dev:
    return cast(Dev, SimpleNamespace(api_url=api.url))


def test_the_first_run_makes_a_key_and_remembers_it(api: WrittenApi, file: Path, made: list[str]) -> None:
    assert stack.demo_key(running(api), "demo", file) == "sk_0"
    assert json.loads(file.read_text()) == {"url": api.url, "api_key": "sk_0"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_second_run_uses_it_again(api: WrittenApi, file: Path, made: list[str]) -> None:
    stack.remember(file, "http://elsewhere", "sk_earlier")
    api.items("/customers")
    assert stack.demo_key(running(api), "demo", file) == "sk_earlier"
    assert made == []
    assert json.loads(file.read_text())["url"] == api.url


def test_a_key_that_the_api_no_longer_knows_is_replaced(api: WrittenApi, file: Path, made: list[str]) -> None:
    stack.remember(file, api.url, "sk_of_deleted_data")
    api.answer("GET", "/customers", {"error": "Invalid API key"}, status=401)
    assert stack.demo_key(running(api), "demo", file) == "sk_0"


def test_a_damaged_file_is_replaced(api: WrittenApi, file: Path, made: list[str]) -> None:
    file.write_text("{")
    assert stack.demo_key(running(api), "demo", file) == "sk_0"
