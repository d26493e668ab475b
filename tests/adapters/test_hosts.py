"""The hosts of strangers' URLs: which may be, and how long they are looked up."""

from __future__ import annotations

from datetime import timedelta
from threading import Event

import pytest

from jobs.adapters.http import check_url
from jobs.engine import Retryable
from jobs.engine.public_addresses import Deadline, resolve


def test_looking_a_name_up_ends_at_the_deadline() -> None:
    answered = Event()

    def never(_host: str) -> list[str]:
        answered.wait(30)
        return ["192.0.2.1"]

    with pytest.raises(Retryable, match="in time"):
        resolve("slow.example", Deadline(timedelta(milliseconds=50)), never)
    answered.set()
    assert resolve("127.0.0.1", Deadline(timedelta(seconds=20))) == ["127.0.0.1"]


@pytest.mark.parametrize(
    "url", ["http://localhost./", "http://xn--bcher-kva.example", "http://a_b.example", "http://[::1]/"]
)
def test_a_host_that_can_exist_is_let_through(url: str) -> None:
    assert check_url(url).host
