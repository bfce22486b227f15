"""The results as a bar chart: one SVG by hand, without a dependency, readable in the light and in the dark.

Figures of unlike scales share one axis: a bar shows how far a figure got towards what it must reach, which is the line
at 1. So the longer bar is the better one for figures "at least" and "at most" alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from benchmarks.harness import Kind, Plan, Result, Verdict
from benchmarks.report import heading, line, number

LEFT, PLOT, RIGHT = 380, 420, 90  # pixels: names, bars, numbers
TOP, ROW, BAR, BOTTOM = 64, 30, 14, 48
WIDTH = LEFT + PLOT + RIGHT
SPAN = 2.5  # how many times what it must a bar can show; a longer one is cut, its number is not

STYLE = """
  svg { --back: #ffffff; --ink: #1f2328; --faint: #59636e; --grid: #d1d9e0;
        --aim: #1a7f37; --must: #0969da; --short: #cf222e; }
  @media (prefers-color-scheme: dark) {
    svg { --back: #0d1117; --ink: #f0f6fc; --faint: #9198a1; --grid: #3d444d;
          --aim: #3fb950; --must: #4493f8; --short: #f85149; } }
  .back { fill: var(--back); } text { fill: var(--ink); font: 12px system-ui, sans-serif; }
  .title { font-size: 15px; font-weight: 600; } .faint { fill: var(--faint); font-size: 11px; }
  .grid { stroke: var(--grid); } .line { stroke: var(--ink); stroke-dasharray: 4 3; }
  .aim { fill: var(--aim); } .must { fill: var(--must); } .short { fill: var(--short); }
  .mark { stroke: var(--ink); stroke-width: 2; } .spread { stroke: var(--ink); }
"""


def chart(results: Sequence[Result], plan: Plan) -> str:
    """The SVG, of every figure that ran and has something to reach."""
    shown = [result for result in results if result.error is None and result.figure.must is not None]
    height = TOP + ROW * len(shown) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' role="img" aria-label="eventbus against its peers">',
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="6"/>',
        text(16, 26, "eventbus against its peers, over what it must reach", "title"),
        text(16, 44, heading(plan), "faint"),
        *axis(len(shown)),
    ]
    for index, result in enumerate(shown):
        parts.extend(bar(result, TOP + ROW * index))
    parts.extend(legend(height - 14))
    return "\n".join((*parts, "</svg>", ""))


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def upright(x: float, top: float, bottom: float, style: str) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:g}" y2="{bottom:g}" class="{style}"/>'


def attained(kind: Kind, value: float, must: float) -> float:
    """How far a value gets towards what it must reach: 1 is just there, more is better."""
    return value / must if kind.higher_is_better else must / value if value else math.inf


def place(share: float) -> float:
    """Where on the axis a share is, in pixels."""
    return LEFT + PLOT * min(share, SPAN) / SPAN


def axis(rows: int) -> Iterable[str]:
    """Grid lines at the halves, and the line of what must be reached."""
    bottom = TOP + ROW * rows
    for halves in range(int(SPAN * 2) + 1):
        share = halves / 2
        yield upright(place(share), TOP - 4, bottom, "line" if share == 1 else "grid")
        yield text(place(share), bottom + 14, f"{share:g}", "faint", "middle")


def bar(result: Result, top: float) -> Iterable[str]:
    """One figure: its name, its bar, the spread of its rounds, the mark of its aim and its number."""
    figure, middle = result.figure, top + ROW / 2
    must = figure.must or 1.0
    end = place(attained(figure.kind, result.median, must))
    low, high = sorted(place(attained(figure.kind, quartile, must)) for quartile in result.quartiles)
    style = {Verdict.AIM: "aim", Verdict.MUST: "must"}.get(result.verdict, "short")
    yield text(LEFT - 10, middle - 1, figure.name, anchor="end")
    yield text(
        LEFT - 10, middle + 11, f"{figure.peer or 'by itself'}, {line(figure.kind, figure.must)}", "faint", "end"
    )
    yield f'<rect x="{LEFT}" y="{middle - BAR / 2:g}" width="{end - LEFT:.1f}" height="{BAR}" rx="2" class="{style}"/>'
    yield f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle:g}" y2="{middle:g}" class="spread"/>'
    if figure.aim is not None:
        yield upright(place(attained(figure.kind, figure.aim, must)), middle - 10, middle + 10, "mark")
    yield text(LEFT + PLOT + 12, middle + 4, number(figure.kind, result.median))


def legend(y: float) -> Iterable[str]:
    """What the colours and marks mean."""
    words = (("aim", "reaches its aim"), ("must", "reaches what it must"), ("short", "falls short"))
    for index, (style, meaning) in enumerate(words):
        x = 16 + 150 * index
        yield f'<rect x="{x}" y="{y - 10:g}" width="12" height="12" rx="2" class="{style}"/>'
        yield text(x + 18, y, meaning, "faint")
    yield upright(472, y - 10, y + 2, "mark")
    yield text(480, y, "its aim", "faint")
    yield upright(542, y - 10, y + 2, "line")
    yield text(550, y, "what it must reach; the thin line is the spread of the rounds", "faint")
