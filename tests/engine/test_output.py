"""What a run prints becomes lines: plain, free of credentials, capped, in batches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.engine import output
from jobs.engine.lines import plain
from jobs.engine.output import Output

CANARY = "canary-77aa"


class Sent:
    """The batches that an output sent."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.output = Output(self._take, attempt=2)

    def _take(self, lines: list[str]) -> None:
        self.batches.append([json.loads(line) for line in lines])

    def lines(self) -> list[dict[str, Any]]:
        return [line for batch in self.batches for line in batch]

    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines()]


@pytest.fixture
def sent() -> Sent:
    return Sent()


def test_a_line_names_its_stream_level_time_and_attempt(sent: Sent) -> None:
    sent.output.write("stdout", b"one\n")
    sent.output.write("stderr", b"two\n")
    sent.output.log("error", "three", {"count": 3})
    sent.output.close()
    first, second, third = sent.lines()
    assert first.pop("at").endswith("Z")
    assert first == {"stream": "stdout", "level": "info", "text": "one", "attempt": 2}
    assert (second["stream"], second["level"]) == ("stderr", "warning")
    assert (third["stream"], third["level"], third["values"]) == ("log", "error", {"count": 3})


def test_pieces_become_lines_and_the_last_needs_no_end(sent: Sent) -> None:
    for piece in (b"a", b"b\nc", b"", b"\n\nlast"):
        sent.output.write("stdout", piece)
    assert sent.texts() == ["ab", "c", ""]
    sent.output.close()
    assert sent.texts()[3:] == ["last"]


def test_the_streams_do_not_break_each_others_lines(sent: Sent) -> None:
    sent.output.write("stdout", b"out")
    sent.output.write("stderr", b"error\n")
    sent.output.write("stdout", b"put\n")
    assert sent.texts() == ["error", "output"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"caf\xe9", "caf\\xe9"),
        ("naïve ✓".encode(), "naïve ✓"),
        (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07text", "red text"),
        (b"a\x00b\x08", "a\\x00b\\x08"),
        (b" 10%\r 50%\r100%\r", "100%"),
        (b"ends like Windows\r", "ends like Windows"),
        (b"tab\tstays", "tab\tstays"),
        ("two\u2028lines".encode(), "two\\u2028lines"),
    ],
    ids=["latin", "utf-8", "escapes", "controls", "redrawn", "crlf", "tab", "separator"],
)
def test_a_line_is_what_a_terminal_would_show(written: bytes, shown: str) -> None:
    assert plain(written) == shown


@pytest.mark.parametrize(
    "written",
    [
        f"password={CANARY}",
        f"connecting to redis://:{CANARY}@cache/0",
        f"pass\x1b[1mword: {CANARY}",
        f"{{'api_key': '{CANARY}'}}",
    ],
)
def test_credentials_are_struck_out(sent: Sent, written: str) -> None:
    sent.output.write("stderr", written.encode() + b"\n")
    sent.output.log("info", written, {"note": written, "password": CANARY})
    sent.output.close()
    assert CANARY not in json.dumps(sent.lines())


def test_an_endless_line_is_cut_and_says_so(sent: Sent) -> None:
    for _ in range(1000):
        sent.output.write("stdout", "ä".encode() * 1000)
    sent.output.write("stdout", b"\nnext\n")
    cut, following = sent.texts()
    assert cut == "ä" * (output.LONGEST_LINE // 2) + "… (cut)"
    assert following == "next"


def test_beyond_the_cap_the_newest_lines_are_kept_and_the_gap_is_told(sent: Sent) -> None:
    for number in range(5000):
        sent.output.write("stdout", b"line %d\n" % number)
    live = [text for text in sent.texts() if text.startswith("line")]
    sent.output.close()
    texts = sent.texts()
    assert texts[:900] == [f"line {number}" for number in range(900)]
    assert texts[900].startswith("output capped")
    assert texts[901].startswith("output capped: 4000 lines")
    assert texts[902:] == [f"line {number}" for number in range(4900, 5000)]
    assert set(live) <= set(texts[:900])


def test_large_pieces_beyond_the_cap_are_counted_as_well(sent: Sent) -> None:
    for _ in range(20):
        sent.output.write("stdout", b"".join(b"%04d\n" % number for number in range(1000)))
    sent.output.write("stdout", b"the end")
    sent.output.close()
    texts = sent.texts()
    (told,) = [text for text in texts if "left out" in text]
    assert int(told.split()[2]) + len(texts) - 2 == 20_001
    assert texts[-2:] == ["0999", "the end"]


def test_bytes_are_capped_too(sent: Sent) -> None:
    for _ in range(1000):
        sent.output.write("stdout", b"x" * 4000 + b"\n")
    sent.output.close()
    size = sum(len(json.dumps(line)) for line in sent.lines())
    assert size < output.FIRST_BYTES + output.LAST_BYTES + 3 * output.LONGEST_LINE


def test_a_chatty_run_sends_batches_and_holds_the_rest_until_somebody_flushes(sent: Sent) -> None:
    for number in range(50):
        sent.output.write("stdout", b"%d\n" % number)
    assert len(sent.batches) <= output.AT_ONCE + 1
    assert sent.output.waiting
    wait = sent.output.wait()
    assert wait is not None
    assert wait <= output.PAUSE
    sent.output.flush()
    assert sent.texts() == [str(number) for number in range(50)]
    assert (sent.output.waiting, sent.output.wait()) == (False, None)


def test_a_batch_is_small_enough_for_an_event(sent: Sent) -> None:
    for _ in range(300):
        sent.output.write("stdout", b"\x01" * 4000 + b"\n")
    sent.output.close()
    assert max(len(json.dumps(batch)) for batch in sent.batches) < 64 * 1024


def test_odd_log_values_are_made_plain_and_short(sent: Sent) -> None:
    sent.output.log("info", "odd", {"object": object(), "bad": float("nan"), "long": "x" * 100_000, "deep": [[[1]]]})
    sent.output.close()
    (line,) = sent.lines()
    assert len(json.dumps(line)) < 2 * output.LONGEST_LINE
    assert line["values"]["bad"] == "nan"
