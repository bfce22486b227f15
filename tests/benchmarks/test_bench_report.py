"""The shapes of what the benchmarks print: table, JSON and chart."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks.chart import attained, chart
from benchmarks.harness import Figure, Kind, Plan, Result
from benchmarks.report import as_json, heading, summary, table


def side(count: int) -> float:
    return 1.0


def result(name: str, must: float | None, aim: float | None, *rounds: float, kind: Kind = Kind.THROUGHPUT) -> Result:
    error = None if rounds else "ValueError: broken"
    return Result(Figure(name, f"peer of {name} <&>", side, side, must, aim, kind), rounds, error)


RESULTS = [
    result("good", 0.5, 0.8, 0.9, 1.0, 1.1),
    result("fair", 0.5, 0.8, 0.6),
    result("poor", 0.5, 0.8, 0.1),
    result("dear", 1.4, 1.1, 1.2, kind=Kind.COST),
    result("big", 300, 200, 250.4, kind=Kind.SIZE),
    result("shown", None, None, 0.3),
    result("failed", 0.5, 0.8),
]
SVG = "{http://www.w3.org/2000/svg}"


def test_the_table_has_a_row_for_each_figure_and_says_what_failed() -> None:
    lines = table(RESULTS).splitlines()
    assert lines[0].split() == ["figure", "peer", "median", "quartiles", "must", "aim", "reached"]
    assert lines[2].split()[5:] == ["1.00", "0.95", "to", "1.05", ">=", "0.5", ">=", "0.8", "aim"]
    assert [line.split()[-1] for line in lines[2:9]] == ["aim", "must", "SHORT", "must", "must", "-", "FAILED"]
    assert lines[-1] == "failed / peer of failed <&>: ValueError: broken"


def test_the_summary_counts() -> None:
    expected = "4 of 6 reach what they must, 1 of them their aim; 1 fall short, 1 failed to run."
    assert summary(RESULTS) == expected


def test_the_heading_names_the_machine_and_a_smoke_run() -> None:
    assert "Python" in heading(Plan(rounds=3))
    assert "3 rounds" in heading(Plan(rounds=3))
    assert "smoke" in heading(Plan(rounds=3, smoke=True))


def test_the_json_holds_the_ratios_of_all_rounds() -> None:
    found = json.loads(json.dumps(as_json(RESULTS, Plan(rounds=3))))
    assert set(found) == {"machine", "rounds", "smoke", "figures"}
    assert found["figures"][0] == {
        "figure": "good",
        "peer": "peer of good <&>",
        "kind": "throughput",
        "better": "higher",
        "median": 1.0,
        "quartiles": [0.95, 1.05],
        "rounds": [0.9, 1.0, 1.1],
        "must": 0.5,
        "aim": 0.8,
        "reached": "aim",
        "error": None,
    }
    assert found["figures"][-1]["error"] == "ValueError: broken"
    assert found["figures"][-1]["median"] is None


def test_the_chart_is_well_formed_and_draws_a_bar_for_each_figure_that_ran() -> None:
    root = ElementTree.fromstring(chart(RESULTS, Plan()))
    assert root.tag == f"{SVG}svg"
    plotted = [part for part in root.iter(f"{SVG}rect") if part.get("height") == "14"]
    assert [part.get("class") for part in plotted] == ["aim", "must", "short", "must", "must"]
    assert any("prefers-color-scheme: dark" in (part.text or "") for part in root.iter(f"{SVG}style"))


def test_a_chart_of_nothing_is_still_one() -> None:
    assert ElementTree.fromstring(chart([], Plan())).tag == f"{SVG}svg"


@pytest.mark.parametrize(("kind", "value", "share"), [(Kind.THROUGHPUT, 1.0, 2.0), (Kind.COST, 1.0, 0.5)])
def test_a_longer_bar_is_better_whatever_the_kind(kind: Kind, value: float, share: float) -> None:
    assert attained(kind, value, must=0.5) == share
