"""The commands `python -m eventbus journal ...`."""

from __future__ import annotations

import json as jsons
import os
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import anyio
import typer

from eventbus import Clock, blocking
from eventbus._journal.compaction import Compaction
from eventbus._journal.log import Log, Stored
from eventbus._journal.ownership import owner_of
from eventbus._journal.standing import standing_of
from eventbus._journal.verification import verify as problems_of
from eventbus.durability import Journal
from eventbus.inspection.following import follow, in_words, last
from eventbus.inspection.forms import Form, body_of, line_of
from eventbus.inspection.loading import load as load_lines
from eventbus.inspection.loading import redrive as put_back
from eventbus.inspection.moments import Moment, Test, key_of, moment, place_of, size, test_of
from eventbus.inspection.output import WRONG, WRONG_DATA, Output, counted, endings, printable, say, shown, stop
from eventbus.inspection.progress import progress
from eventbus.inspection.summary import as_json, as_text

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Look into a journal, and look after it.")


def _moment(text: str) -> Moment:
    try:
        return moment(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


File = Annotated[str, typer.Argument(metavar="FILE", help="The journal.", show_default=False)]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="TOPIC", help="Topics or queues, or patterns of them; else all topics.", show_default=False),
]
Where = Annotated[str | None, typer.Option(help="A filter's text, such as: body.total > 100")]
Start = Annotated[
    Moment | None, typer.Option(parser=_moment, metavar="WHEN", help="EARLIEST, an offset, or an ISO time.")
]
Key = Annotated[str | None, typer.Option(help="Messages of this key alone: text, or bytes that are no text.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

STEP: Final = 10_000
"""Messages between two looks at how far it is."""


@app.command()
def info(
    file: File,
    json: AsJson = False,
    days: Annotated[float, typer.Option(min=0, help="What was declared longer ago is named.")] = 7.0,
) -> None:
    """Show topics, queues and subscriptions: how much they keep, and what they have not settled."""
    with endings():
        now = Clock().time()
        standing = standing_of(file, now)
        facts = shown(file), standing, owner_of(Journal(file).lock_path), now, days
        with Output() as output:
            output.write((as_json if json else as_text)(*facts).encode(errors="backslashreplace"))


@app.command()
def tail(
    file: File,
    names: Names = None,
    follows: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    where: Where = None,
    count: Annotated[int, typer.Option("-n", min=0, help="How many of the last messages.")] = 10,
    json: AsJson = False,
) -> None:
    """Print the last messages, and with --follow what comes, also while another process writes."""
    with endings(), Log(file, names or (), body_of) as log, Output() as output:
        wants = test_of(where)

        def write(stored: Stored) -> None:
            output.write(line_of(stored, Form.JSONL, file) if json else in_words(stored))

        upto = log.last_offset()
        for stored in last(log, upto, count, wants):
            write(stored)
        if follows:

            async def go_on() -> None:
                async with aclosing(follow(log, upto, wants)) as coming:
                    async for stored in coming:
                        output.flush() if stored is None else write(stored)

            anyio.run(go_on)


@app.command()
def replay(
    file: File,
    names: Names = None,
    start: Start = None,
    until: Annotated[
        Moment | None, typer.Option("--stop", parser=_moment, metavar="WHEN", help="Where to end.")
    ] = None,
    where: Where = None,
    key: Key = None,
) -> None:
    """Print messages as JSON lines, in the order of offsets."""
    with endings(), Log(file, names or (), body_of) as log, Output() as output:
        write_all(log, output, Form.JSONL, start, until, test_of(where), key_of(key))


@app.command()
def export(
    file: File,
    names: Names = None,
    format: Annotated[Form, typer.Option(help="JSON lines of our own, or CloudEvents 1.0.")] = Form.JSONL,
    out: Annotated[str | None, typer.Option("-o", "--out", help="A file; else standard output.")] = None,
) -> None:
    """Write messages out, one a line, for `load` or for other programs."""
    with endings():
        with Log(file, names or (), body_of) as log, Output(out, file) as output:
            count = write_all(log, output, format, None, None, test_of(None), None)
        say(counted(count, "message"))


def write_all(
    log: Log,
    output: Output,
    form: Form,
    start: Moment | None,
    until: Moment | None,
    wants: Test,
    key: str | bytes | None,
) -> int:
    """Write a line for each message that is wanted: how many there were."""
    count = 0
    with progress("messages", output.hidden) as told:
        after = 0 if start is None else place_of(log, start)
        upto = log.last_offset()
        if until is not None:
            upto = min(upto, place_of(log, until))
        for stored in log.read(after, upto, key):
            if wants(stored.record):
                output.write(line_of(stored, form, Path(log.path).name))
                count += 1
                if count % STEP == 0:
                    told((stored.record[0] or 0) - after, upto - after)
    return count


@app.command()
def load(
    file: File,
    input: Annotated[str, typer.Argument(help="Lines as export writes them; - is standard input.")] = "-",
    topic: Annotated[str | None, typer.Option(help="Publish to this topic.")] = None,
    queue: Annotated[str | None, typer.Option(help="Put into this queue.")] = None,
    format: Annotated[Form, typer.Option(help="What the lines are.")] = Form.JSONL,
    create: Annotated[bool, typer.Option("--create", help="Make the journal if it is not there.")] = False,
) -> None:
    """Send a message for each line. Body, key, headers, priority and id are kept; offset and time are new."""
    if (topic is None) == (queue is None):
        stop("say where to: --topic T or --queue Q", WRONG)
    with endings():
        if not create:
            require(file)
        with opened(input) as lines, progress("bytes") as told:
            size_of_input = os.fstat(lines.fileno()).st_size if input != "-" else None
            loaded = load_lines(
                file,
                topic or queue or "",
                topic is not None,
                lines,
                format,
                lambda number, why: say(f"line {number}: {why}"),
                lambda done, _: told(done, size_of_input),
            )
    say(f"{counted(loaded.lines, 'message')} loaded, {counted(loaded.bad, 'bad line')}")
    if loaded.why is not None:
        stop(loaded.why, WRONG_DATA)
    raise typer.Exit(WRONG_DATA if loaded.bad else 0)


def opened(input: str) -> BinaryIO:
    """The lines of a file, or of standard input."""
    return sys.stdin.buffer if input == "-" else Path(input).open("rb")


def require(file: str) -> None:
    """The journal must be there: what opens one would make it."""
    with Log(file, (), body_of):
        pass


@app.command()
def redrive(
    file: File,
    queue: Annotated[str, typer.Argument(help="The queue of the dead letters, such as dead-letters.")],
    where: Where = None,
    to: Annotated[str | None, typer.Option(help="Another queue than the one in which each died.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many at most.")] = None,
) -> None:
    """Put dead letters back into the queues in which they died."""
    with endings():
        test_of(where)
        require(file)
        with progress("messages") as told:
            done = put_back(file, queue, where, to, limit, told)
        print(f"{counted(done.count, 'message')} put back", flush=True)
        if done.why is not None:
            stop(f"no more were put back: {done.why}", WRONG_DATA)


@app.command()
def verify(
    file: File,
    json: AsJson = False,
    bodies: Annotated[
        bool, typer.Option(help="Whether bodies must be JSON: not if the bus has a codec of yours.")
    ] = True,
) -> None:
    """Read everything, and say what is wrong."""
    with endings(), Output() as output:
        problems = []
        with progress("offsets") as told:
            for problem in problems_of(file, bodies, told):
                problems.append(problem)
                if not json:
                    output.write(problem.encode(errors="backslashreplace"))
        if json:
            output.write(jsons.dumps({"path": shown(file), "problems": problems}, indent=2).encode())
        else:
            verdict = counted(len(problems), "problem") if problems else "sound"
            output.write(f"{printable(shown(file))}: {verdict}".encode())
    raise typer.Exit(WRONG_DATA if problems else 0)


@app.command()
def compact(file: File) -> None:
    """Delete what is settled and what retentions let go, and make the file as small as it can be."""
    with endings():
        require(file)
        before = size_of(file)
        with progress("steps") as told:
            steps = 0

            def step() -> None:
                nonlocal steps
                steps += 1
                told(steps, None)

            bus = blocking.Bus(file)
            assert bus._host.journaling is not None
            Compaction(bus._host.journaling.writer, step).run()
        print(f"{size(before)} before, {size(size_of(file))} now", flush=True)


def size_of(file: str) -> int:
    """With its log."""
    log = Path(f"{file}-wal")
    return Path(file).stat().st_size + (log.stat().st_size if log.exists() else 0)
