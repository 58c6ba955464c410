"""`durabill events send`: every line once, every digit kept, wrong lines named."""

import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from starter.cli.events import with_id
from tests.cli.conftest import Run, WrittenApi

ACCEPTED = {"message": "Events accepted for processing"}


def write(path: str, events: list[dict[str, object]], packed: bool = False) -> None:
    content = "\n\n".join(json.dumps(event) for event in events).encode() + b"\n"
    Path(path).write_bytes(gzip.compress(content) if packed else content)


def event(number: int) -> dict[str, object]:
    return {"event_name": "call", "external_customer_id": "acme", "event_id": f"e{number}"}


@pytest.mark.parametrize("packed", [False, True])
def test_all_lines_are_sent_in_batches_and_in_order(api: WrittenApi, run: Run, packed: bool) -> None:
    write("usage.ndjson", [event(number) for number in range(5)], packed)
    api.answer("POST", "/events/bulk", ACCEPTED, status=202)
    ended = run("events", "send", "usage.ndjson", "--batch", "2", "--json")
    assert (ended.code, ended.data) == (0, {"sent": 5})
    sent = [[item["event_id"] for item in seen.body["events"]] for seen in api.seen]
    assert sent == [["e0", "e1"], ["e2", "e3"], ["e4"]]


def test_stdin_is_read_too(api: WrittenApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps(event(1)).encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(line)))
    api.answer("POST", "/events/bulk", ACCEPTED, status=202)
    assert run("events", "send", "-").out == "1 events sent.\n"


def test_a_busy_api_gets_the_same_ids_again(api: WrittenApi, run: Run) -> None:
    write("usage.ndjson", [{"event_name": "call", "external_customer_id": "acme"}])
    api.answer("POST", "/events/bulk", {"message": "busy"}, status=503)
    api.answer("POST", "/events/bulk", ACCEPTED, status=202)
    assert run("events", "send", "usage.ndjson").code == 0
    first, second = (seen.body["events"][0]["event_id"] for seen in api.seen)
    assert first == second
    assert first.startswith("event_")


def test_digits_are_kept_when_an_id_is_added() -> None:
    line = b'{"event_name":"c","properties":{"cost":0.1234567890123456789012345,"n":1e400}}'
    added = with_id(line, 1)
    assert b"0.1234567890123456789012345" in added
    assert b"1e400" in added
    assert with_id(b'{"event_id": "mine", "x": 1.50}\n', 1) == b'{"event_id": "mine", "x": 1.50}'


def test_a_line_that_is_no_event_stops_before_it_is_sent(api: WrittenApi, run: Run) -> None:
    Path("usage.ndjson").write_text(json.dumps(event(1)) + "\n[1, 2]\n")
    ended = run("events", "send", "usage.ndjson")
    assert ended.code == 1
    assert "line 2 is not one JSON object" in ended.err
    assert api.seen == []


def test_the_lines_that_the_api_refuses_are_named(api: WrittenApi, run: Run) -> None:
    write("usage.ndjson", [event(number) for number in range(3)])
    wrong = {"index": 2, "field": "event_name", "message": "event_name is required"}
    refusal = {"message": "1 of 3 events are not valid", "details": {"errors": [wrong]}}
    api.answer("POST", "/events/bulk", refusal, status=400)
    ended = run("events", "send", "usage.ndjson")
    assert ended.code == 1
    # The file has an empty line between any two events.
    assert ended.err == "Error: line 5: event_name: event_name is required\n0 events were sent before.\n"


def test_a_missing_file_is_named(api: WrittenApi, run: Run) -> None:
    ended = run("events", "send", "absent.ndjson")
    assert (ended.code, ended.err) == (1, "Error: absent.ndjson cannot be read: No such file or directory\n")
