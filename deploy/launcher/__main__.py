"""`python -m deploy.launcher`: what bin/run runs once the libraries are there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from deploy.launcher.arguments import parse
from deploy.launcher.errors import CannotStart, Interrupted, ProcessEnded
from deploy.launcher.launch import Launch
from deploy.launcher.signals import interruptible

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = 130


def main() -> int:
    """Run until stopped; the exit code says whether all went well."""
    options = parse(sys.argv[1:], here=Path(os.environ.get("RUN_FROM") or "."), root=ROOT)
    console = Console(highlight=False)
    try:
        with interruptible():
            return Launch(options, ROOT, console, dict(os.environ)).run()
    except (CannotStart, ProcessEnded) as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return 1
    except Interrupted:
        return INTERRUPTED if options.once else 0


if __name__ == "__main__":
    sys.exit(main())
