"""Tokens of every configured issuer: to whose keys each is held, and which ones were checked a moment ago."""

import asyncio
import base64
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from service.auth.grants import BindingsGrant, ClaimsGrant
from service.auth.issuer import UNKNOWN, TokenIssuer, has_form
from service.auth.issuer_keys import IssuerKeys
from service.auth.key_source import KeySource
from service.auth.settings import JwtSettings, OAuth2Settings
from service.core.errors import NotAuthenticated
from service.core.model import Principal
from verifiers.egress import GuardedSession

REMEMBERED_SECONDS = 60.0
MOST_REMEMBERED = 1024


class Tokens:
    """Checks tokens of people (OAuth2) and of workloads.

    Each issuer has keys of its own, fetched by itself: one that is down concerns its own tokens alone.

    Args:
        oauth2: the issuer whose tokens carry workspace and role as claims; none if its `issuer` is empty.
        session: the way out to hosts that the operator configured.
        workloads: the issuers whose subjects are bound to them.
        now: seconds since the epoch.
        clock: monotonic seconds, for the ages of the issuers' keys.
    """

    def __init__(
        self,
        oauth2: OAuth2Settings,
        session: GuardedSession,
        *,
        workloads: Sequence[JwtSettings] = (),
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuers: list[TokenIssuer] = []
        if oauth2.issuer:
            keys = IssuerKeys(KeySource(oauth2.issuer, oauth2.jwks_url, session), clock=clock)
            self._issuers.append(TokenIssuer(oauth2.issuer, oauth2.audience, keys, ClaimsGrant(oauth2), now))
        for one in workloads:
            source = KeySource(
                one.issuer, one.jwks_url, session, ca_file=one.jwks_ca_file, token_file=one.jwks_token_file
            )
            keys = IssuerKeys(source, clock=clock)
            self._issuers.append(TokenIssuer(one.issuer, one.audience, keys, BindingsGrant(one), now))
        self._now = now
        self._remembered: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    async def close(self) -> None:
        """Stop what is under way."""
        await asyncio.gather(*(one.keys.close() for one in self._issuers))

    async def check(self, token: str) -> Principal:
        """Who the token speaks for.

        Raises:
            NotAuthenticated: it is not a token of a configured issuer for vouch, or not of this time.
            NotAllowed: it is, but it grants nothing here.
            Overloaded: its issuer's keys can't be had.
        """
        if not has_form(token):
            raise NotAuthenticated(UNKNOWN)
        memory = hashlib.sha256(token.encode("ascii")).digest()
        known = self._remembered.get(memory)
        if known is not None and self._now() < known[1]:
            return known[0]
        principal, expires_at = await self._route(token).check(token)
        self._remember(memory, principal, expires_at)
        return principal

    def _route(self, token: str) -> TokenIssuer:
        """The issuer that a token names, who then checks all of it, this too.

        One issuer may be configured for several audiences: the first that the token has is meant.

        Raises:
            NotAuthenticated: it names none that is configured.
        """
        issuer, audiences = _unverified(token)
        named = [one for one in self._issuers if one.issuer == issuer]
        if not named:
            raise NotAuthenticated(UNKNOWN)
        return next((one for one in named if one.audience in audiences), named[0])

    def _remember(self, memory: bytes, principal: Principal, expires_at: float) -> None:
        self._remembered[memory] = (principal, min(expires_at, self._now() + REMEMBERED_SECONDS))
        self._remembered.move_to_end(memory)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)


def _unverified(token: str) -> tuple[Any, list[Any]]:
    """The issuer and the audiences that a token claims, of whatever types.

    Raises:
        NotAuthenticated: its claims can't be read.
    """
    payload = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        raise NotAuthenticated(UNKNOWN) from None
    if not isinstance(claims, dict):
        raise NotAuthenticated(UNKNOWN)
    audiences = claims.get("aud")
    return claims.get("iss"), audiences if isinstance(audiences, list) else [audiences]
