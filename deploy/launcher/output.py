"""What the processes print, each line with its process's name before it in a colour of its own."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

COLOURS = {"web": "cyan", "worker": "green", "scheduler": "magenta", "release": "yellow", "redis": "blue"}
WIDTH = max(map(len, COLOURS))


class Output:
    """Prints the lines while `loud`; the files under var/log have them anyway. `tells_stops` names what is stopped."""

    def __init__(self, console: Console) -> None:
        self._console, self.loud, self.tells_stops = console, False, True

    def line(self, name: str, text: str) -> None:
        """Print one line of a process."""
        if self.loud:
            prefix = Text(f"{name:<{WIDTH}} | ", style=COLOURS.get(name, "white"))
            self._console.print(prefix + Text.from_ansi(text), soft_wrap=True)

    def stopping(self, name: str) -> None:
        """Say which process is being stopped."""
        if self.tells_stops:
            self._console.print(f"Stopping {name}.", style="dim")

    def warn(self, text: str) -> None:
        """Say what the person should know, loud or not."""
        self._console.print(Text(text, style="yellow"), soft_wrap=True)
