"""`python -m eventbus`: the command line. Needs the extra `cli`."""

from __future__ import annotations

import sys

try:
    from eventbus.demo.command import app
    from eventbus.inspection.command import app as journal
except ModuleNotFoundError as error:
    if error.name not in {"typer", "rich"}:
        raise
    print('the command line needs the extra "cli": pip install "eventbus[cli]"', file=sys.stderr)
    sys.exit(2)

app.add_typer(journal, name="journal")

if __name__ == "__main__":
    app(prog_name="python -m eventbus")
