"""Lists of credentials by family and name, with filters, from a place on; in SQLite, for the reading connection."""

import sqlite3
from functools import cache
from typing import Any, Final, NamedTuple

from service.core.kept import Filters
from service.core.model import Credential
from service.storage.reader import snapshot
from service.storage.rows import CREDENTIAL, MAX_INTEGER, credential

VISITED_AT_MOST: Final = 1_000
"""Entries that one page looks at, where no index answers all its filters; then it ends, however short it is."""

UNKNOWN: Final = "unknown"
"""The status filter for those without a verdict."""

Place = tuple[str, str]
"""A family and a name."""

_CONDITIONS = {
    "provider": "provider = :provider",
    "type": "type = :type",
    "status": "status IS :status",
    "expires_before": "expires_at < :expires_before",
}

_TEAMSPACES = "SELECT DISTINCT teamspace FROM credential_count WHERE workspace = ? AND n > 0 ORDER BY teamspace"


class _Index(NamedTuple):
    """An index in the order of the list: of use with the filters `needs`, of which it answers `answers`."""

    name: str
    needs: tuple[str, ...]
    answers: tuple[str, ...]


# The first one of use is taken. A status comes first: what failed, or was never verified, is rare where things go well.
_INDEXES = (
    _Index("credential_by_status", ("status",), ("status",)),
    _Index("credential_by_kind", ("provider", "type"), ("provider", "type")),
    _Index("credential_by_provider", ("provider",), ("provider",)),
    _Index("credential_by_type", ("type",), ("type",)),
    _Index("credential_that_ends", ("expires_before",), ()),
    _Index("credential_by_name", (), ()),
)


class _Walk(NamedTuple):
    """The statements for one family. `measure` says how far it goes; None if every entry fits the filters."""

    measure: str | None
    select: str


def page(
    connection: sqlite3.Connection,
    workspace: str,
    teamspace: str,
    families: tuple[str, ...],
    filters: Filters,
    after: Place | None,
    limit: int,
) -> tuple[list[Credential], Place | None]:
    """One page, and the place after which the next one begins, None if nothing is left: `Store.scan_credentials`."""
    if limit < 1:
        return [], after
    if after is not None:
        # A place in a family that is not in the list is a place in another list.
        families = families[families.index(after[0]) :] if after[0] in families else ()
    given = {name: value for name, value in filters._asdict().items() if value is not None}
    walk = _walk(tuple(given))
    if given.get("status") == UNKNOWN:
        given["status"] = None
    values = {"workspace": workspace, "teamspace": teamspace, **given}
    with snapshot(connection):
        return _families(connection, walk, values, families, after, min(limit, MAX_INTEGER - 1))


def teamspaces(connection: sqlite3.Connection, workspace: str) -> list[str]:
    """Where a workspace has credentials; the totals know."""
    return [row[0] for row in connection.execute(_TEAMSPACES, (workspace,)).fetchall()]


def _families(
    connection: sqlite3.Connection,
    walk: _Walk,
    values: dict[str, Any],
    families: tuple[str, ...],
    after: Place | None,
    limit: int,
) -> tuple[list[Credential], Place | None]:
    """Family after family, until there is one more than a page holds, or it was enough work, or nothing is left."""
    found: list[Credential] = []
    budget = VISITED_AT_MOST
    for family in families:
        # No name is empty.
        values |= {"family": family, "after": after[1] if after is not None and after[0] == family else ""}
        values |= {"limit": limit + 1 - len(found)}
        visited, last = 0, ""
        if walk.measure is not None:
            visited, last = connection.execute(walk.measure, {**values, "budget": budget}).fetchall()[0]
        found += [credential(row) for row in connection.execute(walk.select, {**values, "last": last}).fetchall()]
        if len(found) > limit:
            return found[:limit], (found[limit - 1].family, found[limit - 1].name)
        if visited == budget:
            return found, (family, last)
        budget -= visited
    return found, None


@cache
def _walk(given: tuple[str, ...]) -> _Walk:
    """The statements for a combination of filters: at most sixteen, so that the connections keep them prepared."""
    index = next(one for one in _INDEXES if set(one.needs) <= set(given))
    entries = " AND ".join(
        [
            f"FROM credential INDEXED BY {index.name} WHERE workspace = :workspace AND teamspace = :teamspace "
            "AND family = :family AND name > :after",
            *(_CONDITIONS[name] for name in index.answers),
            # As the partial index says it: without that it can't be used.
            *(["expires_at IS NOT NULL"] if index.name == "credential_that_ends" else []),
        ]
    )
    rest = [_CONDITIONS[name] for name in given if name not in index.answers]
    # S608: no value is ever in them.
    if not rest:
        return _Walk(None, f"SELECT {CREDENTIAL} {entries} ORDER BY name LIMIT :limit")
    return _Walk(
        f"SELECT count(*), max(name) FROM (SELECT name {entries} ORDER BY name LIMIT :budget)",  # noqa: S608
        f"SELECT {CREDENTIAL} {entries} AND name <= :last AND {' AND '.join(rest)} ORDER BY name LIMIT :limit",
    )
