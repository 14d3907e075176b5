"""One turn of a watched credential: ask about it, keep what was said, and say when it is due again."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.core.errors import Overloaded, RateLimited, StoreUnavailable, VouchError
from service.core.kept import Due, Watch
from service.core.model import Caller, Principal, PrincipalKind, Role, timestamp
from service.core.records import Records
from service.core.store import Store
from service.core.verdicts import Trigger
from service.core.verification import Verification
from service.core.watching import Pace
from verifiers.verdict import Reason, Report

log = structlog.get_logger("vouch.schedule")

PAUSE_SECONDS = 60.0
"""How long a lane rests whose provider throttles and does not say how long."""
LONGEST_PAUSE_SECONDS = 3600.0

ASKED, PUT_OFF, LEFT_OUT, TOO_LATE = "asked", "put_off", "left_out", "too_late"
NOT_KEPT, BROKEN_OFF, NO_ROOM, FAILED = "not_kept", "broken_off", "no_room", "failed"
RESULTS: Final = (ASKED, PUT_OFF, LEFT_OUT, TOO_LATE, NOT_KEPT, BROKEN_OFF, NO_ROOM, FAILED)
"""What can become of a turn."""

_SELF = Caller(Principal(PrincipalKind.SERVICE, "schedule", "schedule", "", Role.VERIFIER))


class Watcher:
    """Takes turns. Nothing that goes wrong with one of them is anybody else's trouble.

    Args:
        store: has the turns.
        records: opens what is due.
        verification: asks and keeps.
        pace: says when a credential is due again.
        patience: seconds that a turn may take, waiting for room in its lane included; its claim must last longer.
        now: the time.
        count: counts turns by lane and what became of them.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        verification: Verification,
        pace: Pace,
        *,
        patience: float,
        now: Callable[[], datetime],
        count: Callable[[str, str], None],
    ) -> None:
        self._store = store
        self._records = records
        self._verification = verification
        self._pace = pace
        self._patience = patience
        self._now = now
        self._count = count

    async def take(self, due: Due, lane: str, until: datetime) -> None:
        """Take a turn; never raises but for cancellation.

        Args:
            due: what was claimed.
            lane: in which lane.
            until: when the claim ends: what is known only then is no longer ours to say.
        """
        credential_id = due.credential.id
        try:
            result = await self._take(due, lane, until)
        except StoreUnavailable:
            result = NOT_KEPT
            # The claim ends by itself, and then it is anybody's turn again.
            log.warning("a scheduled verification could not be kept", credential_id=credential_id)
        except Overloaded:
            result = BROKEN_OFF
            log.info("a scheduled verification was broken off", credential_id=credential_id)
        except TimeoutError:
            result = NO_ROOM
            log.warning("a scheduled verification found no room", credential_id=credential_id, lane=lane)
        except Exception as error:  # noqa: BLE001 - whatever it is, others have their turns too
            result = FAILED
            log.error("a scheduled verification failed", credential_id=credential_id, error=type(error).__name__)
        self._count(lane, result)

    async def _take(self, due: Due, lane: str, until: datetime) -> str:
        credential = due.credential
        async with asyncio.timeout(self._patience):
            result, answer = await self._ask(due)
        if self._now() >= until:
            log.warning("a scheduled verification took too long", credential_id=credential.id)
            return TOO_LATE
        if isinstance(answer, Watch):
            await self._store.put_off(credential.id, answer)
            return result
        if self._verification.asks_provider(credential):
            await self._pause_if_throttled(answer, lane)
        turn = self._pace.after(answer, self._now(), rejections=due.rejections, claim=due.claim)
        await self._verification.keep(_SELF, credential, answer, Trigger.SCHEDULE, turn)
        return result

    async def _ask(self, due: Due) -> tuple[str, Report | Watch]:
        """What becomes of the turn, and what the provider says; if it could not be asked, when the next turn is.

        Raises:
            StoreUnavailable, Overloaded: nothing is wrong with the credential.
        """
        credential = due.credential
        try:
            secret = await self._records.unseal(credential, due.sealed)
            return ASKED, await self._verification.ask(credential, secret, scheduled=True)
        except (StoreUnavailable, Overloaded):
            raise
        except RateLimited as limited:
            # The host that it names is asked often enough just now.
            later = self._pace.soon(self._now(), limited.retry_after, rejections=due.rejections, claim=due.claim)
            return PUT_OFF, later
        except VouchError as error:
            # Its kind is gone, or its envelope is broken: no sooner than after a verdict, somebody has to mend it.
            what = type(error).__name__
        except Exception as error:  # noqa: BLE001 - as above
            what = type(error).__name__
        log.warning("a scheduled verification was left out", credential_id=credential.id, error=what)
        return LEFT_OUT, self._pace.again(self._now(), rejections=due.rejections, claim=due.claim)

    async def _pause_if_throttled(self, report: Report, lane: str) -> None:
        if report.verdict.reason is not Reason.THROTTLED:
            return
        seconds = min(max(report.retry_after or PAUSE_SECONDS, 1.0), LONGEST_PAUSE_SECONDS)
        await self._store.pause_lane(lane, timestamp(self._now() + timedelta(seconds=seconds)))
        log.warning("a provider throttles: its lane rests", lane=lane, seconds=seconds)
