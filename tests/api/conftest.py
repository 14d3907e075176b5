"""What the searches for a leaked secret share."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.config import Config
from service.observe import logs
from tests.api.leaks import Watch


@pytest.fixture
async def watch(
    config: Config, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> AsyncIterator[Watch]:
    """What comes out, with logging at DEBUG for everything that does not keep itself quiet."""
    logs.configure("DEBUG", "json")
    root = logging.getLogger()
    root.addHandler(caplog.handler)
    with caplog.at_level(logging.DEBUG):
        yield Watch(Path(config.data_dir), caplog, capfd)
    root.removeHandler(caplog.handler)
