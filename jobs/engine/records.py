"""Rows as objects, on SQLAlchemy's Core alone: its ORM takes 7 MB of every worker that has loaded it.

A class names its table's columns; on the class they are the columns, for statements, on an object they are its values.
`jobs.engine.sessions` reads and writes such objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

from sqlalchemy import Column, MetaData, Table

T = TypeVar("T")
Values = dict[str, Any]


class Field(Generic[T]):
    """A column of a Record's table: what a Column is made of, but not NULL unless it says so."""

    def __init__(self, *parts: Any, default: T | Callable[[], T] | None = None, nullable: bool = False, **more: Any):
        more |= {} if default is None else {"default": default}
        self._made_of, self._more = parts, {"nullable": nullable, **more}
        self._default = default
        self._column: Column[T] | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self._column = Column(name, *self._made_of, **self._more)

    @overload
    def __get__(self, instance: None, owner: type) -> Column[T]: ...

    @overload
    def __get__(self, instance: Record, owner: type) -> T: ...

    def __get__(self, instance: Record | None, owner: type) -> Any:
        """The column; of an object this is asked for only while it has no value."""
        if instance is not None:
            return instance.__dict__.setdefault(self.column.key, None)
        return self.column

    if TYPE_CHECKING:  # values lie in the object itself, which makes reading them as quick as any attribute

        def __set__(self, instance: Record, value: T) -> None: ...

    @property
    def column(self) -> Column[T]:
        """The table's column."""
        if self._column is None:
            raise TypeError("a field belongs to a class")
        return self._column

    def first(self) -> T | None:
        """What a new object has here that was given nothing."""
        return self._default() if callable(self._default) else self._default


class Record:
    """A row. Base classes hold the MetaData; each class with a `__tablename__` makes one table of it."""

    metadata: ClassVar[MetaData]
    __table__: ClassVar[Table]
    __tablename__: ClassVar[str]
    __table_args__: ClassVar[Sequence[Any]] = ()
    """Constraints and indexes."""
    __table_options__: ClassVar[Mapping[str, Any]] = {}
    _fields: ClassVar[Mapping[str, Field[Any]]] = {}

    def __init_subclass__(cls) -> None:
        if "__tablename__" not in cls.__dict__:
            return
        cls._fields = {name: each for name, each in vars(cls).items() if isinstance(each, Field)}
        columns = [each.column for each in cls._fields.values()]
        about = {"info": {Record: cls}, **cls.__table_options__}
        cls.__table__ = Table(cls.__tablename__, cls.metadata, *columns, *cls.__table_args__, **about)

    def __init__(self, **values: Any) -> None:
        """A row that is not in the database yet. Raises TypeError for a value that it has no column for."""
        if unknown := values.keys() - self._fields.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        given = self.__dict__
        for name, field in self._fields.items():
            given[name] = values[name] if name in values else field.first()

    @classmethod
    def __clause_element__(cls) -> Table:
        """What SQLAlchemy takes the class for in statements."""
        return cls.__table__

    @classmethod
    def of_row(cls, values: Mapping[str, Any]) -> Self:
        """The object of a row that was read."""
        found = cls.__new__(cls)
        found.__dict__.update(values)
        return found

    @property
    def row_key(self) -> tuple[Any, ...]:
        """The values of the primary key."""
        return tuple(self.__dict__[each.key] for each in self.__table__.primary_key)

    def row_values(self) -> Values:
        """A copy of its values, by column."""
        return {name: self.__dict__.get(name) for name in self._fields}


def kind_of(table: object) -> type[Record] | None:
    """The class whose objects a table's rows are, if there is one."""
    kind: type[Record] | None = table.info.get(Record) if isinstance(table, Table) else None
    return kind
