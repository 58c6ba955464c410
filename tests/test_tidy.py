"""Rules that no off-the-shelf linter knows: lengths, exact money, no clock in the rules, a clean lock."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("billing", "models", "activities", "workflows", "starter", "deploy")
CODE = sorted(
    [file for folder in (*PACKAGES, "tests", "bench") for file in (ROOT / folder).rglob("*.py")]
    + list(ROOT.glob("worker.py"))
)
TEXTS = [
    *CODE,
    *(
        file
        for folder in (*PACKAGES, "docs")
        for ending in ("md", "sql", "yaml", "toml")
        for file in (ROOT / folder).rglob(f"*.{ending}")
    ),
    *(
        ROOT / name
        for name in ("Makefile", "README.md", "pyproject.toml", "temporal-dev.yaml")
        if (ROOT / name).exists()
    ),
]
FILE_LINES = 400
FUNCTION_LINES = 70
WRITTEN_ONCE = ("models/migrations/",)
"""Migrations are lists of statements, never edited after their release: their length is no burden to anyone."""

EXACT = ("billing/", "models/")
"""Where not even a float literal may stand."""
MONEY = (*EXACT, "workflows/", "activities/", "starter/schemas/", "starter/demo/", "starter/api/")
"""Where neither `float()` nor `round()` may be called. Drawing and vendors' wires lie outside."""
NOT_MONEY = ("activities/adapters/", "activities/documents/")
CLOCKLESS = ("billing/", "workflows/")
OUTSIDE_WORKFLOWS = ("workflows/gate.py", "workflows/messaging.py")
"""Run in the process that sends a command, never inside a workflow: real deadlines, fresh command ids."""
CLOCKS = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns", "time.monotonic",
    "random.random", "random.randint", "random.choice", "uuid.uuid4", "uuid4", "uuid.uuid1",
}  # fmt: skip
BILLING_MAY_IMPORT = {"billing", "celpy", "iso4217", "lark", "msgspec"}
"""Besides the standard library; the time zone data comes by the wheel tzdata, without an import."""
BILLING_MAY_NOT_IMPORT = {
    "asyncio",
    "logging",
    "os",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "threading",
    "time",
    "urllib",
}

UNFINISHED = re.compile(
    "|".join((r"\bTO" r"DO\b", r"\bFIX" r"ME\b", r"\bXX" r"X\b", r"\bHA" r"CK\b", r"(?i:\bnot impl" r"emented\b)",
              r"(?i:\bst" r"ub\b)", r"(?i:\bfor n" r"ow\b(?!\())", r"(?i:\bsimpl" r"ified\b)"))
)  # fmt: skip


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@cache
@cache
def tree(file: Path) -> ast.Module:
    source = file.read_text()
    try:
        return ast.parse(source, filename=str(file))
    except SystemError:  # CPython 3.11 may miscount its own recursion when it collects garbage meanwhile (gh-106905)
        return ast.parse(source, filename=str(file))


def in_any(file: Path, places: tuple[str, ...]) -> bool:
    return name(file).startswith(places)


def dotted(node: ast.expr) -> str:
    """`datetime.now` of the expression `datetime.now`; of `a.b.datetime.now` as well."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
        base = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
        return f"{base}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def called(file: Path, names: set[str]) -> Iterator[str]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call) and dotted(node.func) in names:
            yield f"{name(file)}:{node.lineno}: {dotted(node.func)}()"


def imported(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, (node.module or "").split(".")[0]


def test_there_is_code_to_look_at() -> None:
    assert len(CODE) > 100


def test_files_are_short() -> None:
    lengths = {name(file): len(file.read_text().splitlines()) for file in CODE if not in_any(file, WRITTEN_ONCE)}
    assert {file: lines for file, lines in lengths.items() if lines > FILE_LINES} == {}


def test_functions_are_short() -> None:
    too_long = [
        f"{name(file)}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for file in CODE
        if not in_any(file, WRITTEN_ONCE)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
    ]
    assert too_long == []


def test_modules_say_what_they_own() -> None:
    silent = [
        name(file)
        for file in CODE
        if file.read_text().strip()
        and in_any(file, tuple(f"{p}/" for p in PACKAGES))
        and not ast.get_docstring(tree(file))
    ]
    assert silent == []


def test_no_float_literal_where_amounts_are_made() -> None:
    literals = [
        f"{name(file)}:{node.lineno}: {node.value!r}"
        for file in CODE
        if in_any(file, EXACT)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, float)
    ]
    assert literals == []


def test_no_float_and_no_round_near_money() -> None:
    files = [file for file in CODE if in_any(file, MONEY) and not in_any(file, NOT_MONEY)]
    assert [call for file in files for call in called(file, {"float", "round"})] == []


def test_no_clock_and_no_dice_in_rules_and_workflows() -> None:
    files = [file for file in CODE if in_any(file, CLOCKLESS) and not in_any(file, OUTSIDE_WORKFLOWS)]
    assert [call for file in files for call in called(file, CLOCKS)] == []


def test_billing_imports_the_standard_library_and_itself() -> None:
    allowed = (sys.stdlib_module_names - BILLING_MAY_NOT_IMPORT) | BILLING_MAY_IMPORT
    strangers = [
        f"{name(file)}:{line}: {module}"
        for file in CODE
        if in_any(file, ("billing/",))
        for line, module in imported(file)
        if module not in allowed
    ]
    assert strangers == []


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{name(file)}:{number}: {line.strip()}"
        for file in TEXTS
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [("# TO" "DO later", True), ("kept for n" "ow", True), ("time for n" "ow()", False), ("boto3-stubs", False)],
)  # fmt: skip
def test_the_search_for_unfinished_work_finds_it(line: str, expected: bool) -> None:
    assert bool(UNFINISHED.search(line)) is expected


def test_lock_pins_every_wheel_by_hash_and_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert not re.search(r"(?m)^\s*(-i|-f|--\S*index\S*|--find-links|--trusted-host)\b", text)
    logical = text.replace("\\\n", " ").splitlines()
    pins = [line for line in logical if line.strip() and not line.lstrip().startswith("#")]
    assert len(pins) > 50
    odd = [
        line
        for line in pins
        if not re.match(r"[a-z0-9][a-z0-9._-]*==\S+ ( ;[^\\]+)?.*--hash=sha256:[0-9a-f]{64}", line)
    ]
    assert odd == []
