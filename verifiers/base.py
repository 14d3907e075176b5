"""What a kind of credential is, and how a probe is run: bounded, recorded, and unknown unless it says otherwise."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from verifiers.egress import Egress
from verifiers.endpoints import target_host
from verifiers.fields import Endpoint, PayloadSchema, Secret, Text
from verifiers.lease_terms import LeaseTerms, Material
from verifiers.settings import ProviderSettings
from verifiers.verdict import (
    TIMED_OUT,
    WORKS,
    Check,
    CheckOutcome,
    Fault,
    NotVerified,
    Outcome,
    Reason,
    Report,
    Verdict,
    unknown,
)

log = logging.getLogger("vouch.verifiers")


SchemaClass = type[PayloadSchema]


class CloudProvider(StrEnum):
    """The providers of the TileDB v4 dialect."""

    AWS = "AWS"
    AZURE = "AZURE"
    GCP = "GCP"


class AccessCredentialType(StrEnum):
    """The second half of the registry's key."""

    KEY = "key"
    ARN = "arn"
    TOKEN = "token"  # noqa: S105 - a word, not a password
    AZURE_TOKEN = "azure_token"  # noqa: S105


@dataclass(frozen=True)
class Kind:
    """A kind of credential: everything the service needs to store, redact, document and route it.

    `slot` is the pair of keys it sits under in a TileDB request, such as `("credential", "aws")`; None keeps it off
    that wire. `ends` says when a payload ends by itself, if its material tells.
    """

    provider: str
    type: str
    title: str
    schema: SchemaClass
    slot: tuple[str, str] | None = None
    ends: Callable[["Payload"], datetime | None] | None = None

    @cached_property
    def secret_fields(self) -> tuple[str, ...]:
        """Names of the fields that are sealed and never shown."""
        return tuple(name for name, one in self.schema().fields.items() if isinstance(one, Secret))

    @cached_property
    def target_fields(self) -> tuple[str, ...]:
        """Names of the fields that choose which host a probe contacts."""
        fields = self.schema().fields.items()
        return tuple(name for name, one in fields if isinstance(one, Endpoint) and one.probed)

    @cached_property
    def wire_secret_fields(self) -> tuple[str, ...]:
        """The secret fields that the TileDB wire has."""
        hidden = self.schema.off_wire()
        return tuple(name for name in self.secret_fields if name not in hidden)

    @cached_property
    def derived_fields(self) -> frozenset[str]:
        """The fields that the schema takes out of others; what was sent for them is ignored."""
        return frozenset(name for name, one in self.schema().fields.items() if isinstance(one, Text) and one.derived)

    @cached_property
    def off_wire_public_fields(self) -> frozenset[str]:
        """The other fields that it doesn't have."""
        return self.schema.off_wire() - set(self.secret_fields)

    def split(self, values: Mapping[str, Any]) -> "Payload":
        """Divide a loaded payload into its public and its secret fields."""
        secret = {name: values[name] for name in self.secret_fields if name in values}
        public = {name: value for name, value in values.items() if name not in secret}
        return Payload(self, public, secret)


