"""A real store with an operator, tokens of a real issuer, and a clock that tests move."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from service.auth.authenticator import Authenticator
from service.auth.passwords import Passwords, hash_password
from service.auth.settings import OAuth2Settings
from service.auth.tokens import Tokens
from service.core.access import Access
from service.core.model import Caller, Principal, PrincipalKind, Role
from service.observe.limits import Windows
from service.storage.sqlite import SqliteStore, open_sqlite
from tests.auth.fakes import Clock
from tests.peers.issuer import AUDIENCE, Issuer
from verifiers.egress import Egress
from verifiers.settings import EgressSettings


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    one = await open_sqlite(tmp_path / "vouch.db")
    yield one
    await one.close()


@pytest.fixture
def operator() -> Caller:
    return Caller(Principal(PrincipalKind.OPERATOR, "operator", "operator", "ws_default", Role.ADMIN))


@pytest.fixture
def access(store: SqliteStore) -> Access:
    return Access(store, hash_password)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    one = Passwords()
    yield one
    one.close()


@pytest.fixture
def windows(clock: Clock) -> Windows:
    return Windows(30, clock=clock)


@pytest.fixture
async def authenticator(store: SqliteStore, passwords: Passwords, windows: Windows) -> AsyncIterator[Authenticator]:
    one = Authenticator(store, passwords, None, None, windows)
    yield one
    await one.close()


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    async with Egress(EgressSettings()) as one:
        yield one


@pytest.fixture
async def tokens(issuer: Issuer, egress: Egress, clock: Clock) -> AsyncIterator[Tokens]:
    """What the ages of keys are measured by is the test's clock; expiry goes by the real time."""
    one = Tokens(OAuth2Settings(issuer=issuer.url, audience=AUDIENCE), egress.operator, clock=clock)
    yield one
    await one.close()
