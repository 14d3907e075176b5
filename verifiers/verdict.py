"""What a probe may say: verdicts, named checks, and the report that is made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """Whether the credential works. A failure is `unknown` unless the provider said otherwise."""

    VERIFIED = "verified"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why, in one stable word."""

    OK = "ok"
    BAD_SECRET = "bad_secret"  # noqa: S105 - a word, not a password
    UNKNOWN_KEY = "unknown_key"
    DISABLED = "disabled"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    DENIED = "denied"
    MALFORMED = "malformed"
    NOT_RECOGNISED = "not_recognised"
    UNSUPPORTED = "unsupported"
    BLOCKED_ENDPOINT = "blocked_endpoint"
    SERVICE_IDENTITY = "service_identity"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    THROTTLED = "throttled"
    PROVIDER_ERROR = "provider_error"
    CLOCK_SKEW = "clock_skew"


class Fault(StrEnum):
    """Whose it is to mend."""

    NONE = "none"
    CREDENTIAL = "credential"
    POLICY = "policy"
    NETWORK = "network"
    PROVIDER = "provider"
    SERVICE = "service"


class CheckOutcome(StrEnum):
    """How one named check of a probe went."""

    PASS = "pass"  # noqa: S105 - a word, not a password
    FAIL = "fail"
    WARN = "warn"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one answer of a provider means.

    `message` says what happened, `remedy` is one sentence a person can act on. Neither ever quotes the provider.
    """

    outcome: Outcome
    reason: Reason
    fault: Fault
    message: str
    remedy: str


def failed(reason: Reason, fault: Fault, message: str, remedy: str) -> Verdict:
    """The provider said, in a way we know, that the credential is bad."""
    return Verdict(Outcome.FAILED, reason, fault, message, remedy)


def unknown(reason: Reason, fault: Fault, message: str, remedy: str) -> Verdict:
    """Nothing new is known about the credential."""
    return Verdict(Outcome.UNKNOWN, reason, fault, message, remedy)


WORKS = Verdict(Outcome.VERIFIED, Reason.OK, Fault.NONE, "The credential works.", "Nothing to do.")

TIMED_OUT = unknown(
    Reason.TIMEOUT,
    Fault.NETWORK,
    "The provider did not answer before the deadline.",
    "Try again; if it goes on, check the network between vouch and the provider.",
)


class NotVerified(Exception):
    """Raised by a probe that can go no further: the verdict says why. Its text is the verdict's message."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Check:
    """One named check of a probe, as the report shows it. Durations are whole milliseconds."""

    name: str
    outcome: CheckOutcome
    reason: str
    message: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found: section 4 of the wire contract. Provider and type are None if nobody knows them."""

    provider: str | None
    type: str | None
    verdict: Verdict
    checked_at: datetime
    duration_ms: int
    identity: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    expires_at: datetime | None = None
    retry_after: int | None = None
    """Seconds after which a throttling provider said to come back; not part of the wire report."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values; times are RFC 3339 in UTC."""
        return {
            "outcome": self.verdict.outcome.value,
            "reason": self.verdict.reason.value,
            "fault": self.verdict.fault.value,
            "provider": self.provider,
            "type": self.type,
            "identity": dict(self.identity),
            "checks": [
                {
                    "name": check.name,
                    "outcome": check.outcome.value,
                    "reason": check.reason,
                    "message": check.message,
                    "duration_ms": check.duration_ms,
                }
                for check in self.checks
            ],
            "expires_at": rfc3339(self.expires_at) if self.expires_at else None,
            "checked_at": rfc3339(self.checked_at),
            "duration_ms": self.duration_ms,
            "message": self.verdict.message,
            "remedy": self.verdict.remedy,
        }


def rfc3339(moment: datetime) -> str:
    """A UTC time as RFC 3339 section 5.6 writes it, with a `Z`."""
    return moment.isoformat().replace("+00:00", "Z")
