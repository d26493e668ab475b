"""Full text: FTS5 on SQLite, tsvector with a GIN index on PostgreSQL; both get words that we folded ourselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import text

from jobs.adapters.words import terms
from jobs.engine.transactions import Transaction

MAX_POSITION = 16_383  # PostgreSQL keeps no later ones
MAX_POSITIONS = 255


def index(session: Transaction, rows: Sequence[tuple[int, str, str]]) -> None:
    """Add passages: number, workspace id and `words_of` the text. Deleting a passage removes its entry by itself."""
    if not rows:
        return
    sqlite = session.connection().dialect.name == "sqlite"
    session.connection().execute(
        text(SQLITE_INSERT if sqlite else POSTGRESQL_INSERT),
        [
            {"number": number, "workspace": workspace, "terms": words if sqlite else _lexemes(words)}
            for number, workspace, words in rows
        ],
    )


def words_of(prose: str) -> str:
    """The folded words of a text in their order, with spaces between them."""
    return " ".join(term for term, _start, _end in terms(prose))


def search(session: Transaction, *, tenant: str, workspace_id: str, words: list[str], limit: int) -> list[int]:
    """The numbers of the workspace's passages that hold any of the folded words, best first; ties as written."""
    if not words:
        return []
    sqlite = session.connection().dialect.name == "sqlite"
    query = _match(workspace_id, words) if sqlite else _tsquery(words)
    values = {"query": query, "tenant": tenant, "workspace": workspace_id, "limit": limit}
    return list(session.connection().scalars(text(SQLITE_SEARCH if sqlite else POSTGRESQL_SEARCH), values))


SCOPE = """
JOIN passages ON passages.number = found.number
JOIN documents ON documents.id = passages.document_id AND documents.tenant = :tenant
JOIN workspaces ON workspaces.id = passages.workspace_id AND workspaces.tenant = :tenant
WHERE passages.workspace_id = :workspace"""

SQLITE_INSERT = "INSERT INTO passage_terms (rowid, workspace, terms) VALUES (:number, :workspace, :terms)"
SQLITE_SEARCH = f"""
SELECT found.number
FROM (
    SELECT rowid AS number, bm25(passage_terms, 0.0, 1.0) AS rank FROM passage_terms WHERE passage_terms MATCH :query
) AS found
{SCOPE}
ORDER BY round(found.rank, 6), found.number
LIMIT :limit"""  # noqa: S608  made of constants

POSTGRESQL_INSERT = """
INSERT INTO passage_terms (number, workspace_id, terms) VALUES (:number, :workspace, CAST(:terms AS tsvector))"""
POSTGRESQL_SEARCH = f"""
SELECT found.number
FROM (
    SELECT number, ts_rank(terms, CAST(:query AS tsquery), 1) AS rank
    FROM passage_terms
    WHERE workspace_id = :workspace AND terms @@ CAST(:query AS tsquery)
) AS found
{SCOPE}
ORDER BY found.rank DESC, found.number
LIMIT :limit"""  # noqa: S608  made of constants


def _lexemes(words: str) -> str:
    """A tsvector literal; terms hold only letters and digits, so that quoting them is enough."""
    places: dict[str, list[int]] = {}
    for position, term in enumerate(words.split(" ") if words else (), 1):
        places.setdefault(term, []).append(min(position, MAX_POSITION))
    return " ".join(f"'{term}':{_joined(sorted(set(found))[:MAX_POSITIONS])}" for term, found in places.items())


def _joined(positions: Iterable[int]) -> str:
    return ",".join(map(str, positions))


def _match(workspace_id: str, words: list[str]) -> str:
    return f"workspace : {_quoted(workspace_id)} AND terms : ({' OR '.join(map(_quoted, words))})"


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


def _tsquery(words: list[str]) -> str:
    return " | ".join(f"'{word}'" for word in words)
