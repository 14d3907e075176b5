"""What became of a request for a lease, in a word."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from service.core import errors

NOBODY: Final = "none"
"""The provider of a request that was turned away before its credential was read."""
GRANTED: Final = "granted"
BROKEN: Final = "error"

_RESULTS: Mapping[type[Exception], str] = {
    errors.NotAllowed: "not_allowed",
    errors.RateLimited: "rate_limited",
    errors.Invalid: "invalid",
    errors.NoSuchCredential: "not_found",
    errors.NotLeasable: "not_leasable",
    errors.LastVerdictFailed: "last_verdict_failed",
    errors.VerificationFailed: "refused",
    errors.VerificationUnknown: "unknown",
    errors.EndpointBlocked: "blocked",
    errors.Conflict: "conflict",
    errors.Overloaded: "overloaded",
    errors.StoreUnavailable: "store_unavailable",
}
RESULTS: Final = (GRANTED, *_RESULTS.values(), BROKEN)

Count = Callable[[str, str], None]
"""Counts one by provider and result."""


@dataclass
class Attempt:
    """One request; `provider` is set as soon as it is known."""

    provider: str = NOBODY


@contextmanager
def counted(count: Count) -> Iterator[Attempt]:
    """Count what becomes of the block, which grants a lease if it ends without an error."""
    attempt = Attempt()
    try:
        yield attempt
    except Exception as error:
        count(attempt.provider, _RESULTS.get(type(error), BROKEN))
        raise
    count(attempt.provider, GRANTED)
