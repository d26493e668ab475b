"""`python -m jobs.adapters.database migrate`: bring the database of DATABASE_URL to the newest schema."""

from __future__ import annotations

import sys

from jobs.adapters.database import migrate
from jobs.settings import InvalidSettings, Settings


def main(arguments: list[str]) -> int:
    """Run the command; 0 when done, 2 for wrong usage or settings."""
    if arguments != ["migrate"]:
        print("usage: python -m jobs.adapters.database migrate", file=sys.stderr)
        return 2
    try:
        migrate(Settings.from_env())
    except InvalidSettings as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
