"""A run in words: counts by kind, what was looked at, and the verdict."""

from tests.faults.driver.run import Report

MOST_PROBLEMS = 60


def write(report: Report) -> str:
    """Everything that people want to know afterwards."""
    counts, seconds = report.faults.counts, report.seconds
    lines = [f"seed {report.plan.seed}", f"faults: {counts.total()}"]
    lines += [f"  {counts[kind]:5d}  {kind}" for kind in report.faults.kinds]
    lines += [
        f"         {kind}: left out, no file system of its own can be mounted here" for kind in report.faults.without
    ]
    lines += [f"clocks moved over: {count} {name}" for name, count in report.clock.items()]
    lines += [f"looked at: {', '.join(f'{count} {name}' for name, count in report.verdict.looked_at.items())}"]
    lines += [f"clients: {', '.join(f'{count} {name}' for name, count in sorted(report.tally.counts.items()))}"]
    lines += [
        f"starts that had to be repeated: {report.failed_starts};"
        f" consumers that ended because nobody was there: {report.consumer_gave_up}"
    ]
    lines += [f"seconds: {', '.join(f'{name} {value:.0f}' for name, value in seconds.items())}"]
    lines += [f"problem: {problem}" for problem in report.problems[:MOST_PROBLEMS]]
    if report.problems:
        return "\n".join([*lines, f"FAILED: {len(report.problems)} problems; again: {report.plan.command()}"])
    return "\n".join([*lines, "PASSED: everything is as the simulator says"])
