"""What became of the files, and what a search over them finds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from deploy.launcher.arguments import Missing
from deploy.launcher.plain import plain
from deploy.launcher.transfer import Transfer

SHOWN = 300
SAMPLE = "company-handbook.docx"
SAMPLE_QUESTION = "From which day of illness is a doctor's note needed?"


def summarise(console: Console, transfers: Sequence[Transfer], missing: Sequence[Missing]) -> None:
    """Print a row a file with its reason when it failed."""
    table = Table("File", "Result", "Passages", "Seconds", "Why", box=None, pad_edge=False, header_style="bold")
    for transfer in transfers:
        colour = "green" if transfer.completed else "red"
        passages = str(transfer.result.get("passages", "")) if transfer.completed else ""
        result, seconds = f"[{colour}]{transfer.stage}[/]", f"{transfer.took or 0:.1f}"
        table.add_row(escape(plain(transfer.path.name)), result, passages, seconds, escape(plain(transfer.error or "")))
    for each in missing:
        table.add_row(escape(plain(each.name)), "[red]missing[/]", "", "", each.why)
    console.print()
    console.print(table)
    done = sum(transfer.completed for transfer in transfers)
    console.print(f"\n{done} of {len(transfers) + len(missing)} files processed.")


def answer(console: Console, question: str, hits: Sequence[dict[str, Any]]) -> None:
    """Print the passages that a search found, best first, with the words that were met."""
    console.print(f"\nSearch: [bold]{escape(plain(question))}[/]")
    if not hits:
        console.print("Nothing was found.")
    for number, hit in enumerate(hits, start=1):
        console.print(f"\n{number}. [cyan]{escape(plain(_place_of(hit)))}[/]  score {hit['score']:.3f}")
        console.print(_text_of(hit), soft_wrap=False)


def question_for(transfers: Sequence[Transfer], samples: Path) -> str:
    """What to search for when nobody said: what the samples answer, or the name of the first searchable file."""
    files = [transfer.path for transfer in transfers if transfer.completed]
    if samples / SAMPLE in files:
        return SAMPLE_QUESTION
    return " ".join(re.findall(r"\w+", files[0].stem.replace("_", " "))) if files else ""


def _place_of(hit: dict[str, Any]) -> str:
    page = f", page {hit['page']}" if hit.get("page") else ""
    section = f", {hit['section']}" if hit.get("section") else ""
    return f"{hit['document_name']}{page}{section}"


def _text_of(hit: dict[str, Any]) -> Text:
    whole = str(hit["text"])
    text = Text(whole)
    for start, end in hit.get("highlights") or ():
        text.stylize("bold yellow", start, end)
    first = min((start for start, _ in hit.get("highlights") or ()), default=0)
    begin = max(0, first - 60) if len(whole) > SHOWN else 0
    shown = text[begin : begin + SHOWN]
    shown.plain = plain(re.sub(r"\s", " ", shown.plain))
    return Text("…" if begin else "") + shown + Text("…" if begin + SHOWN < len(whole) else "")
