"""Read a JSON body or a form: bounded, strict, and never a 500 whatever it holds."""

import asyncio
import json
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from aiohttp import ClientPayloadError, hdrs, web

from service.api.errors import TooLarge, TooSlow, WrongMediaType
from service.app_keys import CONFIG, EXPECTS_CONTINUE
from service.core.errors import Malformed

# Requests are three levels deep; more than this is an attack on whoever walks the tree.
_DEEPEST = 32
# The largest has about 15 values; a list or an object of a hundred thousand is there to keep us busy.
_MOST_VALUES = 10_000
_MOST_FIELDS = 100
_SURROGATES = range(0xD800, 0xE000)


async def read_json(request: web.Request) -> Any:
    """The body of a request, parsed.

    Duplicate keys, NaN and Infinity, lone surrogates, bad UTF-8 and deep nesting are malformed
    (RFC 8259 sections 4, 6, 8.1 and 8.2 leave them to the parser; two parsers that differ are a hole).

    Raises:
        TooLarge: over the service's limit, declared or found.
        TooSlow: it did not arrive in time.
        WrongMediaType: not JSON, or compressed.
        Malformed: not JSON after all.
    """
    _require_plain(request, "application/json", "Send JSON, with Content-Type: application/json.")
    return parse_json(await _read(request))


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form, as OAuth clients send them (RFC 6749 appendix B).

    Raises:
        TooLarge, TooSlow, WrongMediaType: as for JSON.
        Malformed: it is no form in UTF-8, or has a field twice (RFC 6749 section 3.2).
    """
    kind = "application/x-www-form-urlencoded"
    _require_plain(request, kind, f"Send a form, with Content-Type: {kind}.")
    raw = await _read(request)
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Malformed("The body is not a form in UTF-8.") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("The form has a field twice.")
    return found


def _require_plain(request: web.Request, kind: str, sentence: str) -> None:
    """Refuse a body that is too long, compressed, or of another media type, before it is read."""
    require_length(request)
    if request.content_type != kind or (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise WrongMediaType(sentence)
    if any(encoding.strip().lower() != "identity" for encoding in request.headers.getall(hdrs.CONTENT_ENCODING, ())):
        raise WrongMediaType("Send the body uncompressed.")


async def _read(request: web.Request) -> bytes:
    await continue_request(request)
    patience = request.app[CONFIG].server.body_seconds
    try:
        async with asyncio.timeout(patience):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(request) from None
    except TimeoutError:
        raise TooSlow(f"The body did not arrive within {patience:g} s.") from None
    except (web.RequestPayloadError, ClientPayloadError, ConnectionError):
        raise Malformed("The body broke off, or was not what its headers said.") from None


async def continue_request(request: web.Request) -> None:
    """Ask for a body that a client holds back (`Expect: 100-continue`, RFC 9110 section 10.1.1).

    Here and not before: whoever is not let in, or has too much to say, is told so without sending it.
    """
    if request.get(EXPECTS_CONTINUE):
        request[EXPECTS_CONTINUE] = False
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What aiohttp itself does after it: it was no part of the answer.
        request.writer.output_size = 0


def require_length(request: web.BaseRequest) -> None:
    """Refuse a declared length over the limit before anything is read."""
    limit = request.client_max_size
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"The body must be at most {limit} bytes long.")


def _too_large(request: web.BaseRequest) -> TooLarge:
    return TooLarge(f"The body must be at most {request.client_max_size} bytes long.")


def parse_json(raw: bytes) -> Any:
    """Strict JSON.

    Raises:
        Malformed: with a sentence that quotes nothing of it.
    """
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None
    except RecursionError:
        raise Malformed("The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: line {error.lineno}, column {error.colno}.") from None
    except ValueError:
        # CPython refuses integers of over 4,300 digits with a plain ValueError.
        raise Malformed("The body holds a number that is too long.") from None
    _inspect(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("The body has an object with a field twice.")
    return found


def _constant(_name: str) -> NoReturn:
    raise Malformed("The body holds NaN or Infinity, which JSON does not have.")


def _inspect(value: Any) -> None:
    """Walk the tree level by level: no recursion of ours."""
    level = [value]
    seen = 0
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.keys()
                below += one.values()
            elif isinstance(one, list):
                below += one
            elif isinstance(one, str) and not one.isascii() and any(ord(char) in _SURROGATES for char in one):
                raise Malformed("The body holds half of a surrogate pair.")
            if seen + len(below) > _MOST_VALUES:
                raise Malformed(f"The body holds more than {_MOST_VALUES} values.")
        if not below:
            return
        seen += len(below)
        level = below
    raise Malformed("The body is nested too deeply.")
