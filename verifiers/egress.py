"""(interface) The guarded way out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

from verifiers.settings import EgressSettings

USER_AGENT = "vouch/0.1 (credential verification)"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool

    @property
    def date(self) -> datetime | None: ...


class GuardedSession:
    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> Answer: ...


class Egress:
    operator: GuardedSession
    callers: GuardedSession

    def __init__(self, settings: EgressSettings) -> None: ...
    async def __aenter__(self) -> "Egress": ...
    async def __aexit__(self, *exc: object) -> None: ...
