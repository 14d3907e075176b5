"""A client of a running vouch, for the commands that jobs and SDKs run: quick to start, sure to end, and discreet.

It knows HTTP and nothing of what is asked for. It reads a bounded answer within a bounded time, follows no redirect
and goes through no proxy, whatever the environment says: the token is for the named address alone.
"""

import http.client
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from service import __version__
from service.auth.local import is_loopback

SECONDS = 30.0
"""For everything that one command asks, names looked up and all."""

LARGEST_ANSWER = 262_144  # bytes; a lease has three
_LONGEST_TOKEN = 16_384
_ROOM = 16  # for `Bearer ` and a line end around it
_LONGEST_TOLD = 600

_TOKEN = re.compile(r"[\x21-\x7e]+")
_UNFIT_URL = re.compile(r"[^\x21-\x7e]")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]+")


class NoAnswer(Exception):
    """What was asked for is not to be had. The text is one line for a person, without token or material."""


def read_token(file: Path | None, text: str | None) -> str:
    """The caller's API key or JWT.

    Args:
        file: holds it, perhaps behind `Bearer `, as AWS SDKs send the file. It is read anew each time, for Kubernetes
            replaces it.
        text: it itself, where there is no file.

    Raises:
        NoAnswer: there is none, or it is none.
    """
    if file is None:
        place, found = "VOUCH_TOKEN", text or ""
    else:
        place, found = str(file), _read(file)
    if not found.strip():
        raise NoAnswer(f"{one_line(place)} is empty." if file else _NOTHING_GIVEN)
    scheme, _, rest = found.strip().partition(" ")
    token = rest.lstrip(" ") if scheme.lower() == "bearer" else found.strip()
    if len(token) > _LONGEST_TOKEN or not _TOKEN.fullmatch(token):
        raise NoAnswer(f"{one_line(place)} holds no API key or token: it must be one, on one line.")
    return token


_NOTHING_GIVEN = "There is no token: name its file with --token-file or VOUCH_TOKEN_FILE, or put it in VOUCH_TOKEN."


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.read(_LONGEST_TOKEN + _ROOM)
    except OSError as error:
        raise NoAnswer(f"{one_line(str(file))} can't be read: {error.strerror or type(error).__name__}.") from None


def check_url(text: str, *, insecure_http: bool) -> str:
    """The address of a vouch, without a slash at its end.

    Args:
        text: what was given.
        insecure_http: whether a token may go to another machine over plain HTTP.

    Raises:
        NoAnswer: it is no such address, or one that would show the token to the network.
    """
    try:
        parts = urlsplit(text)
        _port = parts.port
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or _UNFIT_URL.search(text):
        raise NoAnswer("The URL of vouch must be http or https, with a host.")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise NoAnswer("The URL of vouch must have no user, query or fragment.")
    if parts.scheme == "http" and not insecure_http and not is_loopback(host):
        raise NoAnswer(f"Plain http would show the token on its way to {host}: use https, or --insecure-http.")
    return text.rstrip("/")


@dataclass(frozen=True)
class Client:
    """One caller of one vouch, for one command.

    Args:
        url: its address, checked.
        token: the caller's API key or JWT.
        ca_file: PEM certificates to trust instead of the system's; None for the system's.
        seconds: for all that is asked through it together.
    """

    url: str
    token: str = field(repr=False)
    ca_file: Path | None = None
    seconds: float = SECONDS
    _started: float = field(default_factory=time.monotonic)

    def get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object at a path.

        Raises:
            NoAnswer: there is none.
        """
        return self._ask("GET", f"{path}?{urlencode(query)}", None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that a JSON object is answered with.

        Raises:
            NoAnswer: there is none.
        """
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, target: str, body: bytes | None) -> dict[str, Any]:
        left = self._started + self.seconds - time.monotonic()
        status, raw = _in_time(lambda: self._exchange(method, target, body), left, self.url)
        if len(raw) > LARGEST_ANSWER:
            raise NoAnswer(f"The answer of {self.url} is too long to be one of vouch.")
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError):
            answer = None
        if status == http.client.OK and isinstance(answer, dict):
            return answer
        if 300 <= status < 400:
            raise NoAnswer(f"{self.url} redirects, which is not followed: give the address itself.")
        if status == http.client.OK or not isinstance(answer, dict) or not isinstance(answer.get("message"), str):
            raise NoAnswer(f"{self.url} answered {status}, but not as vouch does.")
        raise NoAnswer(one_line(f"vouch answered {status}: {_reason(answer)}".replace(self.token, "…")))

    def _exchange(self, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self.token}",
            "User-Agent": f"vouch-cli/{__version__}",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection(parts)
        try:
            connection.request(method, f"{parts.path}{target}", body=body, headers=headers)
            with connection.getresponse() as answer:
                raw = answer.read(LARGEST_ANSWER + 1)
                if answer.length and len(raw) <= LARGEST_ANSWER:
                    raise http.client.IncompleteRead(b"")
                return answer.status, raw
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise NoAnswer(f"{self.url} can't be reached: {_cause(error)}.") from None
        finally:
            connection.close()

    def _connection(self, parts: SplitResult) -> http.client.HTTPConnection:
        host = parts.hostname or ""
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=self.seconds)
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        except OSError:  # ssl.SSLError is one
            raise NoAnswer(f"{one_line(str(self.ca_file))} holds no certificates that can be read.") from None
        return http.client.HTTPSConnection(host, parts.port, timeout=self.seconds, context=context)


def _in_time(work: Callable[[], tuple[int, bytes]], seconds: float, url: str) -> tuple[int, bytes]:
    """What the work returns or raises, or `NoAnswer` when the time is over.

    A socket's own timeout starts anew with each byte and knows nothing of the name's look-up; so the work is done in a
    thread that dies with the program.
    """
    done: SimpleQueue[tuple[int, bytes] | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            done.put(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            done.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = done.get(timeout=max(seconds, 0.0))
    except Empty:
        raise NoAnswer(f"{url} did not answer in time.") from None
    if isinstance(result, BaseException):
        raise result
    return result


def _cause(error: Exception) -> str:
    """Why there was no answer. An exception's own text may quote what was sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'no reason given'})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _reason(answer: dict[str, Any]) -> str:
    """What the Error body of vouch says, with what to do about it and the id to look for in its log."""
    told = [answer["message"]]
    wrong = answer.get("validation_error")
    if isinstance(wrong, dict) and isinstance(wrong.get("fields"), list):
        told += [f"{one.get('field')}: {one.get('message')}" for one in wrong["fields"] if isinstance(one, dict)]
    report = answer.get("verification")
    if isinstance(report, dict) and report.get("remedy"):
        told.append(str(report["remedy"]))
    if answer.get("request_id"):
        told.append(f"(request {answer['request_id']})")
    return " ".join(told)


def one_line(text: str) -> str:
    """Text of somebody else's, fit for one line of a terminal."""
    line = _UNPRINTABLE.sub(" ", text).strip()
    return line if len(line) <= _LONGEST_TOLD else f"{line[:_LONGEST_TOLD]}…"
