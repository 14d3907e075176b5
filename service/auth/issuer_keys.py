"""The public keys of a token issuer: kept, and fetched again for a new one, but not at a stranger's pace."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from service.auth.key_source import BadAnswerError, KeySource
from service.core.errors import Overloaded
from verifiers.verdict import NotVerified

log = logging.getLogger("vouch.auth")

FETCH_SECONDS = 5.0
REFRESH_SECONDS = 600.0
"""The age at which the set is fetched again, while the old one serves."""
RETRY_SECONDS = 5.0
"""The pause after a failed fetch."""
COOLDOWN_SECONDS = 10.0
"""The pause between fetches that unknown key ids cause; the longest a stranger can delay a rotation."""

# RFC 7518 section 3.1 and RFC 8037: the algorithms that are taken, and the key type and curve that each
# needs. A listed few: HS* would make the public key a secret, `none` needs no key at all.
ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "EdDSA": ("OKP", "Ed25519"),
}
_LOADERS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}
_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")
_SMALLEST_RSA = 2048


@dataclass(frozen=True)
class IssuerKey:
    """One public key. `algorithm` is the only one it is meant for, None is any that fits its type."""

    id: str | None
    type: str
    curve: str | None
    algorithm: str | None
    public: Any = field(repr=False)

    def fits(self, algorithm: str) -> bool:
        """Whether a signature of this algorithm can be this key's."""
        return (self.type, self.curve) == ALGORITHMS[algorithm] and self.algorithm in (None, algorithm)


class IssuerKeys:
    """The JSON Web Key Set (RFC 7517) of one issuer.

    Args:
        source: where its set is.
        clock: monotonic seconds.
    """

    def __init__(self, source: KeySource, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._keys: tuple[IssuerKey, ...] | None = None
        self._task: asyncio.Task[None] | None = None
        self._next_refresh = float("-inf")
        self._next_for_unknown = float("-inf")

    async def close(self) -> None:
        """Stop a fetch that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def find(self, key_id: str | None, algorithm: str) -> IssuerKey | None:
        """The key that a token names, if the issuer has it and it fits the algorithm.

        Args:
            key_id: the token's `kid`; None finds the only key that fits, if there is exactly one.
            algorithm: one of `ALGORITHMS`.

        Raises:
            Overloaded: the issuer was never reached, so nothing can be said about the token.
        """
        if self._clock() >= self._next_refresh:
            self._begin()
        if self._keys is None:
            await self._wait()
        if self._keys is None:
            raise Overloaded("The issuer of tokens can't be reached to check this one.", round(RETRY_SECONDS))
        found = self._choose(key_id, algorithm)
        if found is not None:
            return found
        if self._clock() >= self._next_for_unknown:
            self._next_for_unknown = self._clock() + COOLDOWN_SECONDS
            self._begin()
        await self._wait()
        return self._choose(key_id, algorithm)

    def _choose(self, key_id: str | None, algorithm: str) -> IssuerKey | None:
        fitting = [key for key in self._keys or () if key.fits(algorithm)]
        if key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.id == key_id), None)

    def _begin(self) -> None:
        """Start a fetch, unless one is under way: requests that need one share it."""
        if self._task is None:
            self._task = asyncio.create_task(self._refresh())

    async def _wait(self) -> None:
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _refresh(self) -> None:
        """Fetch the set; whatever goes wrong, the old one stays."""
        pause = RETRY_SECONDS
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = await self._fetch()
            pause = REFRESH_SECONDS
        except (NotVerified, TimeoutError, BadAnswerError) as error:
            reason = str(error) or "no answer in time"
            log.warning("the keys of the token issuer %s could not be fetched: %s", self._source.issuer, reason)
        finally:
            self._next_refresh = self._clock() + pause
            self._task = None

    async def _fetch(self) -> tuple[IssuerKey, ...]:
        keys = tuple(key for one in await self._source.fetch() if (key := _load(one)) is not None)
        if not keys:
            raise BadAnswerError("the key set has no key that can be used")
        return keys


def _load(one: object) -> IssuerKey | None:
    """One member of a key set; None if it is not for checking the signatures we take (RFC 7517 section 5)."""
    if not isinstance(one, dict) or one.get("use", "sig") != "sig":
        return None
    operations = one.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    algorithm, key_id, curve = one.get("alg"), one.get("kid"), one.get("crv")
    if algorithm is not None and algorithm not in list(ALGORITHMS):
        return None
    # The public members alone: should the issuer publish a private key, it is not taken in.
    members = {name: one[name] for name in _PUBLIC_MEMBERS if isinstance(one.get(name), str)}
    loader = _LOADERS.get(members.get("kty", ""))
    if loader is None or not isinstance(key_id, str | None):
        return None
    try:
        public = loader(members)
    except (jwt.PyJWTError, ValueError, KeyError, OverflowError):
        return None
    if members["kty"] == "RSA" and public.key_size < _SMALLEST_RSA:
        return None
    return IssuerKey(key_id, members["kty"], None if members["kty"] == "RSA" else curve, algorithm, public)
