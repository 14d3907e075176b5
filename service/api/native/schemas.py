"""What the native API accepts: its wire names are known here and nowhere else."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from marshmallow import fields

from service.api.native import cursors
from service.api.validation import Choice, Whole, load, teamspace_id, whole
from service.core.errors import Invalid
from service.core.leases import LeaseRequest
from service.core.names import name_fault
from verifiers.base import CloudProvider
from verifiers.fields import Flag, StrictSchema, Text
from verifiers.lease_terms import LeaseAccess, LeaseScope

LARGEST_LIMIT = 1000
DEFAULT_LIMIT = 100
LONGEST_LEASE = 43_200
"""Seconds: what any provider gives at most. The operator's bound is the core's business."""

_LONGEST_ECHO = 64
_MOST_TOLD = 100


class LeaseScopeSchema(StrictSchema):
    """What a lease is narrowed to."""

    bucket = Text(required=True, longest=222, metadata={"description": "A bucket, or an Azure container."})
    prefix = Text(longest=512, metadata={"description": "Only objects whose names begin so, letter by letter."})
    access = Choice(tuple(LeaseAccess), load_default=LeaseAccess.READ.value)


class LeaseRequestSchema(StrictSchema):
    """What a job asks for."""

    purpose = Text(longest=255, metadata={"description": "What it is for; it is kept in the list of leases."})
    ttl_seconds = Whole(1, LONGEST_LEASE, metadata={"description": "How long it is to live; the operator bounds it."})
    scope = fields.Nested(LeaseScopeSchema, metadata={"description": "Absent: all that the credential may do."})
    role_arn = Text(longest=2048, metadata={"description": "A role for an AWS key to assume."})
    external_id = Text(longest=1224, metadata={"description": "What that role's trust policy asks for."})
    force = Flag(metadata={"description": "Also if the last verdict on the credential is `failed`."})


_LEASE = LeaseRequestSchema()
_SCOPE_PARAMETERS = ("bucket", "prefix", "access")
_LEASE_PARAMETERS = ("purpose", "ttl_seconds", "role_arn", "external_id", *_SCOPE_PARAMETERS)


def load_lease(body: Any) -> LeaseRequest:
    """A LeaseRequest.

    Raises:
        Invalid: with the dotted path of each wrong field.
    """
    values = load(_LEASE, body)
    scope = values.pop("scope", None)
    if scope is not None:
        access = LeaseAccess(scope.pop("access"))
        values["scope"] = LeaseScope(**scope, access=access)
    return LeaseRequest(**values)


class ResolveQuery(NamedTuple):
    """Which credential is asked for."""

    provider: str
    teamspace: str
    name: str | None


RESOLVE_PARAMETERS = ("provider", "teamspace_id", "name")


def load_resolve(query: Mapping[str, str], provider: str | None = None) -> ResolveQuery:
    """Which credential a query names.

    Args:
        query: names and values, each once.
        provider: the only one that is possible; None if the query has to say it.

    Raises:
        Invalid: with the name of each wrong parameter.
    """
    wrong = {}
    given = provider or query.get("provider", "")
    if given not in tuple(CloudProvider):
        wrong["provider"] = f"Must be one of {', '.join(CloudProvider)}."
    name = query.get("name")
    if name is not None and (fault := name_fault(name)):
        wrong["name"] = fault
    if wrong:
        raise Invalid(wrong)
    return ResolveQuery(given, teamspace_id(query), name)


STOCK_PARAMETERS = ("teamspace_id", "name", *_LEASE_PARAMETERS)
"""What the paths for stock SDKs take: those can't send a body of ours."""


def load_stock_lease(query: Mapping[str, str], purpose: str) -> LeaseRequest:
    """A LeaseRequest whose fields are in a query, those of the scope beside the others.

    Args:
        query: names and values, each once.
        purpose: what it is for, if the query does not say.

    Raises:
        Invalid: with the name of each wrong parameter, and of each that is none: one that is misspelt, or empty where
            a variable was not set, would get a wider lease than was meant.
    """
    if unknown := [name for name in query if name not in STOCK_PARAMETERS]:
        raise Invalid({name[:_LONGEST_ECHO]: "Unknown parameter." for name in unknown[:_MOST_TOLD]})
    body: dict[str, Any] = {name: query[name] for name in _LEASE_PARAMETERS if name in query}
    scope = {name: body.pop(name) for name in _SCOPE_PARAMETERS if name in body}
    if scope:
        body["scope"] = scope
    if "ttl_seconds" in body:
        wrong: dict[str, str] = {}
        body["ttl_seconds"] = whole(query, "ttl_seconds", 1, LONGEST_LEASE, wrong)
        if wrong:
            raise Invalid(wrong)
    try:
        return load_lease({"purpose": purpose, **body})
    except Invalid as error:
        raise as_parameters(error) from None


def as_parameters(error: Invalid) -> Invalid:
    """What is wrong with a LeaseRequest, said of the query that it came from."""
    named = {name.removeprefix("scope."): told for name, told in error.fields.items()}
    if "scope" in named:
        named.setdefault("bucket", named.pop("scope"))
    return Invalid(named, str(error))


class LeasesQuery(NamedTuple):
    """The filters and the page of a list of leases."""

    teamspace: str | None
    credential_id: str | None
    live: bool
    before: int | None
    limit: int


LEASES_PARAMETERS = ("teamspace_id", "credential_id", "live", "limit", "cursor")


def load_leases_query(query: Mapping[str, str]) -> LeasesQuery:
    """The query of a list of leases.

    Raises:
        Invalid: with the name of each wrong parameter.
    """
    wrong: dict[str, str] = {}
    live = query.get("live", "false")
    if live not in ("true", "false"):
        wrong["live"] = "Must be true or false."
    limit = whole(query, "limit", DEFAULT_LIMIT, LARGEST_LIMIT, wrong)
    before = None
    if "cursor" in query:
        parts = cursors.decode(query["cursor"], (int,))
        before = None if parts is None else int(parts[0])
        if before is None:
            wrong["cursor"] = "Must be a next_cursor of this list."
    if wrong:
        raise Invalid(wrong)
    teamspace = teamspace_id(query) if "teamspace_id" in query else None
    return LeasesQuery(teamspace, query.get("credential_id") or None, live == "true", before, limit)
