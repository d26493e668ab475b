"""Transactions on SQLAlchemy's Core that read and write Records, as its ORM's Session would.

It has the names of that Session's methods, and of what they do the part that is needed here: a row is one object within
a transaction, what was changed on it is written before the next statement and at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, TypeVarTuple, overload

from sqlalchemy import Connection, CursorResult, Engine, Executable, Select, and_, delete, insert, select, update
from sqlalchemy.engine.result import IteratorResult, ScalarResult, SimpleResultMetaData
from sqlalchemy.exc import InvalidRequestError, NoResultFound
from sqlalchemy.sql.selectable import TypedReturnsRows

from jobs.engine.records import Record, Values, kind_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session as OrmSession

    AnySession: TypeAlias = "OrmSession | Session"
    AnyTransaction: TypeAlias = "OrmSession | Session | Connection"
    """What callers may have a transaction in; only theirs may import the ORM."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
R = TypeVar("R", bound=Record)
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
Known = dict[tuple[type[Record], tuple[Any, ...]], tuple[Record, Values]]
"""Each object by its class and key, with its values as the database has them."""


class Session:
    """One transaction, begun with its first statement: committed at the end of a `with` block, rolled back by errors.

    Its objects stay readable afterwards.
    """

    def __init__(self, engine: Engine, before_the_first: Callable[[], None] | None = None) -> None:
        """`before_the_first` is called before a connection is taken."""
        self.info: dict[str, Any] = {}
        """Whatever users note about it."""
        self._engine, self._before = engine, before_the_first
        self._connection: Connection | None = None
        self._new: list[Record] = []
        self._known: Known = {}
        self._savepoints, self._is_over = 0, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self.flush()
                if self._connection is not None:
                    self._connection.commit()
        finally:
            self._is_over = True
            if self._connection is not None:
                self._connection.close()  # which rolls back what was not committed

    def connection(self) -> Connection:
        """The transaction's connection. Raises InvalidRequestError when the transaction is over."""
        if self._is_over:
            raise InvalidRequestError("this transaction is over")
        if self._connection is None:
            if self._before is not None:
                self._before()
            self._connection = self._engine.connect()
            self._connection.begin()
        return self._connection

    def get_bind(self) -> Engine:
        """What it takes its connection from."""
        return self._engine

    def in_nested_transaction(self) -> bool:
        """Whether this is within a savepoint."""
        return self._savepoints > 0

    @contextmanager
    def begin_nested(self) -> Iterator[None]:
        """A savepoint: an error takes back what was done within, on objects too."""
        self.flush()
        before = {key: (record, dict(values)) for key, (record, values) in self._known.items()}
        self._savepoints += 1
        try:
            with self.connection().begin_nested():
                yield
                self.flush()
        except BaseException:
            self._new, self._known = [], before
            for record, values in before.values():
                record.__dict__.update(values)
            raise
        finally:
            self._savepoints -= 1

    @overload
    def execute(self, statement: TypedReturnsRows[*Ts], parameters: Parameters = None) -> CursorResult[*Ts]: ...

    @overload
    def execute(self, statement: Executable, parameters: Parameters = None) -> CursorResult[*tuple[Any, ...]]: ...

    def execute(self, statement: Executable, parameters: Parameters = None) -> CursorResult[*tuple[Any, ...]]:
        """Run a statement after what is to be written has been; rows are SQLAlchemy's own, never objects."""
        self.flush()
        return self.connection().execute(statement, parameters)

    @overload
    def scalars(self, statement: TypedReturnsRows[T], parameters: Parameters = None) -> ScalarResult[T]: ...

    @overload
    def scalars(self, statement: Executable, parameters: Parameters = None) -> ScalarResult[Any]: ...

    def scalars(self, statement: Executable, parameters: Parameters = None) -> ScalarResult[Any]:
        """The first column of each row, or each row as an object where the statement selects a class of Records."""
        found = self.execute(statement, parameters)
        kind = _kind(statement)
        if kind is None:
            return found.scalars()
        objects = [(self._object(kind, each),) for each in found.mappings()]
        return IteratorResult(SimpleResultMetaData(["object"]), iter(objects)).scalars()

    @overload
    def scalar(self, statement: TypedReturnsRows[T], parameters: Parameters = None) -> T | None: ...

    @overload
    def scalar(self, statement: Executable, parameters: Parameters = None) -> Any: ...

    def scalar(self, statement: Executable, parameters: Parameters = None) -> Any:
        """The first of them, or None."""
        return self.scalars(statement, parameters).first()

    def get(self, kind: type[R], key: Any, *, with_for_update: bool = False) -> R | None:
        """The object of a primary key, or None; read anew, and kept from others, `with_for_update`."""
        self.flush()
        parts = key if isinstance(key, tuple) else (key,)
        if not with_for_update and (known := self._known.get((kind, parts))):
            return known[0]  # type: ignore[return-value]
        query = select(kind).where(_is(kind, parts))
        found: R | None = self.scalar(query.with_for_update() if with_for_update else query)
        return found

    def get_one(self, kind: type[R], key: Any, *, with_for_update: bool = False) -> R:
        """The same; raises NoResultFound."""
        if (found := self.get(kind, key, with_for_update=with_for_update)) is None:
            raise NoResultFound(f"there is no {kind.__name__} {key!r}")
        return found

    def add(self, record: Record) -> None:
        """Write a new object with the next statement. Raises InvalidRequestError where the database makes its key.

        Such rows are written by an `insert()` instead: nobody would know which of them an object is.
        """
        if None in record.row_key:
            raise InvalidRequestError(f"a new {type(record).__name__} has no key: write it with insert()")
        self._new.append(record)

    def add_all(self, records: Iterable[Record]) -> None:
        """The same for several, in their order."""
        for each in records:
            self.add(each)

    def delete(self, record: Record) -> None:
        """Remove an object's row."""
        self.flush()
        self._known.pop((type(record), record.row_key), None)
        self.connection().execute(delete(record.__table__).where(_is(type(record), record.row_key)))

    def flush(self) -> None:
        """Write what was added and changed."""
        new, self._new = self._new, []
        for kind, records in groupby(new, type):
            self._insert(kind, list(records))
        for record, before in self._known.values():
            if record.__dict__ != before:  # 0.3 µs for an object that is as it was: this is done for each statement
                self._update(record, before)

    def _insert(self, kind: type[Record], records: list[Record]) -> None:
        self.connection().execute(insert(kind.__table__), [each.row_values() for each in records])
        self._known |= {(kind, each.row_key): (each, each.row_values()) for each in records}

    def _update(self, record: Record, before: Values) -> None:
        changed = {name: value for name, value in record.row_values().items() if value != before[name]}
        if not changed:
            return
        statement = update(record.__table__).where(_is(type(record), record.row_key)).values(changed)
        written: Any = self.connection().execute(statement).last_updated_params()
        changed |= {name: written[name] for name in before if name in written}
        record.__dict__.update(changed)
        before.update(changed)

    def _object(self, kind: type[R], row: Mapping[Any, Any]) -> R:
        values = dict(row)
        found = kind.of_row(values)
        known = self._known.setdefault((kind, found.row_key), (found, {}))
        known[0].__dict__.update(values)
        known[1].update(values)
        return known[0]  # type: ignore[return-value]


def connection_of(session: AnyTransaction) -> Connection:
    """The connection of a transaction that is somebody's."""
    return session if isinstance(session, Connection) else session.connection()


def _kind(statement: Executable) -> type[Record] | None:
    """The class that a statement selects, alone."""
    if not isinstance(statement, Select) or len(tables := statement.columns_clause_froms) != 1:
        return None
    kind = kind_of(tables[0])
    if kind is None or len(columns := list(statement.selected_columns)) != len(kind.__table__.columns):
        return None
    return kind if all(one is other for one, other in zip(columns, kind.__table__.columns, strict=True)) else None


def _is(kind: type[Record], key: Sequence[Any]) -> Any:
    return and_(*(column == value for column, value in zip(kind.__table__.primary_key, key, strict=True)))
