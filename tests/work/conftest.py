"""A house of replicas, and what they log."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from service.core.envelope import Envelope
from service.keyrings.file import FileKeyRing
from tests.work.house import Clock, House


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
async def house(tmp_path: Path, clock: Clock) -> AsyncIterator[House]:
    """A place for replicas, with a database of its own."""
    async with House(tmp_path / "vouch.db", Envelope(FileKeyRing("k1", {"k1": os.urandom(32)})), clock) as made:
        yield made


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged as structured events."""
    with structlog.testing.capture_logs() as captured:
        yield captured
