"""Making a lease: bounded by a deadline, and with a clear answer whatever the provider does."""

import asyncio

from verifiers.base import BROKEN, Payload, Run, Verifier, conclude, log_surprise
from verifiers.lease_terms import LeaseTerms, Material, NotLeasable, TermsRefused
from verifiers.verdict import TIMED_OUT, NotVerified, Report


class LeaseFailed(Exception):
    """The provider refused, or did not answer; the report says which, and whose fault it is."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.verdict.message)
        self.report = report


async def lease(verifier: Verifier, payload: Payload, terms: LeaseTerms, run: Run, deadline: float) -> Material:
    """Make short-lived material of a credential.

    Args:
        verifier: of the credential's kind.
        payload: the credential.
        terms: what is asked for.
        run: a fresh run.
        deadline: seconds for the whole of it.

    Raises:
        LeaseFailed: the provider refused or did not answer.
        TermsRefused: this kind can't meet the terms.
        NotLeasable: this credential can't be leased at all.
    """
    if verifier.lease is None:
        raise NotLeasable(f"A credential of this kind ({verifier.kind.title}) can't be leased. {verifier.instead}")
    try:
        async with asyncio.timeout(deadline):
            return await verifier.lease(payload, terms, run)
    except NotVerified as stopped:
        verdict = stopped.verdict
    except TimeoutError:
        verdict = TIMED_OUT
    except (TermsRefused, NotLeasable):
        raise
    except Exception as error:  # noqa: BLE001 - whatever is not listed is unknown
        log_surprise("lease", verifier.kind, error)
        verdict = BROKEN
    raise LeaseFailed(conclude((verifier.kind.provider, verifier.kind.type), verdict, retry_after=run.retry_after))
