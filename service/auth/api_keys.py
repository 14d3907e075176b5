"""API keys: one read of the store for each request, so that a revocation holds at once."""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime

from service.core.key_format import PresentedKey
from service.core.model import Principal, PrincipalKind
from service.core.store import Store

_NOBODYS_HASH = bytes(32)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ApiKeys:
    """Checks API keys against the store.

    Args:
        store: where the keys' hashes are.
        now: the time, aware, in UTC.
    """

    def __init__(self, store: Store, *, now: Callable[[], datetime] = _utc_now) -> None:
        self._store = store
        self._now = now

    async def check(self, given: PresentedKey) -> Principal | None:
        """Who the key belongs to; None if it is unknown, wrong, revoked or expired, and nothing says which.

        Raises:
            StoreUnavailable: nobody can be recognised now.
        """
        row = await self._store.get_api_key(given.id)
        right = hmac.compare_digest(given.secret_hash, _NOBODYS_HASH if row is None else row.secret_hash)
        if row is None or not right or row.revoked_at is not None:
            return None
        if row.expires_at is not None and row.expires_at <= self._now():
            return None
        return Principal(PrincipalKind.API_KEY, row.id, row.name, row.workspace, row.role, row.teamspaces)
