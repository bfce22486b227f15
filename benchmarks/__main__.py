"""python -m benchmarks: see `--help`. Exit status 1 if a figure failed to run or lost a message; falling short is 0."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks.catalogue import chosen
from benchmarks.chart import chart
from benchmarks.harness import Figure, Plan, Result, measure
from benchmarks.report import as_json, heading, summary, table


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Every figure of the README against its peer.")
    parser.add_argument("--json", action="store_true", help="print the results as JSON instead of a table")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write a bar chart to this SVG file too")
    parser.add_argument("--smoke", action="store_true", help="tiny counts: shows that all figures run, not how fast")
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="only figures whose name or peer contains this")
    parser.add_argument("--rounds", metavar="N", type=positive, help="rounds to measure (default: 15, with --smoke 1)")
    return parser.parse_args(words)


def positive(word: str) -> int:
    """A number of rounds: one or more."""
    if (value := int(word)) < 1:
        raise argparse.ArgumentTypeError(f"it takes 1 or more, not {value}")
    return value


def plan_of(options: argparse.Namespace) -> Plan:
    plan = Plan(rounds=1, smoke=True) if options.smoke else Plan()
    return plan if options.rounds is None else attrs.evolve(plan, rounds=options.rounds)


def measure_all(figures: Sequence[Figure], plan: Plan) -> list[Result]:
    """The figures one after another, with a word to standard error about each."""
    results = []
    for index, figure in enumerate(figures, 1):
        print(f"[{index}/{len(figures)}] {figure.label}", file=sys.stderr, flush=True)
        results.append(measure(figure, plan))
    return results


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    plan, figures = plan_of(options), chosen(options.only)
    if not figures:
        print(f"no figure has {options.only!r} in its name or its peer", file=sys.stderr)
        return 2
    results = measure_all(figures, plan)
    if options.plot is not None:
        options.plot.write_text(chart(results, plan), encoding="utf-8")
    if options.json:
        print(json.dumps(as_json(results, plan), indent=2))
    else:
        print(heading(plan), table(results), summary(results), sep="\n\n")
    return 1 if any(result.error is not None for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
