"""ETags and preferences: RFC 9110 section 13 and RFC 7240."""

import re

from aiohttp import hdrs, web

_REPRESENTATION = re.compile(r'(?:^|,)\s*return\s*=\s*"?representation"?\s*(?:[;,]|$)', re.IGNORECASE)


def if_match(request: web.Request) -> frozenset[str] | None:
    """The tags of `If-Match`; None if there is none, or it is `*`.

    A weak tag matches nothing (RFC 9110 section 8.8.3.2), nor does what is no tag at all.
    """
    text = request.headers.get(hdrs.IF_MATCH)
    if text is None or text.strip() == "*":
        return None
    return frozenset(tag.value for tag in request.if_match or () if not tag.is_weak)


def if_none_match(request: web.Request, tag: str) -> bool:
    """Whether the client's copy is still the current one."""
    text = request.headers.get(hdrs.IF_NONE_MATCH)
    if text is None:
        return False
    return text.strip() == "*" or any(one.value == tag for one in request.if_none_match or ())


def prefers_representation(request: web.Request) -> bool:
    """Whether the client sent `Prefer: return=representation`."""
    return any(_REPRESENTATION.search(value) for value in request.headers.getall("Prefer", ()))
