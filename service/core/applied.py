"""What a change makes of a record, and how it is asked for."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import orjson

from service.core.model import Credential
from verifiers.verdict import Report

Secret = Mapping[str, str]
"""The secret fields of a payload, by name."""

Unseal = Callable[[], Awaitable[dict[str, str]]]
"""Opens a record's secret fields."""


class Applied(NamedTuple):
    """A record as it will be.

    `secret` is the new one if the payload changes, `report` what its verification said if there was one,
    `keep_versions` how many replaced payloads are kept if this one is to be.
    """

    credential: Credential
    secret: Secret | None = None
    report: Report | None = None
    keep_versions: int | None = None


Apply = Callable[[Credential, Unseal], Awaitable[Applied]]
"""Says what becomes of a record."""


def canonical(values: Any) -> str:
    """One text for equal values: sorted keys, no spaces."""
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS).decode()
