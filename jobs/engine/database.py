"""A database connection pool per process: SQLite or PostgreSQL, with the transactions that the ledger and jobs need."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from weakref import WeakSet

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import PendingRollbackError

from jobs.engine.transactions import Transaction, transaction
from jobs.settings import InvalidSettings, Settings

BUSY = timedelta(seconds=30)
LOOK_AGAIN = timedelta(milliseconds=1)
"""Between two tries to become SQLite's writer. Its own waiting grows to 100 ms, and newcomers overtake who waits."""
AFTERWARDS = "rq_fleet_afterwards"
"""The key in a transaction's info of what is called once it is committed and closed: that may take its time."""
_open: WeakSet[Database] = WeakSet()
_inherited: list[object] = []
_of_process: dict[str, Database] = {}
_lock = threading.Lock()


def connect(settings: Settings) -> Database:
    """The process's one Database of that URL; nothing is opened before its first use."""
    with _lock:
        if settings.database_url not in _of_process:
            _of_process[settings.database_url] = Database(settings.database_url)
        return _of_process[settings.database_url]


class Database:
    """One SQLite file or PostgreSQL database; usable from many threads, and in a child after a fork.

    Raises InvalidSettings for a URL that is neither.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url = make_url(url)
        self.engine = _sqlite(self.url, pool_size) if self.is_sqlite else _postgresql(self.url, pool_size)
        self._durable = self.engine.execution_options(rq_fleet_writes="FULL")
        self._lazy = self.engine.execution_options(rq_fleet_writes="NORMAL")
        self._reader = self.engine.execution_options(postgresql_readonly=True)
        self._turn = threading.Lock()
        self._has_connected = False
        event.listen(self.engine, "do_connect", self._note_connection)
        _open.add(self)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite; PostgreSQL otherwise."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def begin(self, *, durable: bool = True) -> Iterator[Transaction]:
        """A write transaction, committed at the end of the block and rolled back when it raises.

        SQLite has one writer at a time, from the first statement on, whatever that is: do no I/O after it. It waits up
        to 30 s for its turn. What is written with `durable=False` does not wait for the disk: it is lost when the
        machine fails within moments, in order.
        """
        writer = self._durable if durable else self._lazy
        afterwards: list[Callable[[], None]] = []
        first = "" if durable or self.is_sqlite else "SET LOCAL synchronous_commit = off"
        with self._writing() as take_turn, transaction(writer, take_turn, first) as ours:
            ours.info[AFTERWARDS] = afterwards
            yield ours
        with ExitStack() as all_of_them:  # each is called, also where one before it raises
            for each in reversed(afterwards):
                all_of_them.callback(each)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A read-only transaction on one snapshot of the data (PostgreSQL: of each statement)."""
        with transaction(self._reader) as ours:
            ours.info[AFTERWARDS] = []  # nothing is committed that anybody could be told of
            yield ours

    def ping(self) -> None:
        """Ask the database for a sign of life; raises SQLAlchemyError when there is none."""
        with self.read() as session:
            session.connection().exec_driver_sql("SELECT 1")

    def close(self) -> None:
        """Close the pooled connections; the next use opens new ones."""
        self.engine.dispose()

    def forget_inherited_connections(self) -> None:
        """In a forked child: start with an empty pool; the parent's is kept alive, so that nothing here closes it."""
        self._turn = threading.Lock()
        if self._has_connected:  # a new pool takes each child of a worker 0.3 MB
            _inherited.append(self.engine.pool)
            self.engine.dispose(close=False)

    def _note_connection(self, *_: object) -> None:
        """Called before any connection is opened."""
        self._has_connected = True

    @contextmanager
    def _writing(self) -> Iterator[Callable[[], None]]:
        """Let the threads of this process write one after the other, so that SQLite has one waiter a process.

        Yields what takes the turn, as often as it is called; it is given up at the end.
        """
        turn, asked, ours = self._turn, not self.is_sqlite, False

        def take() -> None:
            nonlocal asked, ours
            if not asked:
                asked, ours = True, turn.acquire(timeout=BUSY.total_seconds())

        try:
            yield take
        finally:
            if ours:
                turn.release()


def _sqlite(url: URL, pool_size: int) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise InvalidSettings(
            "DATABASE_URL: SQLite needs a file that every process can open: sqlite:///var/rq-fleet.db"
        )
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size * 4,
        hide_parameters=True,
        connect_args={"timeout": BUSY.total_seconds()},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "handle_error", _note_a_lost_transaction)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin on its own: it would begin DEFERRED
    _use_wal(connection)
    connection.execute("PRAGMA foreign_keys = ON")


def _use_wal(connection: Any) -> None:
    """Switch the file to WAL; SQLite does not wait its busy timeout here when several processes switch at once."""
    give_up = time.monotonic() + BUSY.total_seconds()
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    writes = _writes(connection)
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
    if writes:
        connection.exec_driver_sql(f"PRAGMA synchronous = {writes}")
        _begin_immediate(connection)
    else:
        connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    """Become the writer as soon as there is none; after BUSY the last try may say that there still is one."""
    driver: Any = connection.connection.driver_connection
    give_up = time.monotonic() + BUSY.total_seconds()
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < give_up:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
            time.sleep(LOOK_AGAIN.total_seconds())
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        driver.execute(f"PRAGMA busy_timeout = {BUSY // timedelta(milliseconds=1)}")


def _note_a_lost_transaction(context: ExceptionContext) -> None:
    """Have all later statements raise where SQLite has given up the transaction: each would be one of its own."""
    connection = context.connection
    if connection is None or connection.invalidated or not connection.in_transaction():
        return
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        context.is_disconnect, context.invalidate_pool_on_disconnect = True, False


def _postgresql(url: URL, pool_size: int) -> Engine:
    if url.get_backend_name() != "postgresql":
        raise InvalidSettings("DATABASE_URL: use sqlite:///path/to/file.db or postgresql://user:password@host/name")
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size * 2,
        pool_pre_ping=True,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        connect_args={"connect_timeout": 5, "tcp_user_timeout": 5000, "application_name": "rq-fleet"},
    )
    event.listen(engine, "commit", _refuse_a_broken_transaction)
    return engine


def _refuse_a_broken_transaction(connection: Connection) -> None:
    """PostgreSQL answers the commit of a transaction in which a statement has failed with a rollback, and no error."""
    from psycopg.pq import TransactionStatus

    driver: Any = connection.connection.driver_connection
    if driver.info.transaction_status == TransactionStatus.INERROR and _writes(connection):
        raise PendingRollbackError("a statement of this transaction has failed: nothing of it can be committed")


def _writes(connection: Connection) -> Any:
    return connection.get_execution_options().get("rq_fleet_writes")


def _forget_inherited_connections() -> None:
    global _lock
    _lock = threading.Lock()
    for database in list(_open):
        database.forget_inherited_connections()


os.register_at_fork(after_in_child=_forget_inherited_connections)
