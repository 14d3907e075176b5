"""Which credential serves: the one that is named, else the teamspace's default, else the workspace's."""

from dataclasses import dataclass
from enum import StrEnum

from service.core.errors import Invalid, NoSuchCredential
from service.core.events import Events, EventType
from service.core.model import Caller, Credential, Permission, Scope
from service.core.permissions import authorize, may_use_workspace_level
from service.core.records import Records


class Via(StrEnum):
    """What made a credential the one that serves."""

    NAME = "name"
    TEAMSPACE_DEFAULT = "teamspace_default"
    WORKSPACE_DEFAULT = "workspace_default"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The credential that serves. `fallback`: another was named, and is not there (any more)."""

    credential: Credential
    via: Via
    fallback: bool


class Resolution:
    """Finds the credential that serves. Using is a right of its own, and so is asking what one would use."""

    def __init__(self, records: Records, events: Events) -> None:
        self._records = records
        self._events = events

    async def resolve(self, caller: Caller, teamspace: str, provider: str, name: str | None) -> Resolved:
        """The credential that serves a provider's jobs.

        A caller who is limited to teamspaces has no access to the workspace level, and so not to its default.

        Args:
            caller: who asks.
            teamspace: for whose jobs; empty for the workspace level.
            provider: whose credential is wanted.
            name: the one that is meant; None for the default.

        Raises:
            NotAllowed: the caller may not use credentials there.
            Invalid: the named one is another provider's.
            NoSuchCredential: there is neither it nor a default.
        """
        scope = authorize(caller.principal, Permission.USE, teamspace)
        if name is not None and (named := await self._records.look_up(scope, name)):
            if named.provider != provider:
                raise Invalid({"provider": f"The stored credential belongs to {named.provider}."})
            return Resolved(named, Via.NAME, fallback=False)
        found = await self._default(caller, scope, provider)
        if name is None:
            return found
        self._events.tell(
            EventType.FALLBACK,
            found.credential,
            asked_in=teamspace,
            via=found.via.value,
            caller=f"{caller.principal.kind.value}:{caller.principal.id}",
            request_id=caller.request_id,
        )
        return Resolved(found.credential, found.via, fallback=True)

    async def _default(self, caller: Caller, scope: Scope, provider: str) -> Resolved:
        if scope.teamspace and (own := await self._records.default(scope, provider)):
            return Resolved(own, Via.TEAMSPACE_DEFAULT, fallback=False)
        if may_use_workspace_level(caller.principal):
            common = await self._records.default(Scope(scope.workspace), provider)
            if common is not None:
                return Resolved(common, Via.WORKSPACE_DEFAULT, fallback=False)
        raise NoSuchCredential
