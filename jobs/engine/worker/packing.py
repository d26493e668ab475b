"""Outcomes in the words of Redis, which most are put into when their runs end and not when Redis waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobs.engine.worker.settlements import Settlement


def settle_command(sha: str, about: Sequence[str], settlements: Sequence[Settlement]) -> bytes:
    """The call of the settle script, by its hash, with what it is told before the heads (see settle.lua)."""
    numbers: dict[str, bytes] = {}
    runs: list[bytes] = []
    for head, own, ready in settlements:
        number = numbers.get(head)
        if number is None:
            number = numbers[head] = words((str(len(numbers) + 1),))
        runs.append(number)
        runs.append(ready or words(own))
    first = ("EVALSHA", sha, "0", *about, str(len(numbers)), *numbers)
    count = len(first) + sum(len(own) + 1 for _, own, _ in settlements)
    return b"".join((b"*%d\r\n" % count, words(first), *runs))


def words(values: Iterable[str | bytes | float]) -> bytes:
    """Arguments of a command as the protocol writes them."""
    encoded = [value if isinstance(value, bytes) else str(value).encode() for value in values]
    return b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in encoded])
