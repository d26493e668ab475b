"""The connection that is kept at hand: as good as one of the pool, whoever used it before."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
import redis

from jobs.engine import broker
from jobs.engine.scripts import script
from tests.conftest import RedisServer, wait_until

Connect = Callable[..., redis.Redis]


def connections(client: redis.Redis) -> set[str]:
    return {each["id"] for each in client.client_list() if each["name"].startswith("rq-fleet-")}


def test_one_caller_goes_on_with_one_connection(connect: Connect, redis_server: RedisServer) -> None:
    client = connect(redis_server.url)
    ids = {client.client_id() for _ in range(5)}
    assert len(ids) == 1


def test_a_connection_that_the_server_closed_is_replaced_unnoticed(connect: Connect, redis_server: RedisServer) -> None:
    client = connect(redis_server.url)
    first = client.client_id()
    with redis.Redis(port=redis_server.port) as other:
        other.client_kill_filter(_id=first)
        wait_until(lambda: str(first) not in {each["id"] for each in other.client_list()})
    assert client.client_id() != first


def test_an_answer_that_nobody_read_is_not_given_to_the_next(connect: Connect, redis_server: RedisServer) -> None:
    """A job's time may run out between sending and reading."""
    client = connect(redis_server.url)
    client.ping()
    connection = client.connection_pool.get_connection()
    connection.send_command("ECHO", "of somebody else")
    wait_until(connection.can_read)
    client.connection_pool.release(connection)
    assert client.echo("mine") == b"mine"


def test_whoever_waits_for_a_full_pool_gets_the_next_connection(redis_server: RedisServer) -> None:
    pool = broker._QuickPool(max_connections=1, timeout=20, port=redis_server.port)
    held = pool.get_connection()
    answers: list[bool] = []
    waiter = threading.Thread(target=lambda: answers.append(bool(redis.Redis(connection_pool=pool).ping())))
    waiter.start()
    wait_until(lambda: pool.pool.not_empty._waiters)
    pool.release(held)
    waiter.join(20)
    assert answers == [True]
    pool.disconnect()


def test_threads_share_no_connection_and_leave_no_more_than_they_used(
    connect: Connect, redis_server: RedisServer
) -> None:
    client, barrier, wrong = connect(redis_server.url), threading.Barrier(8), []
    of_others = connections(client)

    def work(number: int) -> None:
        barrier.wait(20)
        for each in range(200):
            text = f"{number}-{each}".encode()
            if client.echo(text) != text:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    wait_until(lambda: len(connections(client) - of_others) <= 8)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(connect: Connect, redis_server: RedisServer) -> None:
    client = connect(redis_server.url)
    parent = client.client_id()
    child = os.fork()
    if child == 0:
        own = client.client_id()
        os._exit(0 if own != parent and client.ping() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert client.client_id() == parent


def test_a_script_that_redis_forgot_or_refuses_leaves_the_connection_in_order(
    connect: Connect, redis_server: RedisServer
) -> None:
    client = connect(redis_server.url)
    publish, arguments = script("publish"), ("rq", ":job:a", "job:queued", "{}")
    publish(client, *arguments)
    client.script_flush()
    assert publish(client, *arguments)
    client.set("rq:events::job:b", "not a stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        publish(client, "rq", ":job:b", "job:queued", "{}")
    assert client.echo("mine") == b"mine"
    client.delete("rq:events::job:b", "rq:events::job:a")
