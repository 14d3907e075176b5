"""ETags and preferences: RFC 9110 section 13 and RFC 7240."""

import re

from aiohttp import hdrs, web

from service.core.model import Credential

# RFC 9110 section 8.8.3.
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_TAGS = re.compile(rf"{_TAG.pattern}(?:\s*,\s*{_TAG.pattern})*")
_REPRESENTATION = re.compile(r'(?:^|,)\s*return\s*=\s*"?representation"?\s*(?:[;,]|$)', re.IGNORECASE)


_VERIFY = re.compile(r"(?:^|,)\s*verify\s*(?:[;,]|$)", re.IGNORECASE)


def if_match(request: web.Request) -> frozenset[str] | None:
    """The tags of `If-Match`; None if there is none, or it is `*`.

    A weak tag matches nothing (RFC 9110 section 8.8.3.2), nor does what is no tag at all.
    """
    tags = _tags(request, hdrs.IF_MATCH)
    if tags is None or tags == ["*"]:
        return None
    return frozenset(tag[1:-1] for tag in tags if tag.startswith('"'))


def if_none_match(request: web.Request, tag: str) -> bool:
    """Whether the client's copy is still the current one."""
    tags = _tags(request, hdrs.IF_NONE_MATCH)
    if tags is None:
        return False
    return tags == ["*"] or any(one.removeprefix("W/") == f'"{tag}"' for one in tags)


def _tags(request: web.Request, header: str) -> list[str] | None:
    """The tags of a header as they stand there, from all its lines; None without it, none if it is malformed."""
    lines = request.headers.getall(header, ())
    if not lines:
        return None
    text = ", ".join(lines).strip()
    if text == "*":
        return ["*"]
    return _TAG.findall(text) if _TAGS.fullmatch(text) else []


def prefers_representation(request: web.Request) -> bool:
    """Whether the client sent `Prefer: return=representation`."""
    return any(_REPRESENTATION.search(value) for value in request.headers.getall("Prefer", ()))


def prefers_verify(request: web.Request) -> bool:
    """Whether the client sent `Prefer: verify`: ours, for asking the provider before saving."""
    return any(_VERIFY.search(value) for value in request.headers.getall("Prefer", ()))


def verify_applied(saved: Credential) -> dict[str, str]:
    """The headers of an answer to it: applied where a verdict came of it (RFC 7240 section 3).

    Args:
        saved: what was saved. Where nobody could say, there is an attempt beside what was known before.
    """
    return {} if saved.status is None or saved.attempt is not None else {"Preference-Applied": "verify"}


def must_exist(request: web.Request) -> bool | None:
    """True for `If-Match: *`, False for `If-None-Match: *`: nothing is to be made, or nothing replaced.

    None for neither (RFC 9110 sections 13.1.1 and 13.1.2).
    """
    if _tags(request, hdrs.IF_NONE_MATCH) == ["*"]:
        return False
    return True if _tags(request, hdrs.IF_MATCH) == ["*"] else None
