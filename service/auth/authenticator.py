"""Who is calling: exactly one scheme of API key, HTTP Basic or token, or nobody."""

import base64
import re
import unicodedata
from collections.abc import Callable
from typing import Protocol

from service.auth.api_keys import ApiKeys
from service.auth.failures import Failures
from service.auth.local import Headers, is_local
from service.auth.passwords import Passwords
from service.core import key_format
from service.core.errors import NotAuthenticated, TwoSchemes
from service.core.model import DEFAULT_WORKSPACE, Principal, PrincipalKind, Role
from service.core.names import is_label
from service.core.store import Store
from service.observe.limits import Windows

API_KEY_HEADER = "X-TILEDB-REST-API-KEY"
AUTHORIZATION = "Authorization"
CHALLENGE_HEADER = "WWW-Authenticate"
CHALLENGES = 'Bearer realm="vouch", Basic realm="vouch", charset="UTF-8"'
"""What a 401 carries (RFC 9110 section 11.6.1)."""

NO_CREDENTIALS = "Authenticate with an API key, a user and password, or a token."
_NOT_A_KEY = f"{API_KEY_HEADER} must hold an API key: vouch_<id>_<secret>."
_WRONG_KEY = "The API key is not known, or no longer valid."
_NO_TOKENS = "The bearer is no API key, and no issuer of tokens is configured."
_WRONG_PASSWORD = "The user name or the password is wrong."  # noqa: S105 - a sentence
_MALFORMED_BASIC = "Basic authentication must be base64 of user:password in UTF-8."
_SCHEMES = "The authentication scheme must be Bearer or Basic, followed by one value."

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TokenCheck(Protocol):
    """What is needed of `service.auth.tokens.Tokens`, whose libraries take a tenth of a second to load."""

    async def check(self, token: str) -> Principal:
        """Who the token speaks for."""

    async def close(self) -> None:
        """Stop what is under way."""


