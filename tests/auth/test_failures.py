"""Wrong attempts: limited and counted, and never a way to lock somebody else out."""

import asyncio
import logging

import pytest

from service.auth.authenticator import Authenticator
from service.auth.failures import Failures, origin
from service.auth.passwords import Passwords
from service.core import key_format
from service.core.access import Access
from service.core.errors import NotAuthenticated, RateLimited, VouchError
from service.core.model import Caller
from service.observe.limits import Windows
from service.storage.sqlite import SqliteStore
from tests.auth.fakes import ADDRESS, PASSWORD, Clock, Verifying, basic, bearer, until


async def attempt(authenticator: Authenticator, given: object, address: str = ADDRESS) -> type[VouchError] | None:
    try:
        await authenticator.authenticate(given, address)
    except VouchError as error:
        return type(error)
    return None


@pytest.fixture
async def ada(access: Access, operator: Caller) -> None:
    await access.create_user(operator, name="ada", password=PASSWORD, role="viewer", workspace="ws_default")


async def test_the_thirty_first_wrong_key_from_an_address_is_rate_limited(authenticator: Authenticator) -> None:
    """Requirement 17."""
    answers = [await attempt(authenticator, bearer(key_format.make().text)) for _ in range(40)]
    assert answers == [NotAuthenticated] * 30 + [RateLimited] * 10
    assert await attempt(authenticator, bearer(key_format.make().text), "203.0.113.8") is NotAuthenticated


async def test_the_limit_says_when_to_come_back_and_lets_one_in_then(
    authenticator: Authenticator, clock: Clock
) -> None:
    for _ in range(30):
        await attempt(authenticator, bearer(key_format.make().text))
    with pytest.raises(RateLimited) as caught:
        await authenticator.authenticate(bearer(key_format.make().text), ADDRESS)
    assert caught.value.retry_after == 60
    clock.advance(60)
    assert await attempt(authenticator, bearer(key_format.make().text)) is NotAuthenticated


async def test_fifty_wrong_guesses_do_not_lock_out_the_right_password(ada: None, authenticator: Authenticator) -> None:
    """Requirement 17: not from the guesser's own address, nor from another."""
    guesses = [attempt(authenticator, basic("ada", f"guess {number}")) for number in range(50)]
    answers = await asyncio.gather(*guesses)
    assert set(answers) == {NotAuthenticated, RateLimited}
    assert answers.count(NotAuthenticated) == 30
    assert await attempt(authenticator, basic("ada", PASSWORD)) is None
    assert await attempt(authenticator, basic("ada", PASSWORD), "198.51.100.1") is None


async def test_the_right_password_passes_in_the_midst_of_fifty_wrong_ones(
    ada: None, authenticator: Authenticator
) -> None:
    """Requirement 17."""
    guesses = [asyncio.create_task(attempt(authenticator, basic("ada", f"guess {number}"))) for number in range(50)]
    await asyncio.sleep(0.05)
    assert await attempt(authenticator, basic("ada", PASSWORD), "198.51.100.1") is None
    await asyncio.gather(*guesses)


async def test_an_address_that_used_up_its_attempts_has_one_slot_for_all_its_guesses(
    store: SqliteStore, windows: Windows
) -> None:
    """Requirement 17: the other slot is free for those who are not suspect."""
    verify = Verifying(held=True)
    passwords = Passwords(verify=verify)
    authenticator = Authenticator(store, passwords, None, None, windows)
    for _ in range(30):
        await attempt(authenticator, bearer(key_format.make().text))
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(attempt(authenticator, basic(f"name {number}", "guess")))
        await until(lambda: verify.now == 1)
        await asyncio.sleep(0.05)
        assert verify.now == 1
        group.create_task(attempt(authenticator, basic("somebody", "guess"), "198.51.100.1"))
        await until(lambda: verify.now == 2)
        verify.gate.set()
    await authenticator.close()


async def test_fifty_wrong_secrets_do_not_lock_out_the_right_key(
    access: Access, operator: Caller, authenticator: Authenticator
) -> None:
    """Requirement 17."""
    key, text = await access.create_api_key(operator, name="k", role="viewer", workspace="ws_default")
    for number in range(50):
        wrong = f"vouch_{key.id}_" + f"{number:02}" * 20
        assert await attempt(authenticator, bearer(wrong)) in (NotAuthenticated, RateLimited)
        assert await attempt(authenticator, bearer(text)) is None


async def test_one_name_is_limited_over_many_addresses_whether_it_exists_or_not(
    ada: None, authenticator: Authenticator
) -> None:
    """Requirements 16 and 17: nor does the limit tell which names exist."""
    for name in ("ada", "nobody"):
        answers = [
            await attempt(authenticator, basic(name, f"guess {number}"), f"198.51.100.{number}") for number in range(32)
        ]
        assert answers == [NotAuthenticated] * 30 + [RateLimited] * 2, name
    assert await attempt(authenticator, basic("ada", PASSWORD), "198.51.100.200") is None


async def test_a_right_secret_is_never_counted(
    access: Access, operator: Caller, authenticator: Authenticator, windows: Windows
) -> None:
    _, text = await access.create_api_key(operator, name="k", role="viewer", workspace="ws_default")
    for _ in range(100):
        assert await attempt(authenticator, bearer(text)) is None
    assert len(windows) == 0


async def test_a_limit_of_zero_is_no_limit(store: SqliteStore, passwords: Passwords) -> None:
    authenticator = Authenticator(store, passwords, None, None, Windows(0))
    answers = {await attempt(authenticator, bearer(key_format.make().text)) for _ in range(100)}
    assert answers == {NotAuthenticated}
    await authenticator.close()


async def test_failures_are_logged_as_counts_once_a_minute_and_never_one_by_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requirement 17: a stranger can't buy disk writes."""
    failures = Failures(Windows(30), report_seconds=0.05)
    with caplog.at_level(logging.DEBUG):
        for number in range(500):
            with pytest.raises((NotAuthenticated, RateLimited)):
                failures.refuse("password", f"203.0.113.{number % 100}", "canary-name", "No.")
        with pytest.raises(NotAuthenticated):
            failures.refuse("api_key", "198.51.100.9", "", "No.")
        assert caplog.records == []
        timer = failures._timer
        with pytest.raises(RateLimited):
            failures.refuse("password", "203.0.113.1", "canary-name", "No.")
        assert failures._timer is timer, "one line is under way, and no second"
        await asyncio.sleep(0.15)
    [line] = [record.getMessage() for record in caplog.records if record.name == "vouch.auth"]
    assert "api_key 1, password 501" in line
    assert "from 101 addresses" in line
    assert "canary-name" not in line


async def test_what_was_not_yet_logged_is_logged_at_the_end(
    authenticator: Authenticator, caplog: pytest.LogCaptureFixture
) -> None:
    await attempt(authenticator, bearer(key_format.make().text))
    await authenticator.close()
    assert "api_key 1" in caplog.text
    caplog.clear()
    await authenticator.close()
    assert caplog.text == ""


async def test_a_stranger_with_many_addresses_does_not_buy_memory() -> None:
    windows = Windows(30)
    failures = Failures(windows, report_seconds=60)
    for number in range(6000):
        with pytest.raises(NotAuthenticated):
            failures.refuse("password", f"10.{number // 250}.{number % 250}.1", f"name {number}", "No.")
    assert len(windows) <= 4096
    assert len(failures._origins) <= 1000
    failures.report()


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, counts_as: str) -> None:
    assert origin(address) == counts_as
