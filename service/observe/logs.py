"""Logging without secrets: one structured line for each event, on standard error.

Requirement 30: whatever the level, libraries say nothing below WARNING, and that without what they quote.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

_KEY = re.compile(r"vouch_[A-Za-z0-9]+_[A-Za-z0-9_-]+")
_TELLING = re.compile(r"secret|password|authorization|cookie|sas_token|key_text|account_key", re.IGNORECASE)
HIDDEN = "[redacted]"

# What these say quotes a request: aiohttp's server echoes the offending header of a malformed one, an API key included.
_QUOTING = ("aiohttp.server", "aiohttp.client", "aiohttp.web", "asyncio")


_LINE = orjson.OPT_UTC_Z


@dataclass
class _Settings:
    """What `configure` was told last; logging belongs to the process, as the standard library's does."""

    level: int = logging.INFO
    form: str = "json"


_settings = _Settings()


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: hide what looks like a secret, by its field's name or by its form."""
    for name, value in event.items():
        if _TELLING.search(name):
            event[name] = HIDDEN
        elif isinstance(value, str) and "vouch_" in value:
            event[name] = _KEY.sub(HIDDEN, value)
    return event


def _json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(event, default=str).decode()


def configure(level: str, form: str) -> None:
    """Set up structlog and the standard library's loggers.

    Args:
        level: the least level of vouch's own events.
        form: `json`, or `text` for people.
    """
    _settings.level, _settings.form = logging.getLevelName(level), form
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        redact,
    ]
    renderer: structlog.typing.Processor = _json if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,
    )
    handler = _LineHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("vouch").setLevel(level)
    silence_libraries()


def _write(line: str) -> None:
    """One line on standard error; that nobody reads it any more is no reason to fail a request."""
    stream = sys.stderr  # None in a process that was started without one
    try:
        if stream is not None:
            stream.write(f"{line}\n")
            stream.flush()
    except (OSError, ValueError):
        pass


class RequestLog:
    """The line that every request writes: the hot path of logging, so it has one encoding and one write.

    It passes no processor: each of its fields is ours, a number or a word that holds no secret, and none is free text.
    In the `text` form it goes the way of every other event.
    """

    def __init__(self) -> None:
        self._log = structlog.get_logger("vouch.http")

    def write(self, **fields: str | float | None) -> None:
        """Write the line, if the level lets it pass."""
        if _settings.form != "json":
            self._log.info("request", **fields)
        elif _settings.level <= logging.INFO:
            line = orjson.dumps(
                {"time": datetime.now(UTC), "level": "info", "event": "request", **fields}, option=_LINE
            )
            _write(line.decode())


class _Lines:
    """What structlog writes to."""

    def __init__(self, *_names: object) -> None:
        """structlog hands over the logger's name, which the event has already."""

    def msg(self, line: str) -> None:
        """Write an event."""
        _write(line)

    debug = info = warning = error = critical = msg


class _LineHandler(logging.Handler):
    """The same, for the standard library's loggers."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        _write(self.format(record))


def silence_libraries() -> None:
    """Keep libraries from quoting what they were given, whatever handlers are installed."""
    for name in (
        "botocore",
        "boto3",
        "urllib3",
        "aiosqlite",
        "azure",
        "msal",
        "google",
        "aiohttp",
        "asyncio",
    ):
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)
    for name in _QUOTING:
        logger = logging.getLogger(name)
        if not any(isinstance(one, _Unquoted) for one in logger.filters):
            logger.addFilter(_Unquoted())


class _Unquoted(logging.Filter):
    """Keeps a record's exception by its type alone: its text may quote a header."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[0] is not None:
            record.msg, record.args = f"{record.name} raised {record.exc_info[0].__name__}", ()
            record.exc_info = record.exc_text = None
        return True


def frames(error: BaseException) -> list[str]:
    """Where an exception came from, innermost last, without its text and without any value."""
    found = []
    place = error.__traceback__
    while place is not None:
        code = place.tb_frame.f_code
        found.append(f"{code.co_filename.rpartition('/')[2]}:{place.tb_lineno} {code.co_name}")
        place = place.tb_next
    return found
