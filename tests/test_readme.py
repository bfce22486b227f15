"""The README holds what it says: its examples run, and its two commands are where the CI script looks for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
EXAMPLES = list(re.finditer(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))


def line_of(example: re.Match[str]) -> int:
    """The number of the first line of its code."""
    return TEXT.count("\n", 0, example.start(1)) + 1


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line-{line_of(example)}")
def test_an_example_runs_as_it_stands(example: re.Match[str]) -> None:
    if "import pydantic" in example[1]:
        pytest.importorskip("pydantic")
    source = "\n" * (line_of(example) - 1) + example[1]  # so that a traceback names the README's own lines
    exec(compile(source, str(README), "exec", dont_inherit=True), {"__name__": "readme"})


def test_no_example_is_overlooked() -> None:
    fences = [line for line in TEXT.splitlines() if line.lstrip().startswith(("```", "~~~"))]
    assert fences == ["```python", "```"] * len(EXAMPLES)
    assert EXAMPLES


def test_start_has_two_commands_of_one_line_each() -> None:
    section = re.search(r"^## Start$(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)
    assert section is not None
    commands = [line for line in section[1].splitlines() if line.startswith("    ")]
    assert len(commands) == 2
    assert commands[0].endswith("python -m eventbus demo")
    assert commands[1].endswith("python -m pytest -q -n auto")
