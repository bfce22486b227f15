"""`python -m benchmarks --smoke`: every figure runs and conserves its messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

for peer in ("culsans", "janus"):
    pytest.importorskip(peer, reason="the peers are in the extra 'bench'")

from benchmarks.__main__ import main  # noqa: E402
from benchmarks.footprint import ROOT  # noqa: E402


def test_a_smoke_run_ends_well(tmp_path: Path) -> None:
    """In a process of its own: before each run it sweeps the heap, and that of the tests is large."""
    plot = tmp_path / "figures.svg"
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--json", "--plot", str(plot)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=110, check=False)
    found = json.loads(done.stdout)
    assert [row["error"] for row in found["figures"]] == [None] * len(found["figures"])
    assert (done.returncode, found["smoke"]) == (0, True)
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")


def test_only_takes_a_part_of_a_name_or_of_a_peer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--smoke", "--only", "PING-pong round"]) == 0
    printed = capsys.readouterr()
    assert "two asyncio.Queues" in printed.out
    assert "[1/1]" in printed.err


def test_a_name_that_no_figure_has_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "no such figure"]) == 2
    assert "no such figure" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["0", "-1", "many"])
def test_rounds_take_a_positive_number(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", word])
    assert "--rounds" in capsys.readouterr().err
