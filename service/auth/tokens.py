"""OAuth2 access tokens as JWTs (RFC 7519, 8725 and 9068), checked against the issuer's keys."""

import hashlib
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from service.auth.issuer_keys import ALGORITHMS, IssuerKeys
from service.auth.settings import OAuth2Settings
from service.core.access import is_workspace
from service.core.errors import NotAllowed, NotAuthenticated
from service.core.model import Principal, PrincipalKind, Role
from service.core.names import is_label
from verifiers.egress import GuardedSession

LONGEST_TOKEN = 16_384
"""Characters."""
LEEWAY_SECONDS = 60.0
"""How far an issuer's clock may be ahead of ours (`nbf`, `iat`); `exp` gets none."""
REMEMBERED_SECONDS = 60.0
MOST_REMEMBERED = 1024
MOST_TEAMSPACES = 1000

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# RFC 8725 section 3.11: a token made for something else (a logout, a proof of possession) says so in its
# type.
_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")

_UNKNOWN = "The token is not one that the configured issuer signed for vouch."


class Tokens:
    """Checks tokens of one issuer.

    Args:
        settings: the issuer, the audience, and the names of the claims.
        session: the way out to hosts that the operator configured.
        now: seconds since the epoch.
        clock: monotonic seconds, for the ages of the issuer's keys.
    """

    def __init__(
        self,
        settings: OAuth2Settings,
        session: GuardedSession,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._keys = IssuerKeys(settings, session, clock=clock)
        self._now = now
        self._remembered: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    async def close(self) -> None:
        """Stop what is under way."""
        await self._keys.close()

    async def check(self, token: str) -> Principal:
        """Who the token speaks for.

        Raises:
            NotAuthenticated: it is not a token of this issuer for this audience, or not of this time.
            NotAllowed: it is, but its claims grant nothing here.
            Overloaded: the issuer's keys can't be had.
        """
        if len(token) > LONGEST_TOKEN or _FORM.fullmatch(token) is None:
            raise NotAuthenticated(_UNKNOWN)
        memory = hashlib.sha256(token.encode("ascii")).digest()
        known = self._remembered.get(memory)
        if known is not None and self._now() < known[1]:
            return known[0]
        claims = await self._claims(token)
        expires_at = self._check_times(claims)
        principal = self._principal(claims)
        self._remember(memory, principal, expires_at)
        return principal

    async def _claims(self, token: str) -> Mapping[str, Any]:
        """The claims of a token whose signature, issuer and audience are right.

        Of the header only `alg`, `kid`, `typ` and `crit` are read: `jku`, `jwk`, `x5u` and `x5c` would let
        the token bring its own key.
        """
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise NotAuthenticated(_UNKNOWN) from None
        algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
        if algorithm not in list(ALGORITHMS) or not isinstance(key_id, str | None):
            raise NotAuthenticated(_UNKNOWN)
        if (kind.lower() if isinstance(kind, str) else kind) not in _TYPES:
            raise NotAuthenticated(_UNKNOWN)
        if "crit" in header:  # RFC 7515 section 4.1.11: we understand no extension, so each of them is refused
            raise NotAuthenticated(_UNKNOWN)
        key = await self._keys.find(key_id, algorithm)
        if key is None:
            raise NotAuthenticated(_UNKNOWN)
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
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
            raise NotAuthenticated(_UNKNOWN) from None
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> float:
        """Refuse a token that is not of this time; return when it expires.

        Nothing is coerced: `"1"` and true are no times (RFC 7519 section 2, NumericDate).
        """
        times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
        for value in times.values():
            if type(value) not in (int, float) or not math.isfinite(_as_float(value)):
                raise NotAuthenticated(_UNKNOWN)
        now = self._now()
        expires_at = _as_float(times["exp"])
        if expires_at <= now:
            raise NotAuthenticated("The token has expired: get a new one.")
        if any(_as_float(times[name]) > now + LEEWAY_SECONDS for name in ("nbf", "iat") if name in times):
            raise NotAuthenticated("The token is not valid yet.")
        return expires_at

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        """What the claims grant here; a claim of the wrong type grants nothing."""
        settings = self._settings
        subject = claims.get("sub")
        if not isinstance(subject, str) or not is_label(subject):
            raise NotAllowed("The token names no subject.")
        workspace = claims.get(settings.workspace_claim)
        if not isinstance(workspace, str) or not is_workspace(workspace):
            raise NotAllowed(f"The token grants nothing here: its claim {settings.workspace_claim} names no workspace.")
        role = claims.get(settings.role_claim)
        if not isinstance(role, str) or role not in list(Role):
            raise NotAllowed(f"The token grants nothing here: its claim {settings.role_claim} names no role.")
        teamspaces = None
        if settings.teamspaces_claim in claims:
            teamspaces = _read_teamspaces(claims[settings.teamspaces_claim])
            if teamspaces is None:
                raise NotAllowed(
                    f"The token grants nothing here: its claim {settings.teamspaces_claim} is no list of ids."
                )
        return Principal(PrincipalKind.TOKEN, subject, subject, workspace, Role(role), teamspaces)

    def _remember(self, memory: bytes, principal: Principal, expires_at: float) -> None:
        self._remembered[memory] = (principal, min(expires_at, self._now() + REMEMBERED_SECONDS))
        self._remembered.move_to_end(memory)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)


def _read_teamspaces(value: object) -> frozenset[str] | None:
    """The ids of a list of texts, also of an empty one, which grants no teamspace; None for anything else."""
    if not isinstance(value, list) or len(value) > MOST_TEAMSPACES:
        return None
    if not all(isinstance(one, str) and is_label(one) for one in value):
        return None
    return frozenset(value)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
