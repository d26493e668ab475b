"""A bar for each file on a terminal, and a line for each end of a file elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from deploy.launcher.plain import plain
from deploy.launcher.transfer import Transfer

COLOURS = {"completed": "green", "failed": "red", "cancelled": "red", "quarantined": "red"}


class Bars:
    """Shows transfers; a context manager that owns the bottom of the terminal meanwhile."""

    def __init__(self, console: Console, transfers: Sequence[Transfer]) -> None:
        self._console, self._transfers = console, transfers
        self._told: set[int] = set()
        self._bars: dict[int, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[stage]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Bars:
        for number, transfer in enumerate(self._transfers):
            name = escape(plain(transfer.path.name))
            self._bars[number] = self._progress.add_task("", total=100, name=name, stage=transfer.stage, start=False)
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.show()
        self._progress.stop()

    def show(self) -> None:
        """Draw what has changed."""
        for number, transfer in enumerate(self._transfers):
            if self._console.is_terminal:
                self._draw(self._bars[number], transfer)
            elif transfer.ended and number not in self._told:
                self._told.add(number)
                self._console.print(_line_of(transfer), soft_wrap=True)

    def _draw(self, bar: TaskID, transfer: Transfer) -> None:
        colour = COLOURS.get(transfer.stage, "cyan")
        self._progress.update(bar, completed=transfer.percent, stage=f"[{colour}]{escape(plain(transfer.stage))}[/]")
        if transfer.stage != "waiting":
            self._progress.start_task(bar)
        if transfer.ended:
            self._progress.stop_task(bar)


def _line_of(transfer: Transfer) -> str:
    why = f": {escape(plain(transfer.error))}" if transfer.error else ""
    return f"{escape(plain(transfer.path.name))} {transfer.stage} in {transfer.took or 0:.1f} s{why}"
