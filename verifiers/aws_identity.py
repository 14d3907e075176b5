"""The service's own AWS identity: from boto3's default chain, and used for AssumeRole alone.

The chain: https://boto3.amazonaws.com/v1/documentation/api/latest/guide/credentials.html. boto3 takes it from
botocore, and so do we. It blocks (metadata service, web identity), so it runs in a thread of its own.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any

from verifiers.sigv4 import Keys
from verifiers.verdict import Fault, NotVerified, Reason, unknown

log = logging.getLogger("vouch.verifiers")

REFRESH_SECONDS = 60.0
"""How long loaded keys are used before the chain is asked again; it renews temporary ones 15 minutes early."""

FAILURE_SECONDS = 30.0
"""How long a failure is remembered: a metadata service that hangs would hold up every probe."""

MISSING = unknown(
    Reason.SERVICE_IDENTITY,
    Fault.SERVICE,
    "vouch has no AWS identity of its own to assume the role with.",
    "Give vouch an AWS identity (environment, container or instance role), then verify again.",
)


class DefaultChain:
    """boto3's default chain. Call it in a thread: it blocks."""

    def __init__(self) -> None:
        self._renewing: Any = None

    def __call__(self) -> Keys | None:
        """The keys of now, or None if the chain has none.

        Raises:
            Exception: whatever botocore raises for half a key pair, an unreachable metadata service and the like.
        """
        from botocore.credentials import RefreshableCredentials
        from botocore.session import Session

        # Its loggers quote answers of STS and of the metadata service at DEBUG.
        for name in ("botocore", "urllib3"):
            if logging.getLogger(name).level < logging.WARNING:
                logging.getLogger(name).setLevel(logging.WARNING)
        found = self._renewing or Session().get_credentials()
        self._renewing = found if isinstance(found, RefreshableCredentials) else None
        if found is None:
            return None
        frozen = found.get_frozen_credentials()
        if not frozen.access_key or not frozen.secret_key:
            return None
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)


class ServiceIdentity:
    """Keeps the service's identity at hand: cached, one load at a time, failures remembered for a while.

    It belongs to no event loop: loads end in a `concurrent.futures.Future`.

    Args:
        load: where the keys come from; it may block, and may raise anything.
        clock: seconds that only grow.
    """

    def __init__(
        self, load: Callable[[], Keys | None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load or DefaultChain()
        self._clock = clock
        self._loading: Future[Keys | None] | None = None
        self._loaded: tuple[Keys | None, float] | None = None

    async def keys(self) -> Keys:
        """The service's own keys.

        Raises:
            NotVerified: there are none.
        """
        if self._loaded is not None and self._clock() < self._loaded[1]:
            found = self._loaded[0]
        else:
            # Shielded: the others wait for the same load, whoever of them gives up.
            found = await asyncio.shield(asyncio.wrap_future(self._begin()))
        if found is None:
            raise NotVerified(MISSING)
        return found

    def forget(self) -> None:
        """Load anew for the next probe: the provider refused what is at hand."""
        self._loaded = None

    def _begin(self) -> "Future[Keys | None]":
        if self._loading is None or self._loading.done():
            self._loading = Future()
            # A daemon of its own: a metadata service that hangs must hold up neither the pool nor the end.
            Thread(target=self._run, args=(self._loading,), name="aws-identity", daemon=True).start()
        return self._loading

    def _run(self, result: "Future[Keys | None]") -> None:
        try:
            found = self._load()
        except Exception as error:  # noqa: BLE001 - every failure means the same: no identity
            log.warning("loading the service's AWS identity raised %s", type(error).__name__)
            found = None
        self._loaded = (found, self._clock() + (REFRESH_SECONDS if found else FAILURE_SECONDS))
        result.set_result(found)
