"""Credentials as they are read from PostgreSQL: one statement each, so each sees one state of the database."""

from typing import Final

from service.core.model import Credential, Scope, Sealed
from service.storage.postgres.connecting import Session
from service.storage.postgres.texts import fetch, fetchrow
from service.storage.rows import CREDENTIAL, CREDENTIAL_COLUMNS, at_most, credential

IN_SCOPE: Final = "workspace = $1 AND teamspace = $2 AND family = $3"

# Constant texts, so that the connections keep them prepared. S608: no value is ever in them.
_GET = f"SELECT {CREDENTIAL} FROM credential WHERE {IN_SCOPE} AND name = $4"  # noqa: S608
_GET_SEALED = (
    f"SELECT {CREDENTIAL}, key_id, sealed FROM credential "  # noqa: S608
    f"JOIN envelope ON envelope.credential = credential.seq WHERE {IN_SCOPE} AND name = $4"
)
_FIND = (
    f"SELECT {CREDENTIAL}, key_id, sealed FROM credential "  # noqa: S608
    "JOIN envelope ON envelope.credential = credential.seq WHERE id = $1 AND workspace = $2"
)
_GET_DEFAULT = f"SELECT {CREDENTIAL} FROM credential WHERE {IN_SCOPE} AND provider = $4 AND provider_default"  # noqa: S608


def _page(filters: tuple[str, ...]) -> str:
    """The statement for a combination of filters: the total is there even if the page has no rows."""
    which = IN_SCOPE + "".join(f" AND {name} = ${number}" for number, name in enumerate(filters, 4))
    limit, offset = (f"${len(filters) + number}" for number in (4, 5))
    return (
        f"SELECT page.*, total.n FROM (SELECT coalesce(sum(n), 0)::bigint AS n FROM credential_count WHERE {which}) "  # noqa: S608
        f"AS total LEFT JOIN LATERAL (SELECT {CREDENTIAL} FROM credential WHERE {which} "
        f"ORDER BY name LIMIT {limit} OFFSET {offset}) AS page ON true ORDER BY page.name"
    )


_FILTERS: Final[tuple[tuple[str, ...], ...]] = ((), ("provider",), ("type",), ("provider", "type"))
_PAGES = {filters: _page(filters) for filters in _FILTERS}


async def get(session: Session, scope: Scope, name: str) -> Credential | None:
    """One credential, without its envelope."""
    row = await fetchrow(session, _GET, *scope, name)
    return Credential(*row) if row else None


async def get_sealed(session: Session, scope: Scope, name: str) -> tuple[Credential, Sealed] | None:
    """One credential with its envelope."""
    row = await fetchrow(session, _GET_SEALED, *scope, name)
    return (credential(tuple(row)), Sealed(*row[CREDENTIAL_COLUMNS:])) if row else None


async def find(session: Session, workspace: str, credential_id: str) -> tuple[Credential, Sealed] | None:
    """One credential of a workspace by its id, with its envelope."""
    row = await fetchrow(session, _FIND, credential_id, workspace)
    return (credential(tuple(row)), Sealed(*row[CREDENTIAL_COLUMNS:])) if row else None


async def get_default(session: Session, scope: Scope, provider: str) -> Credential | None:
    """The provider's default, if the scope has one."""
    row = await fetchrow(session, _GET_DEFAULT, *scope, provider)
    return Credential(*row) if row else None


async def page(
    session: Session, scope: Scope, provider: str | None, type_: str | None, offset: int, limit: int
) -> tuple[list[Credential], int]:
    """One page by name, and the total of the same moment."""
    given = {name: value for name, value in (("provider", provider), ("type", type_)) if value is not None}
    rows = await fetch(session, _PAGES[tuple(given)], *scope, *given.values(), at_most(limit), at_most(offset))
    return [credential(tuple(row)) for row in rows if row[0] is not None], rows[0]["n"] if rows else 0
