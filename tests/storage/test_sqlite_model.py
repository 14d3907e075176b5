"""Random histories of the embedded store, with restarts, against a dictionary."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from service.core.audit import Action
from service.core.errors import NameTaken
from service.core.kept import KeptReport, Lease
from service.core.model import Credential, Scope, Sealed
from service.storage.sqlite import open_sqlite
from tests.contracts.records import (
    HERE,
    TEAM,
    a_credential,
    a_lease,
    a_report,
    an_audit,
    changed,
    history,
    lease,
    leased,
    report,
    take,
)

SCOPES = st.sampled_from([HERE, TEAM])
NAMES = st.sampled_from(["a", "A", "\uff5e", "\U0001f511"])
KINDS = st.sampled_from([("AWS", "key"), ("AWS", "arn"), ("GCP", "key")])


class StoreMachine(RuleBasedStateMachine):
    """The store, and what it should hold.

    By id: credentials with their envelopes, their history and their earlier envelopes, oldest first; and leases.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="vouch-model-"))
        self.runner = asyncio.Runner()
        self.rows: dict[str, tuple[Credential, Sealed]] = {}
        self.reports: dict[str, list[KeptReport]] = {}
        self.versions: dict[str, dict[int, Sealed]] = {}
        self.leases: list[Lease] = []
        self.seals = self.claims = 0
        self.store = None

    @initialize()
    def open(self) -> None:
        self.store = self.runner.run(open_sqlite(self.folder / "vouch.db"))

    def teardown(self) -> None:
        if self.store is not None:
            self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    # The model's own rules

    def owner(self, scope: Scope, name: str) -> Credential | None:
        return next((one for one, _ in self.rows.values() if (one.scope, one.name) == (scope, name)), None)

    def put(self, one: Credential, sealed: Sealed) -> None:
        for other, other_sealed in list(self.rows.values()):
            same = (other.scope, other.provider) == (one.scope, one.provider) and other.id != one.id
            if one.provider_default and other.provider_default and same:
                loser = other._replace(provider_default=False, revision=other.revision + 1, updated_at=one.updated_at)
                self.rows[other.id] = (loser, other_sealed)
        self.rows[one.id] = (one, sealed)

    def new_seal(self) -> Sealed:
        self.seals += 1
        return Sealed("k1", str(self.seals).encode())

    # What may happen

    @rule(scope=SCOPES, name=NAMES, kind=KINDS, default=st.booleans())
    def create(self, scope: Scope, name: str, kind: tuple[str, str], default: bool) -> None:
        one = a_credential(name, scope, provider=kind[0], type=kind[1], provider_default=default)
        taken, sealed = self.owner(scope, name) is not None, self.new_seal()
        try:
            self.runner.run(self.store.create_credential(one, sealed, an_audit(one)))
        except NameTaken:
            assert taken
        else:
            assert not taken
            self.put(one, sealed)
            self.reports[one.id], self.versions[one.id] = [], {}

    @rule(
        which=st.integers(0, 99),
        name=NAMES,
        kind=KINDS,
        default=st.booleans(),
        reseal=st.booleans(),
        keep=st.sampled_from([None, 0, 1, 2]),
        stale=st.integers(0, 4).map(lambda n: n == 0),
    )
    def update(
        self, which: int, name: str, kind: tuple[str, str], default: bool, reseal: bool, keep: int | None, stale: bool
    ) -> None:
        if not self.rows:
            return
        one, sealed = list(self.rows.values())[which % len(self.rows)]
        new = changed(one, name=name, provider=kind[0], type=kind[1], provider_default=default)
        new = new._replace(version=one.version + reseal)
        taken = self.owner(one.scope, name) not in (None, one)
        given = self.new_seal() if reseal else None
        expected = one.revision - 1 if stale else one.revision
        audit = an_audit(one, Action.UPDATE)
        try:
            done = self.runner.run(
                self.store.update_credential(new, given, audit, expected_revision=expected, keep_versions=keep)
            )
        except NameTaken:
            assert taken
            assert not stale
            return
        assert done is not stale
        if done:
            assert not taken
            self.put(new, given or sealed)
            if reseal and keep is not None:
                kept = {**self.versions[one.id], one.version: sealed}
                self.versions[one.id] = dict(list(kept.items())[-keep:] if keep else [])

    @rule(
        which=st.integers(0, 99),
        stale=st.integers(0, 4).map(lambda n: n == 0),
        outcome=st.sampled_from(["verified", "failed", "unknown"]),
    )
    def verify(self, which: int, stale: bool, outcome: str) -> None:
        if not self.rows:
            return
        one, sealed = list(self.rows.values())[which % len(self.rows)]
        kept = a_report(one._replace(version=one.version + stale), outcome)
        changed_status = self.runner.run(report(self.store, one, kept))
        if stale:
            assert changed_status is None
            return
        known = {"status": outcome, "verification": kept.report, "attempt": None}
        new = one._replace(**({"attempt": kept.report} if outcome == "unknown" else known))
        assert changed_status is (new.status != one.status)
        self.rows[one.id] = (new._replace(revision=one.revision + 1), sealed)
        self.reports[one.id].append(kept)

    @rule(which=st.integers(0, 99), stale=st.integers(0, 4).map(lambda n: n == 0))
    def delete(self, which: int, stale: bool) -> None:
        if not self.rows:
            return
        one, _ = list(self.rows.values())[which % len(self.rows)]
        asked = one._replace(revision=one.revision + 1) if stale else one
        assert self.runner.run(self.store.delete_credential(asked, an_audit(one, Action.DELETE))) is not stale
        if not stale:
            del self.rows[one.id], self.reports[one.id], self.versions[one.id]

    @rule(which=st.integers(0, 99))
    def use(self, which: int) -> None:
        if self.rows:
            one, _ = list(self.rows.values())[which % len(self.rows)]
            self.leases.append(a_lease(one))
            self.runner.run(lease(self.store, self.leases[-1]))

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.open()

    # What must hold after each

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        for scope in (HERE, TEAM):
            expected = sorted((one for one, _ in self.rows.values() if one.scope == scope), key=lambda one: one.name)
            for filters in (("AWS", None), (None, "key"), ("AWS", "key"), (None, None)):
                matching = [
                    one for one in expected if filters[0] in (None, one.provider) and filters[1] in (None, one.type)
                ]
                page = self.store.list_credentials(scope, provider=filters[0], type_=filters[1], offset=1, limit=2)
                assert self.runner.run(page) == (matching[1:3], len(matching))
            for one in expected:
                found = self.runner.run(self.store.get_sealed_credential(scope, one.name))
                assert found == self.rows[one.id]
                assert self.runner.run(self.store.find_credential(scope.workspace, one.id)) == found
            for provider in ("AWS", "GCP"):
                defaults = [one for one in expected if one.provider == provider and one.provider_default]
                assert [self.runner.run(self.store.get_default(scope, provider))] == (defaults or [None])
            self.what_hangs_on_each_agrees(expected)
            teamspaces = frozenset({scope.teamspace})
            kept = [one for one in self.leases[::-1] if one.teamspace == scope.teamspace]
            assert self.runner.run(leased(self.store, teamspaces=teamspaces)) == kept

    def what_hangs_on_each_agrees(self, ones: list[Credential]) -> None:
        for one in ones:
            assert self.runner.run(history(self.store, one)) == self.reports[one.id][::-1]
            kept = self.runner.run(self.store.list_versions(one.workspace, one.id))
            assert [version.version for version in kept] == list(self.versions[one.id])[::-1]
            for version, sealed in self.versions[one.id].items():
                found = self.runner.run(self.store.get_sealed_version(one.workspace, one.id, version))
                assert found is not None
                assert found[1] == sealed

    @invariant()
    def every_credential_has_one_turn_in_its_lane(self) -> None:
        for provider in ("AWS", "GCP"):
            ids = sorted(one.id for one, _ in self.rows.values() if one.provider == provider)
            assert self.runner.run(self.store.count_watched(provider)) == len(ids)
            self.claims += 1
            turns = self.runner.run(take(self.store, 10**6 + 100 * self.claims, lane=provider))
            assert sorted(due.credential.id for due in turns) == ids
            assert all((due.credential, due.sealed) == self.rows[due.credential.id] for due in turns)


def test_any_history_of_the_store_agrees_with_a_dictionary() -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None, derandomize=True, database=None),
    )
