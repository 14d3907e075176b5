"""Lists of credentials by family and name, with filters, from a place on, in PostgreSQL."""

from functools import cache
from typing import Final, NamedTuple

from service.core.kept import Filters
from service.core.model import Credential
from service.storage.postgres.connecting import Session
from service.storage.postgres.texts import before_nul, fetch
from service.storage.rows import CREDENTIAL, MAX_INTEGER, credential

VISITED_AT_MOST: Final = 1_000
"""Entries that one page looks at, where no index answers all its filters; then it ends, however short it is."""

UNKNOWN: Final = "unknown"
"""The status filter for those without a verdict."""

Place = tuple[str, str]
"""A family and a name."""

_NO_STATUS: Final = "no status"
"""The filter for those without a verdict: PostgreSQL looks nothing up by `IS NOT DISTINCT FROM`."""

_CONDITIONS = {
    "provider": "provider = {}",
    "type": "type = {}",
    "status": "status = {}",
    _NO_STATUS: "status IS NULL",
    "expires_before": "expires_at < {}",
}
# What an index in the order of the list answers. A status comes first: what failed, or was never verified, is rare
# where things go well.
_ANSWERED = (("status",), (_NO_STATUS,), ("provider", "type"), ("provider",), ("type",), ())


_TEAMSPACES = "SELECT DISTINCT teamspace FROM credential_count WHERE workspace = $1 AND n > 0 ORDER BY teamspace"


class _Walk(NamedTuple):
    """The statement for one family; `bounded` if it looks at entries that don't fit, so that there is a budget."""

    statement: str
    bounded: bool


async def page(
    session: Session,
    workspace: str,
    teamspace: str,
    families: tuple[str, ...],
    filters: Filters,
    after: Place | None,
    limit: int,
) -> tuple[list[Credential], Place | None]:
    """One page, and the place after which the next one begins, None if nothing is left: `Store.scan_credentials`.

    Family after family, each in a statement of its own, until there is one more than a page holds, or it was enough
    work, or nothing is left. No credential changes its family, so all of a page need not be of one moment.
    """
    if limit < 1:
        return [], after
    if after is not None:
        # A place in a family that is not in the list is a place in another list.
        families = families[families.index(after[0]) :] if after[0] in families else ()
    given = {name: value for name, value in filters._asdict().items() if value is not None}
    if given.get("status") == UNKNOWN:
        given = {_NO_STATUS if name == "status" else name: value for name, value in given.items()}
    walk = _walk(tuple(given))
    values = [value for name, value in given.items() if name != _NO_STATUS]
    limit, budget = min(limit, MAX_INTEGER - 1), VISITED_AT_MOST
    found: list[Credential] = []
    for family in families:
        # No name is empty.
        start = before_nul(after[1]) if after is not None and after[0] == family else ""
        bounds = [limit + 1 - len(found), *([budget] if walk.bounded else [])]
        rows = await fetch(session, walk.statement, workspace, teamspace, family, start, *bounds, *values)
        found += [credential(tuple(row)) for row in rows if row[0] is not None]
        if len(found) > limit:
            return found[:limit], (found[limit - 1].family, found[limit - 1].name)
        if walk.bounded and rows:
            if rows[0]["visited"] == budget:
                return found, (family, rows[0]["last"])
            budget -= rows[0]["visited"]
    return found, None


async def teamspaces(session: Session, workspace: str) -> list[str]:
    """Where a workspace has credentials; the totals know."""
    return [row[0] for row in await fetch(session, _TEAMSPACES, workspace)]


@cache
def _walk(given: tuple[str, ...]) -> _Walk:
    """The statement for a combination of filters: few enough that the connections keep them prepared.

    $1 to $4 say where, $5 how many; then comes the budget, if there is one, and the filters' values.
    """
    answered = next(one for one in _ANSWERED if set(one) <= set(given))
    rest = [name for name in given if name not in answered]
    number = 7 if rest else 6
    says = {}
    for name in given:
        says[name] = _CONDITIONS[name].format(f"${number}")
        number += name != _NO_STATUS
    entries = " AND ".join(
        [
            "FROM credential WHERE workspace = $1 AND teamspace = $2 AND family = $3 AND name > $4",
            *(says[name] for name in answered),
            # The partial index has only what ends.
            *(["expires_at IS NOT NULL"] if not answered and "expires_before" in rest else []),
        ]
    )
    # S608: no value is ever in them.
    if not rest:
        return _Walk(f"SELECT {CREDENTIAL} {entries} ORDER BY name LIMIT $5", bounded=False)
    # Of the entries that were looked at, by their numbers, so that no other index is walked further than they reach.
    return _Walk(
        f"WITH seen AS MATERIALIZED (SELECT seq, name {entries} ORDER BY name LIMIT $6), "  # noqa: S608
        "walked AS MATERIALIZED (SELECT count(*) AS visited, max(name) AS last FROM seen) "
        f"SELECT page.*, walked.visited, walked.last FROM walked LEFT JOIN LATERAL (SELECT {CREDENTIAL} "
        "FROM credential WHERE seq = ANY(ARRAY(SELECT seq FROM seen)) "
        f"AND {' AND '.join(says[name] for name in rest)} ORDER BY name LIMIT $5) AS page ON true ORDER BY page.name",
        bounded=True,
    )
