"""One issuer's tokens as JWTs (RFC 7519, 8725 and 9068): the signature, the header, the claims, the times."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from service.auth.grants import Grant
from service.auth.issuer_keys import ALGORITHMS, IssuerKeys
from service.core.errors import NotAuthenticated
from service.core.model import Principal

LONGEST_TOKEN = 16_384
"""Characters."""
LEEWAY_SECONDS = 60.0
"""How far an issuer's clock may be ahead of ours (`nbf`, `iat`); `exp` gets none."""

UNKNOWN = "The token is not one that the configured issuer signed for vouch."

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# RFC 8725 section 3.11: a token made for something else (a logout, a proof of possession) says so in its
# type.
_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")


def has_form(token: str) -> bool:
    """Whether a text can be a signed token at all (RFC 7515 section 7.1); it is ASCII then."""
    return len(token) <= LONGEST_TOKEN and _FORM.fullmatch(token) is not None


@dataclass(frozen=True)
class TokenIssuer:
    """An issuer, for one audience.

    `keys` are its public ones, `grant` says what its tokens may do here, `now` gives seconds since the epoch.
    """

    issuer: str
    audience: str
    keys: IssuerKeys
    grant: Grant
    now: Callable[[], float]

    async def check(self, token: str) -> tuple[Principal, float]:
        """Who a token of the right form speaks for, and when it expires (seconds since the epoch).

        Raises:
            NotAuthenticated: it is not a token of this issuer for this audience, or not of this time.
            NotAllowed: it is, but it grants nothing here.
            Overloaded: the issuer's keys can't be had.
        """
        claims = await self._claims(token)
        expires_at = self._check_times(claims)
        return self.grant.principal(claims), expires_at

    async def _claims(self, token: str) -> Mapping[str, Any]:
        """The claims of a token whose signature, issuer and audience are right.

        Of the header only `alg`, `kid`, `typ` and `crit` are read: `jku`, `jwk`, `x5u` and `x5c` would let
        the token bring its own key.
        """
        algorithm, key_id = _read_header(token)
        key = await self.keys.find(key_id, algorithm)
        if key is None:
            raise NotAuthenticated(UNKNOWN)
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[algorithm],
                audience=self.audience,
                issuer=self.issuer,
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidAudienceError:
            raise NotAuthenticated("The token is for another audience.") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise NotAuthenticated(UNKNOWN) from None
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> float:
        """Refuse a token that is not of this time; return when it expires.

        Nothing is coerced: `"1"` and true are no times (RFC 7519 section 2, NumericDate).
        """
        times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
        for value in times.values():
            if type(value) not in (int, float) or not math.isfinite(_as_float(value)):
                raise NotAuthenticated(UNKNOWN)
        now = self.now()
        expires_at = _as_float(times["exp"])
        if expires_at <= now:
            raise NotAuthenticated("The token has expired: get a new one.")
        if any(_as_float(times[name]) > now + LEEWAY_SECONDS for name in ("nbf", "iat") if name in times):
            raise NotAuthenticated("The token is not valid yet.")
        return expires_at


def _read_header(token: str) -> tuple[str, str | None]:
    """The algorithm, a listed one, and the key's id of a token whose header asks for nothing that we don't do.

    Raises:
        NotAuthenticated: it is another.
    """
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise NotAuthenticated(UNKNOWN) from None
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or not isinstance(key_id, str | None):
        raise NotAuthenticated(UNKNOWN)
    if (kind.lower() if isinstance(kind, str) else kind) not in _TYPES:
        raise NotAuthenticated(UNKNOWN)
    if "crit" in header:  # RFC 7515 section 4.1.11: we understand no extension, so each of them is refused
        raise NotAuthenticated(UNKNOWN)
    return algorithm, key_id


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
