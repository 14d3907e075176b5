"""The errors of the domain, each with its stable code. Statuses are the wire's business."""

from typing import ClassVar

from verifiers.verdict import Outcome, Reason, Report


class VouchError(Exception):
    """Base of all. The text is for the caller: it never carries a secret."""

    code: ClassVar[int] = 1900


class Malformed(VouchError):
    """The request could not be read at all."""

    code = 1000


class Invalid(VouchError):
    """One or more fields are wrong. `fields` maps dotted paths to what to do about each."""

    code = 1001

    def __init__(self, fields: dict[str, str], message: str = "The request is not valid.") -> None:
        super().__init__(message)
        self.fields = fields


class TwoSchemes(VouchError):
    """More than one way of authenticating in one request."""

    code = 1002


class UnsupportedKind(VouchError):
    """No verifier is registered for this provider and type."""

    code = 1003


class NotAuthenticated(VouchError):
    """Nobody we know."""

    code = 1100


class NotAllowed(VouchError):
    """Somebody we know, who may not do this."""

    code = 1101


class NoSuchCredential(VouchError):
    """Absent, or another tenant's: the two look the same."""

    code = 1200

    def __init__(self) -> None:
        super().__init__("There is no such credential.")


class NameTaken(VouchError):
    """Another credential has the name."""

    code = 1201


class Stale(VouchError):
    """The record changed since the caller read it."""

    code = 1202


class Conflict(VouchError):
    """Somebody else was faster; doing it again may work."""

    code = 1204


class NoSuchVersion(VouchError):
    """The credential has no such replaced payload any more, or none at all."""

    code = 1205


class LastVerdictFailed(VouchError):
    """The last that is known of the credential is that it does not work."""

    code = 1203


class VerificationFailed(VouchError):
    """The provider refused the credential, or what was given can't work."""

    code = 1400

    def __init__(self, report: Report) -> None:
        super().__init__(report.verdict.message)
        self.report = report


class VerificationUnknown(VerificationFailed):
    """Nothing new is known about the credential."""

    code = 1401


class EndpointBlocked(VerificationUnknown):
    """Our policy kept the probe from going there."""

    code = 1402


class NotLeasable(VouchError):
    """Nothing short-lived can be made of the credential; the text says what to use instead."""

    code = 1403


class RateLimited(VouchError):
    """Too many in a while. `retry_after` is in seconds."""

    code = 1500

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(VouchError):
    """No room for it now, or shutting down. `retry_after` is in seconds."""

    code = 1501

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreUnavailable(VouchError):
    """The database did not do it: full, locked or gone. `retry_after` is in seconds."""

    code = 1502

    def __init__(self, message: str = "The store is not available.", retry_after: int = 2) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EnvelopeBroken(VouchError):
    """An envelope did not open. One generic error for every cause: nothing is said about which."""

    code = 1900

    def __init__(self) -> None:
        super().__init__("Something went wrong on our side.")


class RefusesToStart(Exception):
    """Something an operator has to mend before the service may run: one line that says what."""


def verification_error(report: Report) -> VouchError | None:
    """The error that a report amounts to for who can't go on without the credential; None when verified."""
    if report.verdict.outcome is Outcome.VERIFIED:
        return None
    if report.verdict.outcome is Outcome.FAILED:
        return VerificationFailed(report)
    if report.verdict.reason is Reason.BLOCKED_ENDPOINT:
        return EndpointBlocked(report)
    return VerificationUnknown(report)
