"""The external id that each workspace's roles should ask for: derived, so that nobody can choose another's."""

import base64
import hashlib
import hmac
import os

from service.core.envelope import Envelope
from service.core.errors import StoreUnavailable
from service.core.model import Caller, Permission
from service.core.permissions import require
from service.core.store import Store

_NAME = "external_ids"
_BINDING = b"vouch.external_ids.v1"
_SECRET_BYTES = 32
_ID_BYTES = 20


class ExternalIds:
    """Derives external ids from a secret of this installation, which is made once and sealed like every other.

    A role whose trust policy asks for its workspace's issued id can't be assumed for any other workspace: the id is
    nobody's to choose (https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html).
    """

    def __init__(self, store: Store, envelope: Envelope) -> None:
        self._store = store
        self._envelope = envelope
        self._secret: bytes | None = None

    async def issued_to(self, caller: Caller) -> str:
        """The external id of the caller's workspace.

        Raises:
            NotAllowed: the caller may not read.
        """
        require(caller.principal, Permission.READ)
        return await self.of(caller.principal.workspace)

    async def of(self, workspace: str) -> str:
        """The external id of a workspace: `vouch-` and 160 bits in base32, the same for ever.

        Raises:
            StoreUnavailable: the secret can't be had.
        """
        secret = self._secret
        if secret is None:
            secret = self._secret = await self._load()
        digest = hmac.digest(secret, workspace.encode(), hashlib.sha256)[:_ID_BYTES]
        return f"vouch-{base64.b32encode(digest).decode().lower()}"

    async def _load(self) -> bytes:
        """The secret, which the first who wants it makes: of several at once, one's stays."""
        sealed = await self._store.get_secret(_NAME)
        if sealed is None:
            made = await self._envelope.seal(os.urandom(_SECRET_BYTES), _BINDING)
            await self._store.add_secret(_NAME, made)
            sealed = await self._store.get_secret(_NAME)
        if sealed is None:
            raise StoreUnavailable
        return await self._envelope.open(sealed, _BINDING)
