"""What becomes of a verification's report: the last known verdict, the attempt beside it, the history."""

from enum import StrEnum

import orjson

from service.core.kept import KeptReport
from service.core.model import Credential, timestamp
from verifiers.verdict import Outcome, Report


class Trigger(StrEnum):
    """Who wanted a verification."""

    REQUEST = "request"
    SCHEDULE = "schedule"
    WRITE = "write"
    ROTATION = "rotation"


def is_known(report: Report) -> bool:
    """Whether it says something about the credential."""
    return report.verdict.outcome is not Outcome.UNKNOWN


def judged(credential: Credential, report: Report) -> Credential:
    """The credential with a report: `unknown` never overwrites a known verdict, it stands beside it."""
    told = as_json(report)
    if not is_known(report):
        return credential._replace(attempt=told)
    return credential._replace(status=report.verdict.outcome.value, verification=told, attempt=None)


def kept_report(credential: Credential, report: Report, trigger: Trigger) -> KeptReport:
    """The report for the history of a credential, about the payload that it has."""
    return KeptReport(
        seq=0,
        version=credential.version,
        checked_at=timestamp(report.checked_at),
        trigger=trigger.value,
        outcome=report.verdict.outcome.value,
        report=as_json(report),
    )


def as_json(report: Report) -> str:
    """A report as it is kept and shown."""
    return orjson.dumps(report.to_dict()).decode()
