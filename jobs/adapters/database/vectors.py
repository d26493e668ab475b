"""Nearest neighbours: pgvector with HNSW where PostgreSQL has it, exact search with numpy everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import CTE, Connection, Float, Select, Subquery, cast, column, func, select, table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import UserDefinedType

from jobs.adapters.database.models import DOCUMENTS, PASSAGES, WORKSPACES
from jobs.engine.transactions import Transaction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _Vector(UserDefinedType[str]):
    """pgvector's type, for casting."""

    cache_ok = True

    def get_col_spec(self, **_options: object) -> str:
        return "vector"


DIMENSIONS = 256
CHUNK = 4096
EXACT_UP_TO = 20_000
CREATE = f"""
CREATE TABLE passage_vectors (
    number bigint PRIMARY KEY REFERENCES passages (number) ON DELETE CASCADE,
    workspace_id varchar(32) NOT NULL,
    embedding vector({DIMENSIONS}) NOT NULL
)"""
INSERT = """
INSERT INTO passage_vectors (number, workspace_id, embedding) VALUES (:number, :workspace, CAST(:vector AS vector))"""
_indexed = table("passage_vectors", column("number"), column("workspace_id"), column("embedding"))
_whole = func.length(PASSAGES.c.embedding) == DIMENSIONS * 4


def prepare(connection: Connection) -> bool:
    """Make and fill the pgvector table where the extension can be had; run by every migration. Whether it is there."""
    if connection.dialect.name != "postgresql" or not _has_pgvector(connection):
        return False
    if not _is_prepared(connection):
        connection.execute(text("LOCK TABLE passages IN SHARE MODE"))
        connection.execute(text(CREATE))
        _fill(connection)
        connection.execute(text("CREATE INDEX ON passage_vectors (workspace_id)"))
        connection.execute(text("CREATE INDEX ON passage_vectors USING hnsw (embedding vector_cosine_ops)"))
    return True


def index(session: Transaction, rows: Sequence[tuple[int, str, bytes]]) -> None:
    """Add passages, each (number, workspace id, float32 vector), to the pgvector table; elsewhere there is no index."""
    connection = session.connection()
    if rows and _is_prepared(connection):
        connection.execute(text(INSERT), [_values(number, workspace, vector) for number, workspace, vector in rows])


def nearest(
    session: Transaction,
    *,
    tenant: str,
    workspace_id: str,
    vector: NDArray[np.float32],
    model: str,
    limit: int,
    exact_up_to: int = EXACT_UP_TO,
) -> list[tuple[int, float]]:
    """The `limit` passages of the workspace most like the unit vector: (number, cosine similarity), best first.

    Only documents embedded with `model` are looked at. Equal ones come in the order they were written.
    With pgvector, a workspace of more than `exact_up_to` passages is searched by HNSW, which may miss some.
    """
    scope = _scope(tenant, workspace_id, model)
    if not _is_prepared(session.connection()):
        return _nearest_in_memory(session, scope, vector, limit)
    if _size(session, workspace_id) > exact_up_to:
        session.execute(text("SET LOCAL hnsw.iterative_scan = strict_order"))  # goes on past other workspaces' rows
        session.execute(text(f"SET LOCAL hnsw.ef_search = {min(1000, max(200, limit))}"))
        return _nearest_by_pgvector(session, scope, _distances(workspace_id, vector).subquery(), limit)
    return _nearest_by_pgvector(
        session, scope, _distances(workspace_id, vector).cte().prefix_with("MATERIALIZED"), limit
    )


def _has_pgvector(connection: Connection) -> bool:
    try:
        with connection.begin_nested():
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
    except DBAPIError:  # not installed, or this user may not: exact search serves
        return False
    return True


def _is_prepared(connection: Connection) -> bool:
    if connection.dialect.name != "postgresql":
        return False
    return connection.scalar(text("SELECT to_regclass('passage_vectors')")) is not None


def _fill(connection: Connection) -> None:
    stored = select(PASSAGES.c.number, PASSAGES.c.workspace_id, PASSAGES.c.embedding).where(_whole)
    for part in connection.execute(stored.execution_options(yield_per=CHUNK)).partitions():
        connection.execute(text(INSERT), [_values(number, workspace, vector) for number, workspace, vector in part])


def _values(number: int, workspace_id: str, vector: bytes) -> dict[str, object]:
    return {"number": number, "workspace": workspace_id, "vector": _written(vector)}


def _written(vector: bytes) -> str:
    import numpy as np

    return "[" + ",".join(map(repr, np.frombuffer(vector, "<f4").tolist())) + "]"


def _scope(tenant: str, workspace_id: str, model: str) -> Select[Any]:
    return (
        select(PASSAGES.c.number)
        .join(DOCUMENTS, DOCUMENTS.c.id == PASSAGES.c.document_id)
        .join(WORKSPACES, WORKSPACES.c.id == PASSAGES.c.workspace_id)
        .where(
            PASSAGES.c.workspace_id == workspace_id,
            WORKSPACES.c.tenant == tenant,
            DOCUMENTS.c.tenant == tenant,
            DOCUMENTS.c.embedding_model == model,
        )
    )


def _size(session: Transaction, workspace_id: str) -> int:
    return session.scalar(select(func.sum(DOCUMENTS.c.passages)).where(DOCUMENTS.c.workspace_id == workspace_id)) or 0


def _distances(workspace_id: str, vector: NDArray[np.float32]) -> Select[Any]:
    query = cast(_written(vector.astype("<f4").tobytes()), _Vector())
    distance = _indexed.c.embedding.op("<=>", return_type=Float())(query)
    return select(_indexed.c.number, distance.label("distance")).where(_indexed.c.workspace_id == workspace_id)


def _nearest_by_pgvector(
    session: Transaction, scope: Select[Any], distances: Subquery | CTE, limit: int
) -> list[tuple[int, float]]:
    found = (
        scope.add_columns(distances.c.distance)
        .join(distances, distances.c.number == PASSAGES.c.number)
        .order_by(distances.c.distance, PASSAGES.c.number)
        .limit(limit)
    )
    return [(number, 1.0 - distance) for number, distance in session.execute(found)]


def _nearest_in_memory(
    session: Transaction, scope: Select[Any], vector: NDArray[np.float32], limit: int
) -> list[tuple[int, float]]:
    import numpy as np

    best_numbers, best = np.empty(0, np.int64), np.empty(0, np.float32)
    stored = scope.add_columns(PASSAGES.c.embedding).where(_whole).execution_options(yield_per=CHUNK)
    for part in session.execute(stored).partitions():
        matrix = np.frombuffer(b"".join(row[1] for row in part), "<f4").reshape(-1, DIMENSIONS)
        numbers = np.concatenate([best_numbers, np.fromiter((row[0] for row in part), np.int64, len(part))])
        likeness = np.concatenate([best, np.round(matrix @ vector, 6)])  # equal rows must tie, whatever BLAS rounds
        order = np.lexsort((numbers, -likeness))[:limit]
        best_numbers, best = numbers[order], likeness[order]
    return list(zip(best_numbers.tolist(), best.tolist(), strict=True))
