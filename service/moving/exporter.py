"""Everything but the secrets, a page at a time."""

from collections.abc import AsyncIterator, Iterable

from service.core.catalog import Catalog
from service.core.kept import Filters
from service.core.model import Caller, Credential, Family

PAGE = 500
_FAMILIES = (Family.ACCESS, Family.SHARED)


async def pages(catalog: Catalog, caller: Caller, teamspaces: Iterable[str]) -> AsyncIterator[list[Credential]]:
    """The credentials of some teamspaces (an empty one is the workspace level), by kind and name, in pages.

    Raises:
        StoreUnavailable: the store could not be read.
    """
    for teamspace in teamspaces:
        after = None
        while True:
            found, after = await catalog.scan(caller, teamspace, _FAMILIES, Filters(), after=after, limit=PAGE)
            yield found
            if after is None:
                break
