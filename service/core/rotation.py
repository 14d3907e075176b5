"""Rotation: a new payload is verified before it takes the old one's place, and there is a way back."""

from service.core.applied import Applied, Secret, Unseal, canonical
from service.core.changes import as_payload, expiry, holds, require_version
from service.core.credentials import verifier_of
from service.core.errors import Invalid, NoSuchVersion, verification_error
from service.core.kept import KeptVersion
from service.core.model import Caller, Credential, Family, Identified, Key, Permission
from service.core.permissions import require
from service.core.probing import Probing
from service.core.records import Records, require_match
from service.core.store import Store
from service.core.verification import Verification
from verifiers.registry import Registry
from verifiers.verdict import Outcome, Report

_SAME = "This is what is stored already: send the new one."


class Rotation:
    """The core service of rotating.

    Args:
        store: where replaced payloads are.
        records: where credentials are.
        registry: the kinds.
        probing: counts who asks.
        verification: asks the provider.
        keep_versions: how many replaced payloads of a credential are kept.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        registry: Registry,
        probing: Probing,
        verification: Verification,
        keep_versions: int,
    ) -> None:
        self._store = store
        self._records = records
        self._registry = registry
        self._probing = probing
        self._verification = verification
        self._keep_versions = keep_versions

    async def find(self, caller: Caller, credential_id: str) -> Credential:
        """The metadata of a credential, for who may rotate it: what a new payload looks like depends on its kind.

        Raises:
            NotAllowed: the caller may not write, or not verify.
            NoSuchCredential: there is none of that id where the caller has access.
        """
        return await self._records.get(self._key(caller, Permission.WRITE, Permission.VERIFY, credential_id))

    async def rotate(
        self,
        caller: Caller,
        seen: Credential,
        public: dict[str, object],
        secret: Secret,
        *,
        force: bool,
        if_match: frozenset[str] | None,
    ) -> tuple[Credential, Report]:
        """Put a new payload of the same kind in the place of the old one, if it works.

        Args:
            caller: who asks.
            seen: which one, as it was when the payload was read for its kind.
            public: the public fields of the new payload.
            secret: its secret ones.
            force: also if nobody could say whether it works; never if it does not.
            if_match: tags of which one must be the record's; None for whatever it is.

        Returns:
            The credential as it is now, and what was said of its new payload.

        Raises:
            NotAllowed: the caller may not write, or not verify.
            NoSuchCredential: there is none of that id where the caller has access.
            Invalid: it is the payload that is stored.
            Stale: `if_match` does not hold any more.
            VerificationFailed: it does not work; the old one stays.
            VerificationUnknown: nobody could say; the old one stays.
            Conflict: another rotation, or change of the payload, was faster; that one stays.
            RateLimited, Overloaded: before any outbound call.
        """
        key = self._key(caller, Permission.WRITE, Permission.VERIFY, seen.id)
        self._probing.quotas.count(caller)
        current, unseal = await self._records.find(key)
        require_match(current, if_match)
        require_version(current, seen)
        new = current._replace(public=canonical(public))
        if new.public == current.public and await holds(unseal, secret):
            raise Invalid({"payload": _SAME})
        report = await self._verification.ask(new, dict(secret))
        known_bad = report.verdict.outcome is Outcome.FAILED
        if (known_bad or not force) and (error := verification_error(report)):
            raise error

        async def apply(now: Credential, _unseal: Unseal) -> Applied:
            require_version(now, current)
            changed = now._replace(public=new.public, expires_at=self._expiry(new, secret))
            return Applied(changed, secret, report, self._keep_versions)

        return await self._records.change(caller, key, apply, if_match), report

    async def versions(self, caller: Caller, credential_id: str) -> tuple[Credential, list[KeptVersion]]:
        """A credential, and its payloads that were rotated away and are kept, newest first, without their secrets.

        Raises:
            NotAllowed: the caller may not read.
            NoSuchCredential: there is none of that id where the caller has access.
        """
        key = self._key(caller, Permission.READ, Permission.READ, credential_id)
        current = await self._records.get(key)
        return current, await self._store.list_versions(current.workspace, current.id)

    async def roll_back(
        self, caller: Caller, credential_id: str, version: int | None, *, if_match: frozenset[str] | None
    ) -> Credential:
        """Bring a replaced payload back, as a new version; the present one is kept in its place.

        Args:
            caller: who asks.
            credential_id: which one.
            version: which one of those that are kept; None for the newest.
            if_match: tags of which one must be the record's; None for whatever it is.

        Raises:
            NotAllowed: the caller may not write.
            NoSuchCredential: there is none of that id where the caller has access.
            NoSuchVersion: nothing is kept, or not that one.
            Stale: `if_match` does not hold any more.
            Conflict: the payload was changed meanwhile.
        """
        key = self._key(caller, Permission.WRITE, Permission.WRITE, credential_id)
        current = await self._records.get(key)
        require_match(current, if_match)
        old, secret = await self._kept(current, version)

        async def apply(now: Credential, _unseal: Unseal) -> Applied:
            require_version(now, current)
            # What is another provider's default must not take that flag from this one's.
            keeps_flag = now.provider_default and now.provider == old.provider
            changed = now._replace(provider=old.provider, type=old.type, public=old.public, provider_default=keeps_flag)
            return Applied(
                changed._replace(expires_at=self._expiry(changed, secret)), secret, keep_versions=self._keep_versions
            )

        return await self._records.change(caller, key, apply, if_match)

    async def _kept(self, current: Credential, version: int | None) -> tuple[Credential, Secret]:
        """A replaced payload with its secret; the envelope is bound to the record as it was then."""
        if version is None:
            kept = await self._store.list_versions(current.workspace, current.id)
            if not kept:
                raise NoSuchVersion("No replaced payload of this credential is kept.")
            version = kept[0].version
        found = await self._store.get_sealed_version(current.workspace, current.id, version)
        if found is None:
            raise NoSuchVersion("That version of this credential is not kept.")
        one, sealed = found
        then = current._replace(version=one.version, provider=one.provider, type=one.type, public=one.public)
        return then, await self._records.unseal(then, sealed)

    def _expiry(self, credential: Credential, secret: Secret) -> str | None:
        if credential.family == Family.SHARED:
            return None
        kind = verifier_of(self._registry, credential.provider, credential.type).kind
        return expiry(as_payload(kind, credential, dict(secret)))

    def _key(self, caller: Caller, one: Permission, other: Permission, credential_id: str) -> Key:
        for permission in (one, other):
            require(caller.principal, permission)
        return Identified(caller.principal.workspace, credential_id, caller.principal.teamspaces)
