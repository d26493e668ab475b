"""How the files that a process may open are divided among its connections."""

from __future__ import annotations

import pytest

from deploy.open_files import ENOUGH, FILES_A_LIVE_CONNECTION, MOST_CONNECTIONS, MOST_LIVE, RESERVE, divide


@pytest.mark.parametrize("files", [400, 1024, 2048, 4096, ENOUGH])
def test_all_connections_together_fit_into_the_files(files: int) -> None:
    room = divide(files)
    plain = room.connections - room.live
    assert room.live * FILES_A_LIVE_CONNECTION + plain <= files - RESERVE
    assert 0 < room.live < room.connections


def test_enough_files_are_all_that_a_process_could_serve() -> None:
    room = divide(ENOUGH)
    assert (room.live, room.connections, room.low) == (MOST_LIVE, MOST_CONNECTIONS, False)
    assert divide(ENOUGH - 1).low
