"""One transaction of plain statements, which connects at its first one; and whose transactions are taken besides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Connection, CursorResult, Engine, Executable, NestedTransaction, RootTransaction, ScalarResult
from sqlalchemy.exc import InvalidRequestError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
Rows: TypeAlias = CursorResult[*tuple[Any, ...]]
AnyTransaction: TypeAlias = "Transaction | Session | Connection"
"""What rows may be written in: ours, or a Session of SQLAlchemy's ORM or a Connection that somebody else commits."""


class Transaction:
    """What `Database.begin` and `Database.read` give: statements, and nothing that is written later than it is said.

    A statement that fails raises, as SQLAlchemy's errors. Who catches that goes on, on SQLite with all that was written
    before it; on PostgreSQL, and where SQLite gave up the transaction, every later statement and the commit raise as
    well, unless the failure was within `begin_nested`.
    """

    def __init__(self, engine: Engine, before: Callable[[], None], first: str) -> None:
        """`before` is called before it connects, and `first` is the statement that it begins with, if any."""
        self.info: dict[str, Any] = {}
        self._engine, self._before, self._first = engine, before, first
        self._connection: Connection | None = None
        self._root: RootTransaction | None = None
        self._is_over = False

    def connection(self) -> Connection:
        """Its connection, in a transaction from the first call on. Commit and close it by leaving the block alone."""
        if self._is_over:
            raise InvalidRequestError("this transaction is over")
        if self._connection is None:
            self._before()
            self._connection = self._begun()
        return self._connection

    def execute(self, statement: Executable, values: Parameters = None) -> Rows:
        """The result of a statement; of many rows' values, of one statement for each."""
        return self.connection().execute(statement, values)

    def scalar(self, statement: Executable, values: Mapping[str, Any] | None = None) -> Any:
        """The first column of the first row, or None without a row."""
        return self.connection().scalar(statement, values)

    def scalars(self, statement: Executable, values: Parameters = None) -> ScalarResult[Any]:
        """The first column of each row."""
        return self.connection().scalars(statement, values)

    def begin_nested(self) -> NestedTransaction:
        """A savepoint, to be entered: what its block wrote is taken back when that raises."""
        return self.connection().begin_nested()

    def in_nested_transaction(self) -> bool:
        """Whether it is within a savepoint."""
        return self._connection is not None and self._connection.in_nested_transaction()

    def _begun(self) -> Connection:
        connection = self._engine.connect()
        try:
            root = connection.begin()
            if self._first:
                connection.exec_driver_sql(self._first)
        except BaseException:
            connection.close()
            raise
        self._root = root
        return connection

    def _commit(self) -> None:
        """Commit what was written, if anything was said. Raises where it was ended or broken meanwhile."""
        if self._root is not None:
            self._root.commit()

    def _close(self) -> None:
        """Take back what is not committed, and give the connection back."""
        connection, self._connection, self._is_over = self._connection, None, True
        if connection is not None:
            try:
                connection.rollback()  # also of a commit that failed: only then does the pool clean the connection
            finally:
                connection.close()


@contextmanager
def transaction(engine: Engine, before: Callable[[], None] = lambda: None, first: str = "") -> Iterator[Transaction]:
    """A transaction of that engine; committed at the end of the block, rolled back when it raises."""
    ours = Transaction(engine, before, first)
    try:
        yield ours
        ours._commit()
    finally:
        ours._close()


def connection_of(session: AnyTransaction) -> Connection:
    """The connection that a transaction's statements go to."""
    return session if isinstance(session, Connection) else session.connection()
