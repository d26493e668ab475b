"""The application under a real gunicorn with two processes."""

from __future__ import annotations

import http.client
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

Header = dict[str, str]


class Server:
    """A running gunicorn."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def ask(self, method: str, path: str, body: Any = None, headers: Header | None = None, **how: Any) -> Any:
        """Status, headers and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # an answer may come before all was sent
                connection.request(method, path, body, headers or {}, **how)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def raw(self, *pieces: bytes, finish: bool = True) -> bytes:
        """What comes back for these bytes, until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            for piece in pieces:
                connection.sendall(piece)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()

    def up(self) -> bool:
        assert self.process.poll() is None, "gunicorn ended"
        try:
            return bool(self.ask("GET", "/healthz")[0] == 200)
        except OSError:
            return False

    def memory(self) -> int:
        """The most memory that any of the processes ever had, in bytes."""
        return max(map(_peak, self.children()))

    def children(self) -> list[int]:
        """The processes that answer."""
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def told(self, name: str, label: str = "") -> float:
        """The sum of a metric's samples as /metrics has them, of those with the label where one is given."""
        lines = self.ask("GET", "/metrics")[2].decode().splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.partition("{")[0].split()[0:1] == [name] and label in line
        )


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
