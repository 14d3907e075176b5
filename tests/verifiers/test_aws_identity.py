"""The service's own AWS identity: how it is loaded, kept and forgotten."""

import asyncio
import logging
import threading

import pytest

from tests.peers.aws_stub import ASSUMED_ROLE, AwsStub, Scripted, sts_error
from tests.verifiers.runs import VERIFIED, run_probe, summary
from verifiers.aws_identity import FAILURE_SECONDS, REFRESH_SECONDS, ServiceIdentity
from verifiers.aws_role import make_verifier
from verifiers.settings import AwsSettings
from verifiers.sigv4 import Keys
from verifiers.verdict import NotVerified

ROLE = {"role_arn": "arn:aws:iam::123456789012:role/data/reader", "external_id": "tenant:42"}

OWN_IDENTITY = ("unknown", "service_identity", "service")

ASSUMED = Scripted(200, ASSUMED_ROLE)
REFUSED = sts_error("AccessDenied")


def own(stub: AwsStub) -> AwsSettings:
    return AwsSettings(sts_endpoint=stub.url)


async def test_without_an_identity_no_role_fails(no_aws_identity: pytest.MonkeyPatch, aws_stub: AwsStub) -> None:
    report = await run_probe(make_verifier(ServiceIdentity()), ROLE, aws=own(aws_stub))
    assert summary(report) == OWN_IDENTITY
    assert aws_stub.received == []


async def test_half_an_identity_is_none(no_aws_identity: pytest.MonkeyPatch, aws_stub: AwsStub) -> None:
    no_aws_identity.setenv("AWS_ACCESS_KEY_ID", "AKIAHALF")
    report = await run_probe(make_verifier(ServiceIdentity()), ROLE, aws=own(aws_stub))
    assert summary(report) == OWN_IDENTITY
    assert aws_stub.received == []


class Chain:
    """A source of keys that counts, and fails or hangs when told to."""

    def __init__(self) -> None:
        self.loads = 0
        self.fails = False
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self) -> Keys:
        self.loads += 1
        self.may_end.wait(5)
        if self.fails:
            raise OSError("canary-in-an-error")
        return Keys("AKIASERVICE", f"canary-{self.loads}")


class Clock:
    """Seconds that grow when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_keys_are_kept_for_a_while_and_then_loaded_anew() -> None:
    chain, clock = Chain(), Clock()
    identity = ServiceIdentity(chain, clock)
    first = await identity.keys()
    clock.now = REFRESH_SECONDS - 1
    assert await identity.keys() is first
    clock.now = REFRESH_SECONDS
    assert await identity.keys() != first
    assert chain.loads == 2


async def test_a_failure_is_remembered_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    chain, clock = Chain(), Clock()
    chain.fails = True
    identity = ServiceIdentity(chain, clock)
    for moment in (0.0, FAILURE_SECONDS - 1):
        clock.now = moment
        with pytest.raises(NotVerified):
            await identity.keys()
    assert chain.loads == 1
    chain.fails = False
    clock.now = FAILURE_SECONDS
    assert (await identity.keys()).access_key_id == "AKIASERVICE"
    assert "OSError" in caplog.text
    assert "canary" not in caplog.text


async def test_everybody_waits_for_one_load_and_whoever_gives_up_stops_nobody() -> None:
    chain = Chain()
    chain.may_end.clear()
    identity = ServiceIdentity(chain)
    waiting = [asyncio.create_task(identity.keys()) for _ in range(20)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    await asyncio.sleep(0.05)
    chain.may_end.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [Keys("AKIASERVICE", "canary-1")] * 19
    assert chain.loads == 1


def test_an_identity_outlives_an_event_loop() -> None:
    chain, clock = Chain(), Clock()
    identity = ServiceIdentity(chain, clock)
    asyncio.run(identity.keys())
    clock.now = REFRESH_SECONDS
    asyncio.run(identity.keys())
    assert chain.loads == 2


async def test_an_identity_that_aws_refused_is_loaded_anew_for_the_next_role(aws_stub: AwsStub) -> None:
    chain = Chain()
    verifier = make_verifier(ServiceIdentity(chain))
    aws_stub.script(sts_error("ExpiredToken", 400), ASSUMED, REFUSED)
    assert summary(await run_probe(verifier, ROLE, aws=own(aws_stub))) == OWN_IDENTITY
    assert summary(await run_probe(verifier, ROLE, aws=own(aws_stub))) == VERIFIED
    assert chain.loads == 2


async def test_loading_the_identity_logs_none_of_it(
    no_aws_identity: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Requirement 30."""
    caplog.set_level(logging.DEBUG)
    no_aws_identity.setenv("AWS_ACCESS_KEY_ID", "AKIACANARY")
    no_aws_identity.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-the-service")
    keys = await ServiceIdentity().keys()
    assert keys.secret_access_key == "canary-of-the-service"
    assert "canary" not in caplog.text + repr(keys)
