"""Fields of credential payloads: strict, bounded, and aware of what is secret and what chooses a host.

marshmallow's own fields coerce (`"yes"` becomes true, `5.7` becomes 5); these refuse.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Text(fields.String):
    """A string without control characters; `lines=True` allows tabs and line ends.

    Args:
        longest: the greatest length, in characters.
        rule: called with the value; raises ValidationError with what to do instead.
        on_wire: whether the TileDB wire has the field.
        derived: read-only; the schema takes it out of another field.
    """

    def __init__(
        self,
        *,
        longest: int = 1024,
        lines: bool = False,
        rule: Callable[[str], None] | None = None,
        on_wire: bool = True,
        derived: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.longest = longest
        self.lines = lines
        self.rule = rule
        self.on_wire = on_wire
        self.derived = derived
        self.allow_blank = False

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Must be a string.")
        if not value and self.allow_blank:
            return value
        if not value:
            raise ValidationError("Must not be empty.")
        if len(value) > self.longest:
            raise ValidationError(f"Must be at most {self.longest} characters long.")
        if (_NOT_TEXT if self.lines else CONTROL).search(value) or _SURROGATE.search(value):
            raise ValidationError("Must not contain control characters.")
        if self.rule is not None:
            self.rule(value)
        return value


class Secret(Text):
    """A text that is sealed at rest and shown to nobody."""


class Flag(fields.Boolean):
    """True or false, and nothing that merely looks like them."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be true or false.")
        return value


class Endpoint(Text):
    """An absolute http or https URL of host, port and path.

    Whether the egress guard lets a probe go there is another question, asked when it does.

    Args:
        probed: whether a probe contacts it; an endpoint that only jobs use is not.
    """

    def __init__(self, *, probed: bool = True, **kwargs: Any) -> None:
        super().__init__(longest=2048, rule=require_url, **kwargs)
        self.probed = probed


def require_url(value: str) -> None:
    """Refuse what is not `http(s)://host[:port][/path]`."""
    wrong = ValidationError("Must be an absolute http or https URL of host, port and path, and nothing else.")
    if re.search(r"[\s\\?#@<>\"^`{|}]", value) or not re.match(r"https?://[^/:]", value, re.IGNORECASE):
        raise wrong
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise wrong from None
    if not parts.hostname or port == 0 or parts.netloc.endswith(":"):
        raise wrong


class StrictSchema(Schema):
    """An object of the wire: unknown fields are refused, null means absent."""

    class Meta:
        unknown = RAISE

    error_messages = {"type": "Must be an object.", "unknown": "Unknown field."}  # noqa: RUF012 - marshmallow's way

    @pre_load
    def drop_nulls(self, data: Any, **kwargs: Any) -> Any:
        """Treat null as absent."""
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if value is not None}


class PayloadSchema(StrictSchema):
    """The payload of one kind."""

    @classmethod
    def off_wire(cls) -> frozenset[str]:
        """Names of the fields that the TileDB wire does not have."""
        return frozenset(
            name for name, one in cls._declared_fields.items() if isinstance(one, Text) and not one.on_wire
        )

    @classmethod
    def for_wire(cls, *, blank_secrets: bool) -> "PayloadSchema":
        """The schema as the TileDB wire has it; with `blank_secrets`, an empty secret means `keep the stored one`."""
        return _allowing(cls(exclude=cls.off_wire()), blank_secrets)

    @classmethod
    def whole(cls, *, blank_secrets: bool) -> "PayloadSchema":
        """The schema with every field it has; `blank_secrets` as for `for_wire`."""
        return _allowing(cls(), blank_secrets)


def _allowing(schema: PayloadSchema, blank_secrets: bool) -> PayloadSchema:
    for one in schema.fields.values():
        if isinstance(one, Secret):
            one.allow_blank = blank_secrets
    return schema