class Authenticator:
    """Turns the headers of a request into a principal.

    Args:
        store: API keys and users, read for each request: a revocation holds at once.
        passwords: checks them.
        tokens: checks them; None if no issuer is configured.
        anonymous_role: what callers without authentication may do in `ws_default`; None or empty is nothing.
        failures: the limit of wrong attempts, per address and per name.
        count: counts wrong attempts by kind.
    """

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        tokens: TokenCheck | None,
        anonymous_role: str | None,
        failures: Windows,
        count: Callable[[str], None] = lambda _kind: None,
    ) -> None:
        self._store = store
        self._api_keys = ApiKeys(store)
        self._passwords = passwords
        self._tokens = tokens
        self._failures = Failures(failures, count=count)
        self._anonymous = None
        if anonymous_role:
            role = Role(anonymous_role)
            self._anonymous = Principal(PrincipalKind.ANONYMOUS, "anonymous", "anonymous", DEFAULT_WORKSPACE, role)

    async def close(self) -> None:
        """Let go of the threads and fetches, and log the failures that are not yet."""
        self._failures.report()
        self._passwords.close()
        if self._tokens is not None:
            await self._tokens.close()

    async def authenticate(self, headers: Headers, address: str, *, bare: bool = False) -> Principal | None:
        """Who sent these headers; None if they name nobody and nobody is anonymous.

        Args:
            headers: of the request.
            address: where it came from, for the limit of wrong attempts.
            bare: whether an `Authorization` without a scheme is taken for a bearer. AWS' SDKs send what is in
                AWS_CONTAINER_AUTHORIZATION_TOKEN(_FILE) as the whole header
                (https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html).

        Raises:
            TwoSchemes: both headers, or one of them twice.
            NotAuthenticated: what is there is malformed, unknown, wrong, revoked or expired.
            NotAllowed: a right token that grants nothing here.
            RateLimited: wrong, and one time too often.
            Overloaded: the check can't be made now.
            StoreUnavailable: the same.
        """
        keys = headers.getall(API_KEY_HEADER, ())
        others = headers.getall(AUTHORIZATION, ())
        if len(keys) + len(others) > 1:
            raise TwoSchemes("Authenticate in one way: the request has more than one authentication header.")
        if keys:
            return await self._by_api_key(_strip_bearer(keys[0]), address, _NOT_A_KEY)
        if others:
            if bare and (alone := others[0].strip(" ")) and " " not in alone:
                return await self.authenticate_token(alone, address)
            return await self._by_authorization(others[0], address)
        return self._anonymous if self._anonymous is not None and is_local(headers) else None

    async def authenticate_token(self, text: str, address: str) -> Principal:
        """Who one bearer speaks for, wherever it was found: an API key or a token, without `Bearer` before it.

        Args:
            text: the bearer.
            address: as in `authenticate`.

        Raises:
            NotAuthenticated, NotAllowed, RateLimited, Overloaded, StoreUnavailable: as `authenticate`.
        """
        if text.startswith(key_format.PREFIX) or self._tokens is None:
            return await self._by_api_key(text, address, _NO_TOKENS)
        return await self._by_token(self._tokens, text, address)

    async def _by_authorization(self, value: str, address: str) -> Principal:
        scheme, _, rest = value.partition(" ")
        rest = rest.strip(" ")
        kind = scheme.lower()
        if kind not in ("bearer", "basic") or not rest:
            raise NotAuthenticated(_SCHEMES)
        if kind == "basic":
            return await self._by_password(rest, address)
        return await self.authenticate_token(rest, address)

    async def _by_api_key(self, text: str, address: str, not_a_key: str) -> Principal:
        if not text.startswith(key_format.PREFIX):
            self._failures.refuse("api_key", address, "", not_a_key)
        given = key_format.parse(text)
        if given is None:
            self._failures.refuse("api_key", address, "", _WRONG_KEY)
        principal = await self._api_keys.check(given)
        if principal is None:
            self._failures.refuse("api_key", address, given.id, _WRONG_KEY)
        return principal

    async def _by_token(self, tokens: TokenCheck, text: str, address: str) -> Principal:
        try:
            return await tokens.check(text)
        except NotAuthenticated as refused:
            self._failures.refuse("token", address, "", str(refused))

    async def _by_password(self, encoded: str, address: str) -> Principal:
        name, password = _read_basic(encoded)
        user = await self._store.get_user(name) if is_label(name) else None
        right = await self._passwords.check(
            name,
            user.password_hash if user is not None else None,
            password,
            suspect=self._failures.suspects(address),
        )
        if user is None or not right:
            self._failures.refuse("password", address, name, _WRONG_PASSWORD)
        return Principal(PrincipalKind.USER, user.name, user.name, user.workspace, user.role)


def _strip_bearer(value: str) -> str:
    """The key in TileDB's header: the generated client can put `Bearer ` before it."""
    return value[7:].strip(" ") if value[:7].lower() == "bearer " else value


def _read_basic(encoded: str) -> tuple[str, str]:
    """The user and password of HTTP Basic (RFC 7617 section 2).

    Raises:
        NotAuthenticated: not base64, not UTF-8, no colon, or a control character; nothing of it is repeated.
    """
    decoded = _decode(encoded)
    if decoded is None or ":" not in decoded or _CONTROL.search(decoded):
        raise NotAuthenticated(_MALFORMED_BASIC)
    name, _, password = decoded.partition(":")
    return unicodedata.normalize("NFC", name), password


def _decode(encoded: str) -> str | None:
    """Text of strict base64 of UTF-8. None rather than an exception, whose context would keep the password."""
    try:
        raw = base64.b64decode(encoded, validate=True)
        # Python lets surplus padding and stray last bits through.
        return raw.decode("utf-8") if base64.b64encode(raw).decode() == encoded else None
    except ValueError:
        return None
