"""What the native API accepts of credentials."""

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from marshmallow import ValidationError, fields

from service.api.native import cursors
from service.api.native.schemas import DEFAULT_LIMIT, LARGEST_LIMIT
from service.api.validation import Choice, Name, Teamspace, Whole, load, teamspace_id, whole
from service.core.catalog import Item
from service.core.changes import Draft
from service.core.credentials import verifier_of
from service.core.errors import Invalid, UnsupportedKind
from service.core.kept import Filters
from service.core.model import Credential, Family, timestamp
from service.core.shared import FileType, SharedFile
from verifiers.base import Kind, Payload
from verifiers.fields import Flag, StrictSchema, Text
from verifiers.registry import Registry
from verifiers.verdict import Outcome

LARGEST_VERSION = 2**53 - 1

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Object(fields.Raw):
    """Any JSON object; what may be in it depends on another field."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValidationError("Must be an object.")
        return value


class CredentialPutSchema(StrictSchema):
    """A credential, whole."""

    kind = Choice(tuple(Family), load_default=Family.ACCESS.value, metadata={"description": "Which of the two sorts."})
    name = Name(required=True)
    teamspace_id = Teamspace(load_default="", metadata={"description": "Empty is the workspace level."})
    provider = Text(longest=64, metadata={"description": "Of an access credential; a shared one has none."})
    type = Text(required=True, longest=64, metadata={"description": "Of a shared one: text or binary."})
    payload = Object(
        required=True, metadata={"description": "The fields of that kind. An empty secret: the stored one."}
    )
    provider_default = Flag(load_default=False)
    allowed_in_tasks = Flag(load_default=False)


class RotateRequestSchema(StrictSchema):
    """A new payload of the same kind."""

    provider = Text(longest=64, metadata={"description": "If given, the credential's own."})
    payload = Object(required=True)
    force = Flag(load_default=False, metadata={"description": "Also if nobody could say whether it works."})


class RollbackRequestSchema(StrictSchema):
    """Which payload to bring back."""

    version = Whole(1, LARGEST_VERSION, metadata={"description": "Absent: the newest that is kept."})


class FilePayloadSchema(StrictSchema):
    """The payload of a shared credential."""

    content = fields.String(required=True, metadata={"description": "Text, or base64 if the type is binary."})


_PUT, _ROTATE, _ROLLBACK, _FILE = (
    CredentialPutSchema(),
    RotateRequestSchema(),
    RollbackRequestSchema(),
    FilePayloadSchema(),
)


def credential_id(text: str) -> str:
    """An id that a credential may be put under.

    Raises:
        Invalid: it is no UUID in its usual form (RFC 9562 section 4).
    """
    if not _UUID.fullmatch(text) or uuid.UUID(text).int == 0:
        raise Invalid({"id": "Must be a UUID in lower case, such as uuidgen makes."})
    return text


def load_item(body: Any, registry: Registry) -> Item:
    """A CredentialPut.

    Raises:
        Invalid, UnsupportedKind: with the dotted path of each wrong field.
    """
    values = load(_PUT, body)
    teamspace = values["teamspace_id"]
    if values["kind"] == Family.SHARED:
        wrong = {name: "A shared credential has none." for name in ("provider", "teamspace_id") if values.get(name)}
        wrong |= {
            name: "Only an access credential has it."
            for name in ("provider_default", "allowed_in_tasks")
            if values[name]
        }
        if values["type"] not in tuple(FileType):
            wrong["type"] = f"Must be one of {', '.join(FileType)}."
        if wrong:
            raise Invalid(wrong)
        type_ = FileType(values["type"])
        return Item("", file=SharedFile(values["name"], type_, _content(type_, values["payload"])))
    if "provider" not in values:
        raise Invalid({"provider": "Missing data for required field."})
    verifier = registry.get(values["provider"], values["type"])
    if verifier is None:
        # What was sent is not said again: it may be a secret that slipped into the wrong field.
        known = ", ".join(f"{kind.provider} {kind.type}" for kind in registry.kinds())
        raise UnsupportedKind(f"Provider and type must be one of these: {known}.")
    payload = load_payload(verifier.kind, values["payload"], blank_secrets=True)
    flags = {name: values[name] for name in ("provider_default", "allowed_in_tasks")}
    return Item(teamspace, draft=Draft(values["name"], payload, **flags))


def load_payload(kind: Kind, values: Mapping[str, Any], *, blank_secrets: bool) -> Payload:
    """A payload of a kind.

    Raises:
        Invalid: with the dotted path of each wrong field.
    """
    try:
        return kind.split(load(kind.schema.whole(blank_secrets=blank_secrets), values))
    except Invalid as error:
        raise Invalid({_below_payload(name): told for name, told in error.fields.items()}) from None


def _below_payload(name: str) -> str:
    return "payload" if name == "body" else f"payload.{name}"


def _content(type_: FileType, values: Mapping[str, Any]) -> bytes:
    """What a shared credential's payload holds; empty stands for what is stored."""
    try:
        text: str = load(_FILE, values)["content"]
    except Invalid as error:
        raise Invalid({_below_payload(name): told for name, told in error.fields.items()}) from None
    if type_ is FileType.TEXT:
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid({"payload.content": "Must be base64."}) from None


