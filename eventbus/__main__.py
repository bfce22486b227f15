"""`python -m eventbus`: the command line. Needs the extra `cli`."""

from __future__ import annotations

import sys

try:
    from eventbus.demo.command import app
except ModuleNotFoundError as error:
    if error.name != "typer":
        raise
    sys.exit('the command line needs the extra "cli": pip install "eventbus[cli]"')

if __name__ == "__main__":
    app(prog_name="python -m eventbus")
