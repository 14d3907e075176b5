"""What the v4 dialect accepts: the wire names are known here and nowhere else.

The payload of each kind comes from its verifier's file; here it gets its slot.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from marshmallow import ValidationError, fields

from service.api.validation import Choice, Name, load, whole
from service.core.changes import Change, Draft
from service.core.errors import Invalid, UnsupportedKind
from verifiers.base import AccessCredentialType, CloudProvider, Kind, Payload
from verifiers.fields import Flag, StrictSchema
from verifiers.registry import Registry

SLOTS = ("credential", "role", "token")


class Slot(fields.Field[Payload]):
    """`credential`, `role` or `token`: exactly one sub-object, whose key says the provider."""

    def __init__(self, slot: str, registry: Registry, *, blank_secrets: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.slot = slot
        self.kinds: dict[str, Kind] = {
            kind.slot[1]: kind for kind in registry.kinds() if kind.slot and kind.slot[0] == slot
        }
        self.blank_secrets = blank_secrets
        self._schemas = {key: kind.schema.for_wire(blank_secrets=blank_secrets) for key, kind in self.kinds.items()}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Payload:
        if not isinstance(value, Mapping):
            raise ValidationError("Must be an object.")
        given = {key: one for key, one in value.items() if one is not None}
        if unknown := [key for key in given if key not in self.kinds]:
            if unknown[0].upper() in tuple(CloudProvider):
                raise UnsupportedKind(f"There is no {self.slot}.{unknown[0]}: no such credential can be verified.")
            raise ValidationError({key: ["Unknown field."] for key in unknown})
        if len(given) != 1:
            raise ValidationError(f"Must hold exactly one of {', '.join(self.kinds)}.")
        ((key, payload),) = given.items()
        try:
            return self.kinds[key].split(self._schemas[key].load(payload))
        except ValidationError as error:
            raise ValidationError({key: error.messages}) from None


class CredentialSchema(StrictSchema):
    """What the three request bodies share."""

    name = Name(metadata={"description": "Unique in its workspace or teamspace."})
    provider = Choice(tuple(CloudProvider))
    provider_default = Flag(metadata={"description": "Take this one when a job names none for the provider."})
    allowed_in_tasks = Flag(metadata={"description": "Whether tasks may use it."})


class Verifiable(NamedTuple):
    """A verify request: a payload, or None for the stored credential of that name."""

    name: str
    provider: str
    payload: Payload | None


class RequestSchemas:
    """The three request bodies, over the kinds of a registry."""

    def __init__(self, registry: Registry) -> None:
        whole = {slot: Slot(slot, registry, blank_secrets=False) for slot in SLOTS}
        partial = {slot: Slot(slot, registry, blank_secrets=True) for slot in SLOTS}
        required = {"name": Name(required=True), "provider": Choice(tuple(CloudProvider), required=True)}
        base = CredentialSchema
        self.create = base.from_dict({**required, **whole}, name="CredentialCreateRequest")()
        self.verify = base.from_dict({**required, **whole}, name="CredentialsVerifyRequest")()
        self.update = base.from_dict(dict(partial), name="CredentialUpdateRequest")()

        slotted = [kind.type for kind in registry.kinds() if kind.slot]
        self.types = tuple(dict.fromkeys([*(one.value for one in AccessCredentialType), *slotted]))
        """The types of credential that this dialect has."""

    def load_draft(self, body: Any) -> Draft:
        """A CredentialCreateRequest.

        Raises:
            Invalid, UnsupportedKind: with the dotted path of each wrong field.
        """
        values = load(self.create, body)
        payload = _only_payload(values, values["provider"])
        if payload is None:
            raise Invalid({"credential": f"Give exactly one of {', '.join(SLOTS)}."})
        flags = {name: values[name] for name in ("provider_default", "allowed_in_tasks") if name in values}
        return Draft(values["name"], payload, **flags)

    def load_verifiable(self, body: Any) -> Verifiable:
        """A CredentialsVerifyRequest; the errors are those of `load_draft`."""
        values = load(self.verify, body)
        return Verifiable(values["name"], values["provider"], _only_payload(values, values["provider"]))

    def load_change(self, body: Any) -> Change:
        """A CredentialUpdateRequest; the errors are those of `load_draft`."""
        values = load(self.update, body)
        return Change(
            name=values.get("name"),
            provider=values.get("provider"),
            payload=_only_payload(values, values.get("provider")),
            provider_default=values.get("provider_default"),
            allowed_in_tasks=values.get("allowed_in_tasks"),
        )


def _only_payload(values: Mapping[str, Any], provider: str | None) -> Payload | None:
    """The one payload given, which must be the provider's."""
    given = [slot for slot in SLOTS if slot in values]
    if len(given) > 1:
        raise Invalid({slot: f"Give only one of {', '.join(SLOTS)}." for slot in given})
    if not given:
        return None
    payload: Payload = values[given[0]]
    if provider is not None and payload.kind.provider != provider:
        raise Invalid({field_path(payload.kind): f"Does not belong to the provider {provider}."})
    return payload


def field_path(kind: Kind) -> str:
    """The dotted path of a kind's payload in a request."""
    return ".".join(kind.slot or ())


class ListQuery(NamedTuple):
    """The filters and the page of a list."""

    provider: str | None
    type: str | None
    page: int
    per_page: int


LARGEST_PAGE_SIZE = 1000
_LARGEST_PAGE = 2**53 - 1  # what every JSON reader can hold


def load_list_query(query: Mapping[str, str], types: tuple[str, ...]) -> ListQuery:
    """The query of a list.

    Args:
        query: names and values, each once.
        types: what `type` may be.

    Raises:
        Invalid: with the name of each wrong parameter.
    """
    wrong: dict[str, str] = {}
    for name, allowed in (("provider", tuple(CloudProvider)), ("type", types)):
        if name in query and query[name] not in allowed:
            wrong[name] = f"Must be one of {', '.join(allowed)}."
    page = whole(query, "page", 1, _LARGEST_PAGE, wrong)
    per_page = whole(query, "per_page", 100, LARGEST_PAGE_SIZE, wrong)
    if wrong:
        raise Invalid(wrong)
    return ListQuery(query.get("provider"), query.get("type"), page, per_page)
