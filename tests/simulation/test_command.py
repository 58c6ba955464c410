"""`durabill simulate`: documents in, results out, exit codes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from starter.cli.app import app
from tests.simulation.documents import document

runner = CliRunner()


def run(*arguments: str, text: str | None = None) -> Any:
    return runner.invoke(app, ["simulate", *arguments], input=text)


def test_one_file_as_json(tmp_path: Path) -> None:
    file = tmp_path / "story.json"
    file.write_text(json.dumps(document()))
    done = run(str(file), "--json")
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert [invoice["number"] for invoice in result["invoices"]] == [
        "INV-202601-00001", "INV-202602-00001", "INV-202603-00001",
    ]  # fmt: skip
    assert result["subscription"]["status"] == "active"


def test_standard_input_for_a_person() -> None:
    done = run("-", text=json.dumps(document()))
    assert done.exit_code == 0
    assert "INV-202602-00001" in done.stdout


def test_every_line_is_explained_in_tables_and_as_json() -> None:
    done = run("-", "--explain", text=json.dumps(document()))
    assert done.exit_code == 0
    assert "INV-202602-00001: why this amount?" in done.stdout
    assert " ".join(done.stdout.split()).count("price 1 x 10 10") == 3
    result = json.loads(run("-", "--explain", "--json", text=json.dumps(document())).stdout)
    assert [one["number"] for one in result["explanations"]] == [one["number"] for one in result["invoices"]]
    first = result["explanations"][0]["lines"][0]
    assert (first["price"], first["amount"], first["sections"][0]["parts"][0]["exact"]) == ("seat", "10", "10")
    lines = run("--jsonl", "--explain", text=json.dumps(document())).stdout
    assert json.loads(lines)["explanations"] == result["explanations"]
    refused = run("-", "--explain", "--on", "http://localhost:1", text="{}").exception
    assert "--explain and --on do not go together" in str(refused)


def test_a_document_that_makes_no_sense_is_one_error(tmp_path: Path) -> None:
    file = tmp_path / "story.json"
    file.write_text(json.dumps(document(until="never")))
    done = run(str(file))
    assert done.exit_code == 1
    assert f"{file}: until must be an instant such as" in done.stderr
    assert done.stdout == ""


def test_a_line_in_a_line_out_and_a_failing_one_does_not_end_the_run() -> None:
    lines = [json.dumps(document(name="one")), json.dumps(document(name="two", until="never")), "{", "",
             json.dumps(document(name="four"))]  # fmt: skip
    done = run("--jsonl", "-", text="\n".join(lines))
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [result["name"] for result in results] == ["one", "two", "", "four"]
    assert results[1] == {
        "name": "two",
        "error": {
            "code": "validation_error",
            "message": "until must be an instant such as '2026-01-31T00:00:00Z'; got \"never\"",
            "path": "until",
        },
    }
    assert results[2]["error"]["code"] == "not_json"
    assert results[3]["invoices"]


def test_lines_that_are_all_right_exit_with_0() -> None:
    assert run("--jsonl", text=json.dumps(document())).exit_code == 0


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from starter import cli

    monkeypatch.setattr("sys.argv", ["durabill", "simulate", str(tmp_path / "none.json")])
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert cli.run() == 1
    assert "cannot be read" in capsys.readouterr().err
