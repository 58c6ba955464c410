"""The stack over one folder: reuse, the same addresses every day, and one clear sentence for what is in the way."""

import asyncio
import json
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import cache, golang, kafka, stack, temporal
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.process import is_alive, stop
from deploy.embedded.stack import Endpoints, Stack


@pytest.fixture
def down_afterwards(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    Stack(tmp_path / "data").down()


def test_up_again_reuses_and_down_and_up_keeps_the_addresses(down_afterwards: Path) -> None:
    first = Stack(down_afterwards).up()
    running = Stack(down_afterwards).running()
    assert Stack(down_afterwards).up() == first
    assert Stack(down_afterwards).running() == running
    assert set(running) == {"postgres", "clickhouse", "temporal"}
    assert Stack(down_afterwards).down() == ["postgres", "clickhouse", "temporal"]
    assert not any(is_alive(part.pid, part.started) for part in running.values())
    assert Stack(down_afterwards).running() == {}
    assert Stack(down_afterwards).up() == first


def test_after_kill_9_of_a_part_only_that_part_is_started(down_afterwards: Path) -> None:
    started = Stack(down_afterwards).up()
    before = Stack(down_afterwards).running()
    stop(before["clickhouse"].pid, before["clickhouse"].started, signal.SIGKILL)
    assert Stack(down_afterwards).up() == started
    after = Stack(down_afterwards).running()
    assert after["clickhouse"].pid != before["clickhouse"].pid
    assert (after["postgres"], after["temporal"]) == (before["postgres"], before["temporal"])


def test_a_taken_port_is_one_sentence_and_nothing_is_left_running(down_afterwards: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"port {port} for temporal is taken by another program: stop that"):
            Stack(down_afterwards, fixed_ports={"temporal": port}).up()
    assert Stack(down_afterwards).running() == {}
    noted = json.loads((down_afterwards / "state.json").read_text())
    assert not any(is_alive(part["pid"], part["started"]) for part in noted.values())


def test_a_port_for_an_unknown_part(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="no part is called redis: ports can be set for postgres"):
        Stack(tmp_path, fixed_ports={"redis": 1})


def test_a_damaged_state_file(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(EmbeddedError, match=r"state\.json is damaged"):
        Stack(tmp_path).running()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match=r"cannot write .*file/data"):
        Stack(tmp_path / "file" / "data").up()


def test_a_full_disk_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        free = 12_000_000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Full)
    with pytest.raises(EmbeddedError, match="has 12 MB free and 500 MB are needed: free some disk space"):
        Stack(tmp_path / "data").up()
    assert Stack(tmp_path / "data").running() == {}


def test_settings_for_durabill_leave_out_what_does_not_run() -> None:
    endpoints = Endpoints("postgresql://p", "http://c", "t:1", "http://ui")
    assert endpoints.as_env() == {
        "DURABILL_POSTGRES_DSN": "postgresql://p",
        "DURABILL_CLICKHOUSE_DSN": "http://c",
        "TEMPORAL_ADDRESS": "t:1",
        "DURABILL_TEMPORAL_UI_URL": "http://ui",
    }


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TEMPORAL_CLI", raising=False)
    return tmp_path / "cache" / "durabill"


def test_no_temporal_anywhere_names_all_five_ways(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_network(_: Path) -> None:
        raise RuntimeError("no route to host")

    monkeypatch.setattr(temporal, "_download_by_sdk", no_network)
    with pytest.raises(EmbeddedError) as refused:
        temporal.executable()
    text = str(refused.value)
    for way in ("TEMPORAL_CLI", "`temporal` on PATH", str(empty_cache), "no route to host", "`go` on PATH"):
        assert way in text
    assert [file.suffix for file in empty_cache.iterdir()] == [".lock"]


def test_temporal_cli_that_is_no_program(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_CLI", str(empty_cache / "nothing"))
    with pytest.raises(EmbeddedError, match=r"TEMPORAL_CLI names .* which is no executable file"):
        temporal.executable()


@pytest.mark.usefixtures("empty_cache")
def test_missing_tools_are_named() -> None:
    with pytest.raises(EmbeddedError, match="needs Java 17 or newer: install a JDK"):
        kafka.jars()
    with pytest.raises(EmbeddedError, match=r"needs Go 1\.26 or newer: install it"):
        stack.prepare(["s3"])


def test_a_broken_off_build_leaves_nothing_and_the_next_one_succeeds(empty_cache: Path) -> None:
    def cut_short(folder: Path, _: object) -> None:
        (folder / "half").write_text("x")
        raise EmbeddedError("power cut")

    with pytest.raises(EmbeddedError, match="power cut"):
        cache.made_once("tool-1", "Making the tool", 1, cut_short)
    (empty_cache / "tool-1.partial").mkdir()
    (empty_cache / "tool-1.partial" / "leftover").write_text("of a killed run")
    made = cache.made_once("tool-1", "Making the tool", 1, lambda folder, _: (folder / "tool").touch())
    assert [file.name for file in made.iterdir()] == ["tool"]


async def test_two_at_once_make_it_once(empty_cache: Path) -> None:
    made: list[Path] = []

    def make(folder: Path, _: object) -> None:
        made.append(folder)
        (folder / "tool").touch()

    tasks = [asyncio.to_thread(cache.made_once, "tool-2", "Making", 1, make) for _ in range(4)]
    assert set(await asyncio.gather(*tasks)) == {empty_cache / "tool-2"}
    assert len(made) == 1


def test_a_failing_build_tool_is_quoted(tmp_path: Path) -> None:
    code = "import sys; print('compiling'); sys.exit('undefined: x')"
    with pytest.raises(EmbeddedError, match=r"failed with exit code 1; it said: compiling \| undefined: x"):
        cache.made_once(
            f"none-{tmp_path.name}",
            "Building",
            1,
            lambda _, running: cache.run_with_progress([sys.executable, "-uc", code], tmp_path, running, str),
        )


def test_another_pin_is_another_place_in_the_cache(tmp_path: Path) -> None:
    for name, text in (("go.mod", "module x"), ("go.sum", "a")):
        (tmp_path / name).write_text(text)
    before = golang.place("tool", tmp_path)
    (tmp_path / "go.sum").write_text("b")
    assert golang.place("tool", tmp_path) != before


def test_dynamic_config_file_becomes_flags(tmp_path: Path) -> None:
    assert "limit.maxIDLength=255" in temporal.dynamic_config_flags(temporal.DYNAMIC_CONFIG)
    file = tmp_path / "config.yaml"
    file.write_text('a.text:\n  - value: "x"\n    constraints: {}\nb.flag:\n  - value: true\n')
    assert temporal.dynamic_config_flags(file) == ['a.text="x"', "b.flag=true"]
    file.write_text("a.b:\n  - value: 1\n    constraints: {namespace: other}\n")
    with pytest.raises(EmbeddedError, match=r"a\.b must have exactly one value and no constraints"):
        temporal.dynamic_config_flags(file)
