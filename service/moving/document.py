"""What `vouch export` writes, with the secrets filled in: an object on each line, or a JSON list of such objects.

Each is a PUT of the native API with the `id` beside its fields; what else an export tells of a credential is no input.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from service.core.catalog import Item
from service.core.errors import VouchError
from service.core.names import name_fault
from service.moving.entries import Entry, Incoming, Rejected, Source, told
from service.moving.files import MIB, Unreadable, read_all, text_of, too_long

LONGEST_FILE = 1024 * MIB
LONGEST_LIST = 64 * MIB
"""A list is held in memory; lines are not."""
LONGEST_LINE = 4 * MIB

READ_ONLY = frozenset(
    {
        "version",
        "created_at",
        "updated_at",
        "payload_changed_at",
        "payload_age_days",
        "expires_at",
        "status",
        "verification",
        "attempt",
    }
)
"""What an export has beside a PUT's fields and the id: an import leaves it out."""

_SPACE = b" \t\r\n"


@dataclass(frozen=True)
class Reading:
    """How objects are read, strictly.

    `parse` turns the bytes of one into values, `load_id` checks an id, `load` makes an item of a PUT; they raise the
    errors of the domain. `teamspace` is where those go that name none.
    """

    parse: Callable[[bytes], Any]
    load_id: Callable[[str], str]
    load: Callable[[Any], Item]
    teamspace: str = ""


def read_document(file: BinaryIO, label: str, reading: Reading) -> Source:
    """The credentials in an open file.

    Args:
        file: at its beginning.
        label: what the file is called in the report.
        reading: how each is read.
    """
    return Source(_entries(file, label, reading))


def _entries(file: BinaryIO, label: str, reading: Reading) -> Iterator[Entry]:
    begun = False
    try:
        for number, line, whole in _lines(file):
            content = line.strip(_SPACE)
            if not begun and content.startswith(b"["):
                yield from _listed(line.lstrip(_SPACE) + read_all(file, LONGEST_LIST), label, reading)
                return
            begun = begun or bool(content)
            where = f"{label}, line {number}"
            if not whole:
                yield Rejected(where, f"The line is not taken: {too_long(LONGEST_LINE)}.")
            elif content:
                yield _entry(where, content, reading)
    except Unreadable as error:
        yield Rejected(label, f"The file is not taken: {error}.")
    except OSError as error:
        yield Rejected(label, f"The file can't be read any further ({error.strerror or type(error).__name__}).")


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """Each line's number, its beginning, and whether that is all of it."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        whole = line.endswith(b"\n") or len(line) < LONGEST_LINE
        yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, whole
        while not whole:
            rest = file.readline(LONGEST_LINE)
            whole = rest.endswith(b"\n") or not rest


def _listed(raw: bytes, label: str, reading: Reading) -> Iterator[Entry]:
    """The elements of a list, one after another: what is broken ends the list, and not what came before it."""
    if len(raw) > LONGEST_LIST:
        raise Unreadable(f"as a list {too_long(LONGEST_LIST)}; write an object on each line")
    text = text_of(raw)
    decoder = json.JSONDecoder()
    number, at = 0, _after_space(text, 1)
    while text[at : at + 1] != "]":
        number += 1
        where = f"{label}, item {number}"
        if number > 1:
            if text[at : at + 1] != ",":
                yield Rejected(where, "The list is broken here: nothing is read from here on.")
                return
            at = _after_space(text, at + 1)
        try:
            _value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            yield Rejected(where, "This is not JSON, or nested too deeply: nothing is read from here on.")
            return
        yield _entry(where, text[at:end].encode(errors="surrogatepass"), reading)
        at = _after_space(text, end)
    if _after_space(text, at + 1) != len(text):
        yield Rejected(label, "There is something after the list: it is not read.")


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _entry(where: str, raw: bytes, reading: Reading) -> Entry:
    name = ""
    try:
        values = reading.parse(raw)
        if not isinstance(values, dict):
            return Rejected(where, "It is no JSON object.")
        name = _name(values.get("name"))
        given = {key: value for key, value in values.items() if key not in READ_ONLY and value is not None}
        id_ = given.pop("id", None)
        if id_ is not None and not isinstance(id_, str):
            return Rejected(where, "id: Must be a string.", name)
        id_ = None if id_ is None else reading.load_id(id_)
        item = reading.load(given)
        if item.draft is not None and "teamspace_id" not in given:
            item = replace(item, teamspace=reading.teamspace)
        return Incoming(where, item, id_)
    except VouchError as error:
        return Rejected(where, told(error), name)


def _name(value: Any) -> str:
    return value if isinstance(value, str) and name_fault(value) is None else ""