@dataclass(frozen=True)
class Payload:
    """The fields of one credential. `payload["name"]` is None for an optional field that was not given."""

    kind: Kind
    public: Mapping[str, Any]
    secret: Mapping[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.secret.get(name, self.public.get(name))

    @property
    def expires_at(self) -> datetime | None:
        """When it ends by itself, aware, in UTC; None if nothing in it tells."""
        return None if self.kind.ends is None else self.kind.ends(self)

    @property
    def target(self) -> str | None:
        """The host that the caller chose for the probe, if any: one spelling for each, as the egress has it."""
        endpoint = next((self.public[name] for name in self.kind.target_fields if self.public.get(name)), None)
        return None if endpoint is None else target_host(endpoint)


PROOF = "authenticates"
"""The name of the check that proves a credential; those after it only tell more."""
_PROVEN = (CheckOutcome.PASS, CheckOutcome.WARN)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Step:
    """The check under way: it passes unless told otherwise."""

    outcome: CheckOutcome = CheckOutcome.PASS
    reason: str = Reason.OK.value
    message: str = ""

    def warn(self, reason: str, message: str) -> None:
        """The credential works, but somebody should know this."""
        self.outcome, self.reason, self.message = CheckOutcome.WARN, reason, message

    def skip(self, reason: str, message: str) -> None:
        """The check could not say anything."""
        self.outcome, self.reason, self.message = CheckOutcome.SKIP, reason, message


@dataclass
class Run:
    """One run of a probe: what it may use, and what it has found so far.

    `thorough` is true when a person asked: only then may a probe, once the credential is proven, make calls that tell
    more of it, or are meant to be refused.
    `issued_external_id` is what the credential's workspace should ask for in its roles; empty if nobody knows.
    """

    egress: Egress
    settings: ProviderSettings
    thorough: bool = True
    issued_external_id: str = ""
    now: Callable[[], datetime] = _utc_now
    identity: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    expires_at: datetime | None = None
    retry_after: int | None = None

    @property
    def proven(self) -> bool:
        """Whether the provider has accepted the credential: its check is always called `authenticates`."""
        return any(one.name == PROOF and one.outcome in _PROVEN for one in self.checks)

    @contextmanager
    def check(self, name: str) -> Iterator[Step]:
        """Time and record one named check. A `NotVerified` inside is recorded, and goes on up."""
        step = Step()
        started = time.perf_counter()
        try:
            yield step
        except NotVerified as stopped:
            # Red only for what the provider refused: an unanswered question is skipped, not failed.
            rejected = stopped.verdict.outcome is Outcome.FAILED
            step.outcome = CheckOutcome.FAIL if rejected else CheckOutcome.SKIP
            step.reason, step.message = stopped.verdict.reason.value, stopped.verdict.message
            raise
        except (asyncio.CancelledError, TimeoutError):
            step.skip(TIMED_OUT.reason.value, TIMED_OUT.message)
            raise
        except Exception:
            step.skip(BROKEN.reason.value, BROKEN.message)
            raise
        finally:
            spent = round((time.perf_counter() - started) * 1000)
            self.checks.append(Check(name, step.outcome, step.reason, step.message, spent))


Probe = Callable[[Payload, Run], Awaitable[Verdict]]
Lease = Callable[[Payload, LeaseTerms, Run], Awaitable[Material]]


@dataclass(frozen=True)
class Verifier:
    """A kind and its probe: the unit of the registry.

    The probe returns `WORKS` when the provider accepted the credential, and raises `NotVerified` otherwise. It records
    the check `authenticates` first: if the deadline ends the probe after that has passed, the credential is verified.

    `lease` makes short-lived material of the credential. It raises `NotVerified` where the provider refuses or does not
    answer, `TermsRefused` for terms that this kind can't meet, `NotLeasable` where no terms would do. None: the kind
    can't be leased, and `instead` says what to use.
    """

    kind: Kind
    probe: Probe
    lease: Lease | None = None
    instead: str = "Register a credential of another kind."


BROKEN = unknown(
    Reason.PROVIDER_ERROR,
    Fault.SERVICE,
    "The probe stopped on an answer it did not expect.",
    "Try again; if it goes on, report it with the request id.",
)


def log_surprise(what: str, kind: Kind, error: Exception) -> None:
    """Log an exception that nobody expected: its type and place alone, for its text may quote what it was given."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
    log.error("%s of %s/%s raised %s at %s", what, kind.provider, kind.type, type(error).__name__, where)


def conclude(key: tuple[str, str] | None, verdict: Verdict, *, retry_after: int | None = None) -> Report:
    """The report of what ended before there was anything to probe, or was no probe.

    Args:
        key: the provider and type, if they are known.
        verdict: why it ended.
        retry_after: seconds after which a throttling provider said to come back.
    """
    provider, type_ = key or (None, None)
    return Report(
        provider=provider, type=type_, verdict=verdict, checked_at=_utc_now(), duration_ms=0, retry_after=retry_after
    )


async def verify(verifier: Verifier, payload: Payload, run: Run, deadline: float) -> Report:
    """Run a probe and say what it found; never raises but for cancellation from outside.

    Args:
        verifier: the kind's probe.
        payload: the credential to verify; it must be of the verifier's kind.
        run: a fresh run.
        deadline: seconds for the whole probe.
    """
    checked_at = run.now()
    started = time.perf_counter()
    try:
        async with asyncio.timeout(deadline) as limit:
            verdict = await verifier.probe(payload, run)
        if limit.expired():
            raise TimeoutError  # noqa: TRY301 - the probe swallowed it: what it says after the deadline is no answer
        if not isinstance(verdict, Verdict):
            raise TypeError("a probe must return a Verdict")  # noqa: TRY301 - it is handled as any other surprise
    except NotVerified as stopped:
        verdict = stopped.verdict
    except TimeoutError:
        # What the provider has accepted stays accepted, whatever an extra call made of the deadline.
        verdict = WORKS if run.proven else TIMED_OUT
    except Exception as error:  # noqa: BLE001 - whatever is not listed is unknown
        log_surprise("probe", payload.kind, error)
        verdict = BROKEN
    return Report(
        provider=payload.kind.provider,
        type=payload.kind.type,
        verdict=verdict,
        checked_at=checked_at,
        duration_ms=round((time.perf_counter() - started) * 1000),
        identity=dict(run.identity),
        checks=tuple(run.checks),
        expires_at=run.expires_at,
        retry_after=run.retry_after,
    )
