"""Mutation runs over the rules: one thing is changed at a time, and a test has to notice.

`mutmut` makes the mutants, in a copy of the tree: all mutants of a file stand in it side by side behind a switch. One
pytest session collects the tests once, measures which of them reach which function, and is forked for each mutant. The
child runs the tests that reach it up to the first failure: first what noticed mutants of that function before, then the
quickest. Laws are tried on a few examples, always the same ones.

    make mutations FILES="billing/prices.py billing/taxes.py"
    make mutations FILES="billing/simulation/*.py" MUTATIONS="--sample 100 --seed 7"

The results are one JSON object a line, with what was changed. `--again RESULTS` runs an earlier run's survivors alone,
and `--tests FILE` tries only the tests of a file, which is measured in seconds.
"""

import argparse
import ast
import difflib
import gc
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = ["tests/unit", "tests/simulation", "tests/scenarios", "--ignore=tests/simulation/test_on_stack.py"]
PLAN = "mutations.json"
NOTICED = ("killed", "timeout")
SPARE_BYTES = 2**30


def main() -> None:
    """Makes the mutants in a copy of the tree, and runs them there."""
    options = _options()
    if options.inside:
        mutations = Mutations()
        chosen = mutations.plan["tests"] or TESTS
        sys.exit(pytest.main(["-q", "-s", "-p", "no:cacheprovider", "-o", "addopts=", *chosen], plugins=[mutations]))
    with tempfile.TemporaryDirectory(prefix="mutations-") as directory:
        tree = Path(directory)
        _copy(tree)
        os.chdir(tree)  # where mutmut looks for its settings
        made = {file: _mutate(tree / file) for file in options.files}
        mutants = [(file, name) for file, changes in made.items() for name in _chosen(file, list(changes), options)]
        plan = {
            "mutants": mutants,
            "changes": {name: change for changes in made.values() for name, change in changes.items()},
            "made": {file: len(changes) for file, changes in made.items()},
            "examples": options.examples,
            "seconds": options.seconds,
            "tests": options.tests,
            "results": str(options.results.resolve() if options.results.is_absolute() else ROOT / options.results),
        }
        (tree / PLAN).write_text(json.dumps(plan))
        print(f"{len(plan['changes'])} mutants made, {len(mutants)} to run", flush=True)
        ran = subprocess.run([sys.executable, "-m", "tests.mutations", "--inside"], cwd=tree)
    sys.exit(ran.returncode)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="*", help="modules to mutate, from the root of the tree")
    parser.add_argument("--sample", type=int, help="run at most so many mutants of a file, taken at random")
    parser.add_argument("--seed", type=int, default=1, help="what the sample follows from")
    parser.add_argument("--again", type=Path, help="results of an earlier run, whose survivors alone are run")
    parser.add_argument(
        "--tests",
        action="append",
        default=[],
        help="try these tests alone, such as a file that was written for survivors",
    )
    parser.add_argument("--examples", type=int, default=20, help="examples of a law")
    parser.add_argument(
        "--seconds", type=float, default=20, help="tests are run for one mutant until they would take more"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("build/mutations.jsonl"), help="where the results are added"
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.survivors = None
    if options.again:
        earlier = [json.loads(line) for line in options.again.read_text().splitlines()]
        last = {one["mutant"]: one for one in earlier}  # a later result counts
        left = [one for one in last.values() if one["result"] not in NOTICED]
        options.survivors = {one["mutant"] for one in left}
        options.files = options.files or sorted({one["file"] for one in left})
    if not (options.files or options.inside):
        parser.error("name at least one module, such as billing/prices.py, or an earlier run by --again")
    options.results.parent.mkdir(parents=True, exist_ok=True)
    return options


def _copy(tree: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    with (tree / "pyproject.toml").open("a") as settings_file:
        settings_file.write('\n[tool.mutmut]\nsource_paths = ["billing"]\ntrack_dependencies = false\n')


def _mutate(file: Path) -> dict[str, str]:
    """Puts all mutants of `file` into it. Returns what each of them changes."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    mutated = mutate_file_contents(str(file), file.read_text())
    file.write_text(mutated.code)
    module = ".".join(file.relative_to(Path.cwd()).with_suffix("").parts)
    lines = mutated.code.splitlines()
    text = {
        node.name: lines[node.lineno - 1 : node.end_lineno]
        for node in ast.walk(ast.parse(mutated.code))
        if isinstance(node, ast.FunctionDef)
    }
    return {f"{module}.{name}": _change(name, text) for name in mutated.mutant_names}


def _change(name: str, text: dict[str, list[str]]) -> str:
    function = name.rpartition("__mutmut_")[0]
    before = [line.replace(f"{function}__mutmut_orig", function) for line in text[f"{function}__mutmut_orig"]]
    after = [line.replace(name, function) for line in text[name]]
    differing = list(difflib.unified_diff(before, after, lineterm="", n=0))[2:]
    return "\n".join(line for line in differing if not line.startswith("@@"))


def _chosen(file: str, names: list[str], options: argparse.Namespace) -> list[str]:
    if options.survivors is not None:
        return [name for name in names if name in options.survivors]
    if options.sample is None or options.sample >= len(names):
        return names
    return sorted(random.Random(f"{options.seed} {file}").sample(names, options.sample), key=names.index)


class Mutations:
    """The pytest session: tests are measured once, then each mutant is run in a fork of it."""

    def __init__(self) -> None:
        self.plan = json.loads(Path(PLAN).read_text())
        self.items: dict[str, list[pytest.Item]] = defaultdict(list)
        self.seconds: dict[pytest.Item, float] = {}
        self.noticed: dict[str, Counter[pytest.Item]] = defaultdict(Counter)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Laws are tried on the same few examples."""
        from hypothesis import Phase, settings

        for item in items:
            test = getattr(item, "obj", None)
            law = getattr(test, "_hypothesis_internal_use_settings", None)
            if test is not None and law is not None:
                test._hypothesis_internal_use_settings = settings(
                    law,
                    max_examples=min(law.max_examples, self.plan["examples"]),
                    derandomize=True,
                    database=None,
                    phases=[Phase.explicit, Phase.generate],
                    report_multiple_bugs=False,
                )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Measures, then runs the mutants, adding to the results as they come."""
        started = time.process_time()
        self._measure(session)
        if session.testsfailed:
            raise session.Failed("the tests must pass before anything is changed")
        print(f"\n{len(session.items)} tests measured in {time.process_time() - started:.0f} s of CPU", flush=True)
        gc.collect()
        gc.freeze()  # a child must not copy the heap only to find that there is no garbage in it
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        with Path(self.plan["results"]).open("a") as results:
            for number, (file, name) in enumerate(self.plan["mutants"], 1):
                result, by = self._run(session, name)
                counts[file][result] += 1
                told = {"file": file, "mutant": name, "result": result, "change": self.plan["changes"][name], "by": by}
                results.write(json.dumps(told) + "\n")
                results.flush()
                if number % 100 == 0:
                    print(f"  {number} of {len(self.plan['mutants'])}, now {file}", flush=True)
        for file, count in counts.items():
            found = ", ".join(f"{many} {result}" for result, many in sorted(count.items()))
            print(f"{file}: {self.plan['made'][file]} made, {count.total()} run: {found}")
        return True

    def _measure(self, session: pytest.Session) -> None:
        from mutmut.mutation.trampoline import set_mutant_under_test
        from mutmut.state import state

        set_mutant_under_test("stats")
        caches = _caches()
        for item, following in _with_following(session.items):
            _forget(caches)
            begun = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self.seconds[item] = time.process_time() - begun
            for function in state()._stats:
                self.items[function].append(item)
            state()._stats.clear()
        _forget(caches)

    def _run(self, session: pytest.Session, name: str) -> tuple[str, str]:
        """The result, and the test that noticed."""
        function = name.rpartition("__mutmut_")[0]
        noticed = self.noticed[function]
        total, chosen = 0.0, []
        for item in sorted(self.items[function], key=lambda item: (-noticed[item], self.seconds[item])):
            total += self.seconds[item]
            if total <= self.plan["seconds"]:
                chosen.append(item)
        if not chosen:
            return "no tests", ""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            Mutant(session, writing).run(name, chosen, self.seconds)
        os.close(writing)
        with os.fdopen(reading) as told:
            begun = told.read().split()
        _, status = os.waitpid(child, 0)
        if status == 0:
            return "survived", ""
        by = chosen[len(begun) - 1]
        noticed[by] += 1
        return "timeout" if os.WIFSIGNALED(status) else "killed", by.nodeid


class Mutant:
    """A forked session that runs one mutant, and ends at the first failure without telling it at length."""

    def __init__(self, session: pytest.Session, begun: int) -> None:
        self.session = session
        self.begun = begun

    def run(self, name: str, items: list[pytest.Item], seconds: dict[pytest.Item, float]) -> None:
        """Never returns."""
        from mutmut.mutation.trampoline import set_mutant_under_test

        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            self.session.config.pluginmanager.unregister(name="terminalreporter")
            self.session.config.pluginmanager.register(self)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            set_mutant_under_test(name)
            for item, following in _with_following(items):
                limit = int(time.process_time() + 10 * seconds[item]) + 2
                resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
                os.write(self.begun, b"begun\n")
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            os._exit(1 if self.session.testsfailed else 0)
        finally:
            os._exit(1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """Ends the process with the first failure."""
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            os._exit(1)


def _caches() -> list[Callable[[], None]]:
    """What empties the caches of the rules: a remembered answer is neither the test's own nor the changed code's."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "billing"]
    found = (getattr(value, "cache_clear", None) for module in modules for value in vars(module).values())
    return [clear for clear in found if clear is not None]


def _forget(caches: Iterable[Callable[[], None]]) -> None:
    for clear in caches:
        clear()


def _with_following(items: list[pytest.Item]) -> Iterable[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


if __name__ == "__main__":
    main()
