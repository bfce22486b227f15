"""The command `python -m eventbus demo`."""

from __future__ import annotations

import sys
from typing import Annotated

import anyio
import typer

from eventbus.demo.input import Batch, Problem, Source, generated, open_input
from eventbus.demo.ledger import Ledger, Step
from eventbus.demo.report import as_json, as_table, unconserved
from eventbus.demo.shop import Outcome, run

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="An event bus inside one process.")


@app.callback()
def main() -> None:
    """An event bus inside one process."""


class Watched:
    """A source that says on standard error how far it is, and counts bad lines."""

    def __init__(self) -> None:
        self.source: Source | None = None
        self.orders = 0
        self.bad_lines = 0
        self.told = 0

    def report(self, problem: Problem) -> None:
        self.bad_lines += 1
        print(f"line {problem.line}: {problem.reason}", file=sys.stderr)

    async def read(self) -> Batch | None:
        assert self.source is not None
        batch = await self.source.read()
        if batch is not None:
            self.orders += len(batch.orders)
            if self.orders - self.told >= 10_000:
                self.told = self.orders
                print(f"{self.orders:,} orders placed", file=sys.stderr, flush=True)
        return batch


@app.command()
def demo(
    input: Annotated[str | None, typer.Option(help="JSON lines of orders; - is standard input.")] = None,
    orders: Annotated[int, typer.Option(min=0, help="How many orders to make up, without --input.")] = 100_000,
    seed: Annotated[int, typer.Option(help="What the made-up orders start from.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run a small shop on the bus and account for every order."""
    watched = Watched()
    try:
        watched.source = generated(orders, seed) if input is None else open_input(input, watched.report)
    except OSError as error:
        print(f"cannot read {input}: {error.strerror}", file=sys.stderr)
        raise typer.Exit(2) from error
    ledger = Ledger()
    try:
        outcome = anyio.run(run, watched, ledger, seed)
    except KeyboardInterrupt:
        print("interrupted; what was under way is given up", file=sys.stderr)
        raise typer.Exit(130) from None
    problems = [*filter(None, (unconserved(n, s) for n, s in outcome.stats.queues.items())), *ledger.unaccounted()]
    _print(outcome, watched, ledger, problems, json)
    raise typer.Exit(1 if problems else 0)


def _print(outcome: Outcome, watched: Watched, ledger: Ledger, problems: list[str], json: bool) -> None:
    if json:
        print(as_json(outcome, watched.orders, watched.bad_lines, problems))
        return
    print(as_table(outcome))
    placed, bad = ledger.counts[Step.PLACED], watched.bad_lines
    print(f"{placed:,} orders in {outcome.seconds:.1f} s, {bad:,} bad lines, {len(problems):,} unaccounted for")
    for problem in problems:
        print(problem, file=sys.stderr)
