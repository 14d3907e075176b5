"""(interface) Seal and open."""

from typing import Protocol

from service.core.model import Sealed


class KeyRing(Protocol):
    """Where key-encryption keys live."""

    @property
    def active_id(self) -> str:
        """The id of the key that new data keys are wrapped with."""

    async def wrap(self, data_key: bytes, binding: bytes) -> Sealed: ...

    async def unwrap(self, wrapped: Sealed, binding: bytes) -> bytes: ...


class Envelope:
    def __init__(self, ring: KeyRing) -> None: ...

    async def seal(self, plaintext: bytes, binding: bytes) -> Sealed: ...

    async def open(self, sealed: Sealed, binding: bytes) -> bytes: ...
