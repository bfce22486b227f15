"""Results for people, as a table, and for programs, as JSON. Ratios mostly: a time by itself says little elsewhere."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.disk import sync_latency
from benchmarks.harness import Kind, Plan, Result, Verdict

HEADS = ("figure", "peer", "median", "quartiles", "must", "aim", "reached")
NUMERIC = {"median", "quartiles", "must", "aim"}
LEGEND = (
    "Median of the rounds: throughput, ours over theirs (>=, higher is better);"
    " cost, ours over theirs, or bytes, seconds and megabytes (<=, lower is better)."
)


def machine() -> dict[str, str]:
    """Where it ran."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "loop": "asyncio, without uvloop",
        "disk": f"{sync_latency():.2f} ms to sync 4 KiB",
    }


def processor() -> str:
    """The model of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0]} x {len(models)}" if models else "unknown"


def heading(plan: Plan) -> str:
    """The line above the table and the chart: the machine and the rounds."""
    rounds = "smoke run, too short to say anything about speed" if plan.smoke else f"{plan.rounds} rounds"
    return "; ".join((*machine().values(), rounds))


def number(kind: Kind, value: float) -> str:
    return f"{value:.0f}" if kind in (Kind.SIZE, Kind.MEMORY) else f"{value:.2f}"


def line(kind: Kind, value: float | None) -> str:
    """A must or an aim, with the side of it that is good."""
    if value is None:
        return "-"
    return f"{'>=' if kind.higher_is_better else '<='} {value:g}"


def spread(result: Result) -> str:
    return " to ".join(number(result.figure.kind, quartile) for quartile in result.quartiles)


def cells(result: Result) -> tuple[str, ...]:
    """One row of the table."""
    figure = result.figure
    ran = result.error is None
    median = number(figure.kind, result.median) if ran else "-"
    lines = (line(figure.kind, figure.must), line(figure.kind, figure.aim))
    return (figure.name, figure.peer, median, spread(result) if ran else "-", *lines, result.verdict.value)


def table(results: Sequence[Result]) -> str:
    """The table, and below it what failed to run."""
    rows = [HEADS, *map(cells, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [aligned(row, widths) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    failures = [f"{result.figure.label}: {result.error}" for result in results if result.error is not None]
    return "\n".join((*lines, "", LEGEND, *failures))


def aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    parts = (
        cell.rjust(width) if head in NUMERIC else cell.ljust(width)
        for cell, width, head in zip(row, widths, HEADS, strict=True)
    )
    return "  ".join(parts).rstrip()


def summary(results: Sequence[Result]) -> str:
    """How many figures reached what, in one line."""
    counts = {verdict: sum(result.verdict is verdict for result in results) for verdict in Verdict}
    asked = len(results) - counts[Verdict.SHOWN]
    reached = counts[Verdict.AIM] + counts[Verdict.MUST]
    return (
        f"{reached} of {asked} reach what they must, {counts[Verdict.AIM]} of them their aim;"
        f" {counts[Verdict.SHORT]} fall short, {counts[Verdict.FAILED]} failed to run."
    )


def as_json(results: Sequence[Result], plan: Plan) -> dict[str, Any]:
    """Everything for programs: the numbers of all rounds."""
    return {
        "machine": machine(),
        "rounds": plan.rounds,
        "smoke": plan.smoke,
        "figures": [row(result) for result in results],
    }


def row(result: Result) -> dict[str, Any]:
    """One figure of the JSON. Without numbers, and with an error, if it failed to run."""
    figure = result.figure
    ran = result.error is None
    return {
        "figure": figure.name,
        "peer": figure.peer,
        "kind": figure.kind.value,
        "better": "higher" if figure.kind.higher_is_better else "lower",
        "median": result.median if ran else None,
        "quartiles": list(result.quartiles) if ran else None,
        "rounds": list(result.rounds),
        "must": figure.must,
        "aim": figure.aim,
        "reached": result.verdict.name.lower(),
        "error": result.error,
    }
