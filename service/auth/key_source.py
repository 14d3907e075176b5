"""Where an issuer publishes its keys: asked for when wanted, with what its server needs to be asked with."""

import asyncio
import json
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verifiers.egress import GuardedSession

LONGEST_TOKEN = 16_384
"""Characters of a token that the key set's server is shown."""

# RFC 6750 section 2.1, b64token: anything else would be no header, or two.
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class BadAnswerError(Exception):
    """No keys: the issuer answered something else than it should, or it can't be asked. The text says what."""


@dataclass(frozen=True)
class _Means:
    """What one fetch is made with. `tls` None trusts the system's certificates."""

    tls: ssl.SSLContext | None
    bearer: str | None = field(repr=False)


class KeySource:
    """The server of an issuer's key set.

    Args:
        issuer: the issuer, as its tokens and its discovery document name it.
        jwks_url: where the set is; empty: where the issuer's discovery document says.
        ca_file: PEM certificates that are trusted for it instead of the system's; empty: the system's.
        token_file: a token for it, as Kubernetes wants one; empty: none. It goes to the https host, and port, of
            `jwks_url`, or of `issuer` if that is empty, and to no other: not to one that a discovery document names.
        session: the way out to hosts that the operator configured.
    """

    def __init__(
        self, issuer: str, jwks_url: str, session: GuardedSession, *, ca_file: str = "", token_file: str = ""
    ) -> None:
        self.issuer = issuer
        self._jwks_url = jwks_url
        self._session = session
        self._ca_file = ca_file
        self._token_file = token_file
        self._home = _origin(jwks_url or issuer)

    async def fetch(self) -> list[Any]:
        """The members of the set (RFC 7517 section 5), none of them looked at.

        Both files are read again each time: Kubernetes replaces them while we run.

        Raises:
            BadAnswerError: there are none.
            NotVerified: the same; there was no answer at all.
        """
        means = await asyncio.to_thread(self._means)
        url = self._jwks_url or await self._discover(means)
        found = (await self._get_json(url, means)).get("keys")
        if not isinstance(found, list):
            raise BadAnswerError("the key set has no list of keys")
        return found

    async def _discover(self, means: _Means) -> str:
        """The address of the key set, as OpenID Connect Discovery 1.0 section 4 has it."""
        document = await self._get_json(self.issuer.removesuffix("/") + "/.well-known/openid-configuration", means)
        if document.get("issuer") != self.issuer:
            raise BadAnswerError("the discovery document is another issuer's")
        url = document.get("jwks_uri")
        schemes = ("https://",) if self.issuer.startswith("https://") else ("https://", "http://")
        if not isinstance(url, str) or not url.startswith(schemes):
            raise BadAnswerError("the discovery document names no key set, or one over plain http")
        return url

    async def _get_json(self, url: str, means: _Means) -> dict[str, Any]:
        headers = {"Accept": "application/json, application/jwk-set+json"}
        if means.bearer is not None and self._home is not None and f"{url}/".startswith(self._home):
            headers["Authorization"] = f"Bearer {means.bearer}"
        answer = await self._session.request("GET", url, headers=headers, tls=means.tls)
        if answer.status != 200 or not answer.complete:
            raise BadAnswerError(f"status {answer.status}" if answer.status != 200 else "the answer is too long")
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            raise BadAnswerError("the answer is not JSON") from None
        if not isinstance(document, dict):
            raise BadAnswerError("the answer is not a JSON object")
        return document

    def _means(self) -> _Means:
        return _Means(
            tls=_trusting(self._ca_file) if self._ca_file else None,
            bearer=_read_bearer(self._token_file) if self._token_file else None,
        )


def _origin(url: str) -> str | None:
    """The start of an https URL, up to the slash behind host and port; None for another URL.

    A URL that starts with these very characters goes to the same host, however it is read: nothing behind that slash
    can name one.
    """
    if url[:8].lower() != "https://":
        return None
    return f"{url[:8]}{url[8:].partition('/')[0]}/"


def _trusting(ca_file: str) -> ssl.SSLContext:
    """A context with these certificates alone.

    Not `ssl.create_default_context`: from Python 3.13 on that one also refuses certificates without an authority key
    identifier, as many a cluster's are (VERIFY_X509_STRICT, https://docs.python.org/3/library/ssl.html).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # certificate and host name are checked
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise BadAnswerError("jwks_ca_file holds no certificates that can be read") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read_bearer(token_file: str) -> str:
    try:
        with Path(token_file).open(encoding="ascii") as file:
            token = file.read(LONGEST_TOKEN + 2).strip()
    except (OSError, ValueError):
        # Without its context: a decoding error would carry the token along.
        token = ""
    if len(token) > LONGEST_TOKEN or _BEARER.fullmatch(token) is None:
        raise BadAnswerError("jwks_token_file holds no token")
    return token