class RotateRequest(NamedTuple):
    """A new payload: its public and its secret fields."""

    public: dict[str, object]
    secret: dict[str, str]
    force: bool


def load_rotation(body: Any, current: Credential, registry: Registry) -> RotateRequest:
    """A RotateRequest for a credential.

    Raises:
        Invalid: with the dotted path of each wrong field; rotating does not change the kind.
    """
    values = load(_ROTATE, body)
    if values.get("provider") not in (None, current.provider or None):
        raise Invalid({"provider": "Rotating keeps the provider: change or put the credential for another one."})
    if current.family == Family.SHARED:
        content = _content(FileType(current.type), values["payload"])
        if not content:
            raise Invalid({"payload.content": "Must not be empty."})
        return RotateRequest({}, {"content": base64.b64encode(content).decode()}, values["force"])
    kind = verifier_of(registry, current.provider, current.type).kind
    payload = load_payload(kind, values["payload"], blank_secrets=False)
    return RotateRequest(dict(payload.public), dict(payload.secret), values["force"])


def load_rollback(body: Any) -> int | None:
    """Which version a RollbackRequest names; None for the newest."""
    version: int | None = load(_ROLLBACK, body).get("version")
    return version


class ListQuery(NamedTuple):
    """The filters and the page of a list."""

    teamspace: str
    families: tuple[Family, ...]
    filters: Filters
    after: tuple[str, str] | None
    limit: int


LIST_PARAMETERS = ("kind", "provider", "type", "status", "expires_before", "teamspace_id", "limit", "cursor")
_FAMILIES = (Family.ACCESS, Family.SHARED)
STATUSES = tuple(Outcome)


def load_list_query(query: Mapping[str, str], registry: Registry) -> ListQuery:
    """The query of a list of credentials.

    Args:
        query: names and values, each once.
        registry: says which providers and types there are: with a misspelt one, a list would be empty.

    Raises:
        Invalid: with the name of each wrong parameter.
    """
    wrong: dict[str, str] = {}
    kinds = registry.kinds()
    known: dict[str, list[str]] = {
        "kind": list(Family),
        "provider": [kind.provider for kind in kinds],
        "type": [*(kind.type for kind in kinds), *FileType],
        "status": list(STATUSES),
    }
    for name, words in known.items():
        if name in query and query[name] not in words:
            wrong[name] = f"Must be one of {', '.join(dict.fromkeys(words))}."
    ends = None
    if "expires_before" in query and (ends := _moment(query["expires_before"])) is None:
        wrong["expires_before"] = "Must be a time such as 2027-01-31T12:00:00Z."
    limit = whole(query, "limit", DEFAULT_LIMIT, LARGEST_LIMIT, wrong)
    after = None
    if "cursor" in query:
        parts = cursors.decode(query["cursor"], (str, str))
        if parts is None or parts[0] not in tuple(Family):
            wrong["cursor"] = "Must be a next_cursor of this list."
        else:
            after = (str(parts[0]), str(parts[1]))
    if wrong:
        raise Invalid(wrong)
    families = (Family(query["kind"]),) if "kind" in query else _FAMILIES
    filters = Filters(query.get("provider"), query.get("type"), query.get("status"), ends)
    return ListQuery(teamspace_id(query), families, filters, after, limit)


def _moment(text: str) -> str | None:
    """A time of RFC 3339 as the store has it; None for anything else, and for one without a zone."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else timestamp(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return None
