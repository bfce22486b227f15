"""The command `python -m eventbus demo`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, NoReturn

import anyio
import typer

from eventbus.demo.input import generated, open_input
from eventbus.demo.ledger import Ledger, Step
from eventbus.demo.progress import Watched
from eventbus.demo.report import as_json, as_table, unconserved
from eventbus.demo.shop import Outcome, run

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """An event bus inside one process."""


@app.command()
def demo(
    input: Annotated[str | None, typer.Option(help="JSON lines of orders; - is standard input.")] = None,
    orders: Annotated[int, typer.Option(min=0, help="How many orders to make up, without --input.")] = 100_000,
    seed: Annotated[int, typer.Option(help="What the made-up orders start from.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run a small shop on the bus and account for every order.

    An order is a JSON object: {"id": "A-1", "customer": "c-7", "total": 99.5}, and perhaps "express" or "declined".
    The exit status is 1 if a message is unaccounted for, 2 if the input can't be read.
    """
    watched, ledger = Watched(), Ledger()
    try:
        watched.source = generated(orders, seed) if input is None else open_input(input, watched.report)
        with watched:
            outcome = anyio.run(run_unless_interrupted, watched, ledger, seed)
    except OSError as error:
        stop(f"cannot read {input}: {error.strerror}", 2)
    if outcome is None:
        stop("interrupted; what was under way is given up", 130)
    problems = [*filter(None, (unconserved(n, s) for n, s in outcome.stats.queues.items())), *ledger.unaccounted()]
    for problem in problems:
        print(problem, file=sys.stderr)
    say(as_json(outcome, watched, problems) if json else in_words(outcome, watched, ledger, problems))
    raise typer.Exit(1 if problems else 0)


async def run_unless_interrupted(watched: Watched, ledger: Ledger, seed: int) -> Outcome | None:
    """The outcome, or None after Ctrl-C, which cancels like anything else does and so leaves in good order."""
    outcome = None
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await anext(aiter(signals))
                group.cancel_scope.cancel()

            group.start_soon(watch)
            outcome = await run(watched, ledger, seed)
            group.cancel_scope.cancel()
    return outcome


def in_words(outcome: Outcome, watched: Watched, ledger: Ledger, problems: list[str]) -> str:
    """The table, and the sum of it all."""
    placed, bad = ledger.counts[Step.PLACED], watched.bad_lines
    total = f"{placed:,} orders in {outcome.seconds:.1f} s, {bad:,} bad lines, {len(problems):,} unaccounted for"
    return f"{as_table(outcome)}\n\n{total}"


def say(text: str) -> None:
    """Print, unless nobody reads any more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # as `| head` does; what the interpreter flushes at its end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stop(text: str, status: int) -> NoReturn:
    """Say why, and end."""
    print(text, file=sys.stderr)
    raise typer.Exit(status)
