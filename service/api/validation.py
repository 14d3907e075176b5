"""What every dialect of ours checks alike: a body against its schema, and the parameters of a query."""

from collections.abc import Iterable, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields
from multidict import MultiMapping

from service.core.errors import Invalid
from service.core.names import name_fault, teamspace_fault

_LONGEST_ECHO = 64
_MOST_TOLD = 100


class Choice(fields.String):
    """One of a few words."""

    def __init__(self, words: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = words

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise ValidationError(f"Must be one of {', '.join(self.words)}.")
        return value


class Name(fields.String):
    """A credential's name."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Must be a string.")
        if fault := name_fault(value):
            raise ValidationError(fault)
        return value


class Teamspace(fields.String):
    """A teamspace's id; empty is the workspace level."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Must be a string.")
        if fault := teamspace_fault(value):
            raise ValidationError(fault)
        return value


class Whole(fields.Integer):
    """A whole number in a range. marshmallow's own takes `true`, `"5"` and 5.0."""

    def __init__(self, least: int, greatest: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.least = least
        self.greatest = greatest

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if type(value) is not int or not self.least <= value <= self.greatest:
            raise ValidationError(f"Must be a whole number from {self.least} to {self.greatest}.")
        return value


def load(schema: Schema, body: Any) -> dict[str, Any]:
    """The values of a body.

    Raises:
        Invalid: with the dotted path of each wrong field.
    """
    try:
        values: dict[str, Any] = schema.load(body)
    except ValidationError as error:
        raise Invalid(dict(_flatten(error.messages, "")[:_MOST_TOLD])) from None
    return values


def _flatten(messages: Any, path: str) -> list[tuple[str, str]]:
    """marshmallow's tree of messages as dotted paths."""
    if isinstance(messages, Mapping):
        found: list[tuple[str, str]] = []
        for key, below in messages.items():
            # An unknown field's name is the caller's own text: enough of it to find it, and no more.
            known = str(key)[:_LONGEST_ECHO]
            inner = path if key == "_schema" else f"{path}.{known}" if path else known
            found += _flatten(below, inner)
        return found
    sentences = messages if isinstance(messages, list) else [messages]
    return [(path or "body", " ".join(str(one) for one in sentences))]


def require_once(query: MultiMapping[str], names: Iterable[str]) -> None:
    """Refuse a query that repeats one of its parameters.

    Raises:
        Invalid: with each that is there more than once.
    """
    if repeated := [name for name in names if len(query.getall(name, ())) > 1]:
        raise Invalid(dict.fromkeys(repeated, "Give it once."))


def teamspace_id(query: Mapping[str, str]) -> str:
    """The `teamspace_id` of a query; empty, as for none, is the workspace level.

    Raises:
        Invalid: it is none.
    """
    teamspace = query.get("teamspace_id", "")
    if fault := teamspace_fault(teamspace):
        raise Invalid({"teamspace_id": fault})
    return teamspace


def whole(query: Mapping[str, str], name: str, default: int, largest: int, wrong: dict[str, str]) -> int:
    """A whole number from 1 to `largest` of a query; what is none is put in `wrong`."""
    text = query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= largest:
        return int(text)
    wrong[name] = f"Must be a whole number from 1 to {largest}."
    return default
