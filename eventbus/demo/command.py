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
from eventbus.demo.position import OtherInputError
from eventbus.demo.progress import Watched
from eventbus.demo.report import as_json, as_table, unconserved
from eventbus.demo.shop import Outcome, run
from eventbus.errors import JournalCorruptError, JournalError

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
    journal: Annotated[
        str | None, typer.Option(help="A file that keeps everything: kill it, and start it again to go on.")
    ] = None,
) -> None:
    """Run a small shop on the bus and account for every order.

    An order is a JSON object: {"id": "A-1", "customer": "c-7", "total": 99.5}, and perhaps "express" or "declined".
    With --journal it can be killed at any moment, and goes on when it is started again with the same words.
    The exit status is 1 if a message is unaccounted for, 2 if the input or the journal can't be read.
    """
    watched, ledger = Watched(), Ledger()
    try:
        watched.source = generated(orders, seed) if input is None else open_input(input, watched.report)
        with watched:
            what = f"--orders {orders} --seed {seed}" if input is None else f"--input {input} --seed {seed}"
            outcome = outcome_of(watched, ledger, seed, journal, what)
    except OSError as error:
        stop(f"cannot read {input}: {error.strerror}", 2)
    except JournalCorruptError as error:
        stop(str(error), 1)
    except JournalError as error:
        stop(str(error), 2)
    except OtherInputError as error:
        stop(f"cannot go on with journal {journal}: {error}; start it with the same words, or name another file", 2)
    if outcome is None:
        given_up = (
            "what was under way is given up" if journal is None else "start it again with the same words to go on"
        )
        stop(f"interrupted; {given_up}", 130)
    problems = [*filter(None, (unconserved(n, s) for n, s in outcome.stats.queues.items())), *ledger.unaccounted()]
    if outcome.history is not None:
        problems += outcome.history.unaccounted()
    for problem in problems:
        print(problem, file=sys.stderr)
    say(as_json(outcome, watched, problems) if json else in_words(outcome, watched, ledger, problems))
    raise typer.Exit(1 if problems else 0)


def outcome_of(watched: Watched, ledger: Ledger, seed: int, journal: str | None, what: str) -> Outcome | None:
    """The outcome; the first error of a task group is raised as it is."""
    try:
        return anyio.run(run_unless_interrupted, watched, ledger, seed, journal, what)
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from group


async def run_unless_interrupted(
    watched: Watched, ledger: Ledger, seed: int, journal: str | None, what: str
) -> Outcome | None:
    """The outcome, or None after Ctrl-C, which cancels like anything else does and so leaves in good order."""
    outcome = None
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await anext(aiter(signals))
                group.cancel_scope.cancel()

            group.start_soon(watch)
            outcome = await run(watched, ledger, seed, journal, what)
            group.cancel_scope.cancel()
    return outcome


def in_words(outcome: Outcome, watched: Watched, ledger: Ledger, problems: list[str]) -> str:
    """The table, and the sum of it all."""
    placed, bad = ledger.counts[Step.PLACED], watched.bad_lines
    total = f"{placed:,} orders in {outcome.seconds:.1f} s, {bad:,} bad lines, {len(problems):,} unaccounted for"
    return "\n".join([as_table(outcome), "", *recovery_in_words(outcome, ledger), total])


def recovery_in_words(outcome: Outcome, ledger: Ledger) -> list[str]:
    """What was taken over from earlier runs, if there were any."""
    if outcome.history is None or not outcome.resumed:
        return []
    if not ledger.counts.total():
        return [f"nothing was left to do: all {outcome.resumed:,} orders were handled before"]
    return [
        f"went on after {outcome.resumed:,} orders: recovered {outcome.recovered:,} unsettled messages, "
        f"took {ledger.recovered:,} steps for these orders; {outcome.history.again:,} messages of all runs came twice"
    ]


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
