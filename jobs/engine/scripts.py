"""Lua scripts by name: read from lua/, sent once, called by hash, each safe to call again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis
from hiredis import pack_command
from redis.exceptions import NoScriptError

FOLDER = Path(__file__).parent / "lua"
INCLUDE = "--include "


class Script:
    """One script of lua/; libraries that its `--include NAME` lines name are put in their place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = _expand(FOLDER / f"{name}.lua")
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, client: redis.Redis, *args: str | bytes | float) -> Any:
        """Run on `client`; a server that forgot the script (restart, SCRIPT FLUSH) is told it again."""
        try:
            return _execute(client, "EVALSHA", self.sha, 0, *args)
        except NoScriptError:
            return _execute(client, "EVAL", self.source, 0, *args)

    def many(self, client: redis.Redis, calls: Sequence[Sequence[str | bytes | float]]) -> list[Any]:
        """Several calls in one round trip; all are sent again when the server had forgotten the script."""
        if len(calls) == 1:
            return [self(client, *calls[0])]
        for _ in range(2):
            with client.pipeline(transaction=False) as pipe:
                for each in calls:
                    pipe.evalsha(self.sha, 0, *each)
                replies = pipe.execute(raise_on_error=False)
            if not any(isinstance(reply, NoScriptError) for reply in replies):
                break
            client.script_load(self.source)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies


@cache
def script(name: str) -> Script:
    """The script of that name, read once a process."""
    return Script(name)


def _execute(client: redis.Redis, *command: str | bytes | float) -> Any:
    """One command over a connection of the client's pool; `execute_command` spends as long on metrics and retries."""
    packed, pool = pack_command(command), client.connection_pool  # type: ignore[arg-type]  # its stub has tuples of one
    connection = pool.get_connection()
    try:
        connection.send_packed_command((packed,))  # type: ignore[no-untyped-call]
        return connection.read_response()
    finally:
        pool.release(connection)


def _expand(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(
        _expand(FOLDER / f"{line.removeprefix(INCLUDE).strip()}.lua") if line.startswith(INCLUDE) else line
        for line in lines
    )
