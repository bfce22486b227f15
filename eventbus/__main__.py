"""`python -m eventbus`: the command line. Needs the extra `cli`."""

from __future__ import annotations

import sys

try:
    from eventbus.demo.command import app
except ModuleNotFoundError as error:
    if error.name not in {"typer", "rich"}:
        raise
    print('the command line needs the extra "cli": pip install "eventbus[cli]"', file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    app(prog_name="python -m eventbus")
