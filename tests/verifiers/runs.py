"""How the tests of the SigV4 verifiers run a probe, and what a report comes to."""

import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from verifiers.base import Run, Verifier, verify
from verifiers.egress import Egress
from verifiers.settings import AwsSettings, EgressSettings, GcpSettings, ProviderSettings
from verifiers.verdict import Check, Report

VERIFIED = ("verified", "ok", "none")
UNKNOWN_KEY = ("failed", "unknown_key", "credential")
BAD_SECRET = ("failed", "bad_secret", "credential")
EXPIRED = ("failed", "expired", "credential")
CLOCK_SKEW = ("unknown", "clock_skew", "service")
THROTTLED = ("unknown", "throttled", "provider")
PROVIDER_ERROR = ("unknown", "provider_error", "provider")
UNREACHABLE = ("unknown", "unreachable", "network")
BLOCKED = ("unknown", "blocked_endpoint", "policy")


def _now() -> datetime:
    return datetime.now(UTC)


async def run_probe(
    verifier: Verifier,
    values: Mapping[str, Any],
    *,
    aws: AwsSettings | None = None,
    gcp: GcpSettings | None = None,
    allow: tuple[str, ...] = (),
    thorough: bool = True,
    issued_external_id: str = "",
    now: Callable[[], datetime] = _now,
    deadline: float = 5.0,
) -> Report:
    """Load a payload and verify it, with an egress of its own."""
    payload = verifier.kind.split(verifier.kind.schema().load(values))
    settings = ProviderSettings(aws=aws or AwsSettings(), gcp=gcp or GcpSettings())
    async with Egress(EgressSettings(allow=allow)) as egress:
        run = Run(egress, settings, thorough=thorough, issued_external_id=issued_external_id, now=now)
        return await verify(verifier, payload, run, deadline)


def summary(report: Report) -> tuple[str, str, str]:
    """Outcome, reason and fault."""
    return report.verdict.outcome.value, report.verdict.reason.value, report.verdict.fault.value


def check(report: Report, name: str) -> Check:
    """The one check of that name."""
    (found,) = [one for one in report.checks if one.name == name]
    return found


def closed_port() -> str:
    """An address on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"
