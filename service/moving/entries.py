"""What a source of credentials is read into, and what becomes of each of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from service.core.catalog import Item
from service.core.errors import Invalid, Malformed, VouchError


class Result(StrEnum):
    """What became of one."""

    TAKEN = "taken"
    UNCHANGED = "unchanged"
    REPLACED = "replaced"
    SKIPPED = "skipped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A credential of the source.

    `where` is its place there. `credential_id` is the id that it is to have, None for its namesake's or a new one.
    `whole` says whether the source tells everything: if not, an existing one keeps its flags and the type of its file.
    """

    where: str
    item: Item
    credential_id: str | None = None
    whole: bool = True

    @property
    def name(self) -> str:
        """What it is to be called."""
        return name_of(self.item)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something in the source that is no credential to be taken: what is broken is refused, what is else is skipped."""

    where: str
    why: str
    name: str = ""
    result: Result = Result.REFUSED


Entry = Incoming | Rejected


class Source(NamedTuple):
    """What is read. `total` is None where nobody knows before the end."""

    entries: Iterator[Entry]
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one, as the report shows it. `outcome` and `reason` are the verification's, if there was one."""

    result: Result
    where: str
    name: str
    why: str = ""
    kind: str = ""
    teamspace: str = ""
    credential_id: str = ""
    outcome: str = ""
    reason: str = ""


def name_of(item: Item) -> str:
    """The name in an item; every item has one."""
    if item.draft is not None:
        return item.draft.name
    return item.file.name if item.file is not None else ""


def told(error: VouchError) -> str:
    """An error as one sentence or a few; none of the domain quotes a value."""
    if isinstance(error, Invalid):
        return " ".join(f"{field}: {sentence}" for field, sentence in error.fields.items())
    text = str(error)
    return text.replace("The body ", "It ").replace("line 1, ", "") if isinstance(error, Malformed) else text
