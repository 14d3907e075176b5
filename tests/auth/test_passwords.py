"""Passwords: their cost, their turns, and what is remembered of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from argon2 import Type, extract_parameters

from service.auth import passwords as module
from service.auth.passwords import Passwords, hash_password, verify_password
from service.core.errors import Overloaded
from tests.auth.fakes import PASSWORD, Clock, Verifying, until


@asynccontextmanager
async def checking(verify: Callable[[str, str], bool], clock: Clock | None = None) -> AsyncIterator[Passwords]:
    one = Passwords(verify=verify, clock=clock or time.monotonic)
    yield one
    one.close()


async def test_the_right_password_passes_and_a_wrong_one_does_not(passwords: Passwords) -> None:
    stored = hash_password(PASSWORD)
    assert await passwords.check("ada", stored, PASSWORD) is True
    assert await passwords.check("ada", stored, PASSWORD + "x") is False
    assert await passwords.check("ada", stored, "") is False


def test_a_hash_is_argon2id_of_at_least_19_mib_and_two_passes() -> None:
    """Requirement 16."""
    cost = extract_parameters(hash_password(PASSWORD))
    assert cost.type is Type.ID
    assert cost.memory_cost >= 19 * 1024
    assert cost.time_cost >= 2


async def test_an_unknown_user_costs_a_check_of_the_same_parameters() -> None:
    """Requirement 16."""
    verify = Verifying()
    async with checking(verify) as passwords:
        assert await passwords.check("nobody", None, PASSWORD) is False
        assert await passwords.check("nobody", None, PASSWORD) is False
    assert len(verify.calls) == 2, "what is unknown is never remembered"
    assert extract_parameters(verify.calls[0][0]) == extract_parameters(hash_password(PASSWORD))


async def test_the_hash_that_stands_for_unknown_users_can_be_checked_and_fits_nothing() -> None:
    """Requirement 16."""
    verify = Verifying()
    async with checking(verify) as passwords:
        await passwords.check("nobody", None, PASSWORD)
    assert verify_password(verify.calls[0][0], PASSWORD) is False


async def test_the_same_password_typed_in_another_unicode_form_is_the_same(passwords: Passwords) -> None:
    stored = hash_password("caf\u00e9-au-lait")
    assert await passwords.check("ada", stored, "cafe\u0301-au-lait") is True


async def test_a_password_of_a_megabyte_is_refused_before_it_costs_anything() -> None:
    verify = Verifying()
    async with checking(verify) as passwords:
        assert await passwords.check("ada", "stored", "x" * 1_000_000) is False
    assert verify.calls == []


async def test_a_stored_hash_that_is_none_is_a_refusal(passwords: Passwords, caplog: pytest.LogCaptureFixture) -> None:
    assert await passwords.check("ada", "not a hash", PASSWORD) is False
    assert "could not be used" in caplog.text


async def test_at_most_two_checks_run_at_once() -> None:
    """Requirement 16."""
    verify = Verifying(held=True)
    async with checking(verify) as passwords, asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(passwords.check(f"user {number}", "stored", PASSWORD))
        await until(lambda: verify.now == 2)
        await asyncio.sleep(0.05)
        assert verify.now == 2
        verify.gate.set()
    assert verify.most == 2
    assert len(verify.calls) == 20


async def test_guesses_at_one_name_share_one_slot_and_leave_the_other_free() -> None:
    """Requirement 17."""
    verify = Verifying(held=True)
    async with checking(verify) as passwords, asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(passwords.check("victim", "stored", f"guess {number}"))
        await until(lambda: verify.now == 1)
        await asyncio.sleep(0.05)
        assert verify.now == 1
        group.create_task(passwords.check("somebody else", "stored", PASSWORD))
        await until(lambda: verify.now == 2)
        verify.gate.set()
    assert len(verify.calls) == 11


async def test_guesses_from_suspect_addresses_let_others_at_the_same_name_go_between() -> None:
    """Requirement 17: forty guesses ahead in the queue, and the right one waits for one of them."""
    verify = Verifying(held=True)
    async with checking(verify) as passwords, asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(passwords.check("victim", PASSWORD, f"guess {number}", suspect=True))
        await until(lambda: verify.now == 1)
        right = group.create_task(passwords.check("victim", PASSWORD, PASSWORD))
        await asyncio.sleep(0)
        verify.gate.set()
        assert await right is True
        assert [password for _, password in verify.calls].index(PASSWORD) <= 2


async def test_too_many_waiting_is_overloaded_and_those_who_wait_are_served() -> None:
    """Requirement 16: bounded at once; and nothing stays behind."""
    verify = Verifying(held=True)
    async with checking(verify) as passwords:
        waiting = [
            asyncio.create_task(passwords.check(f"user {number}", "stored", PASSWORD))
            for number in range(module.MOST_WAITING)
        ]
        await until(lambda: verify.now == 2)
        with pytest.raises(Overloaded) as caught:
            await passwords.check("one more", "stored", PASSWORD)
        assert caught.value.retry_after > 0
        verify.gate.set()
        assert await asyncio.gather(*waiting) == [False] * module.MOST_WAITING
        assert await passwords.check("one more", PASSWORD, PASSWORD) is True


async def test_one_name_alone_never_fills_the_queue_for_others() -> None:
    """Requirement 17."""
    verify = Verifying(held=True)
    async with checking(verify) as passwords:
        waiting = [
            asyncio.create_task(passwords.check("victim", "stored", f"guess {number}"))
            for number in range(module.MOST_WAITING)
        ]
        await until(lambda: verify.now == 1)
        other = asyncio.create_task(passwords.check("somebody else", PASSWORD, PASSWORD))
        await until(lambda: verify.now == 2)
        verify.gate.set()
        assert await other is True
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    overloaded = [one for one in answers if isinstance(one, Overloaded)]
    assert len(overloaded) == module.MOST_WAITING - module.MOST_WAITING_FOR_ONE


async def test_a_right_password_is_remembered_for_a_minute(clock: Clock) -> None:
    verify = Verifying()
    async with checking(verify, clock) as passwords:
        for _ in range(5):
            assert await passwords.check("ada", PASSWORD, PASSWORD) is True
        assert len(verify.calls) == 1
        clock.advance(59.9)
        assert await passwords.check("ada", PASSWORD, PASSWORD) is True
        assert len(verify.calls) == 1
        clock.advance(0.2)
        assert await passwords.check("ada", PASSWORD, PASSWORD) is True
        assert len(verify.calls) == 2


async def test_what_is_remembered_passes_while_the_queue_is_full() -> None:
    """Requirement 17: guessing does not lock out somebody at work."""
    verify = Verifying()
    async with checking(verify) as passwords:
        assert await passwords.check("ada", PASSWORD, PASSWORD) is True
        verify.gate.clear()
        waiting = [asyncio.create_task(passwords.check("ada", PASSWORD, f"guess {number}")) for number in range(200)]
        await until(lambda: verify.now == 1)
        assert await passwords.check("ada", PASSWORD, PASSWORD) is True
        verify.gate.set()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_remembered_password_is_of_no_use_for_another_user_or_after_a_change() -> None:
    """Requirement 23: a changed password counts at once."""
    verify = Verifying()
    async with checking(verify) as passwords:
        assert await passwords.check("ada", PASSWORD, PASSWORD) is True
        assert await passwords.check("ada", "changed", PASSWORD) is False
        assert await passwords.check("ada", None, PASSWORD) is False
        assert await passwords.check("bob", "other", PASSWORD) is False
        assert await passwords.check("bob", "stored", PASSWORD + "\0" + PASSWORD) is False


async def test_a_wrong_password_is_never_remembered_as_right() -> None:
    verify = Verifying()
    async with checking(verify) as passwords:
        for _ in range(3):
            assert await passwords.check("ada", "stored", PASSWORD) is False
    assert len(verify.calls) == 3


async def test_what_is_remembered_is_bounded_and_holds_no_password() -> None:
    """Requirement 30."""
    verify = Verifying()
    async with checking(verify) as passwords:
        for number in range(module.MOST_REMEMBERED + 10):
            assert await passwords.check(f"user {number}", PASSWORD, PASSWORD) is True
        assert len(passwords._remembered) == module.MOST_REMEMBERED
        assert all(len(key) == 32 for key in passwords._remembered)
        assert passwords._lanes == {}
        assert passwords._inside == 0


async def test_a_check_that_is_cancelled_gives_its_turn_back() -> None:
    verify = Verifying(held=True)
    async with checking(verify) as passwords:
        first = asyncio.create_task(passwords.check("ada", PASSWORD, "guess"))
        second = asyncio.create_task(passwords.check("ada", PASSWORD, "other guess"))
        await until(lambda: verify.now == 1)
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        verify.gate.set()
        assert await passwords.check("ada", PASSWORD, PASSWORD) is True
        assert passwords._inside == 0
