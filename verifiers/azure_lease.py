"""Leases of Azure credentials: a SAS made of an account's key, or a registered SAS that is narrow and short already.

Nobody is called for either. The pages meant here are Microsoft's "Create a service SAS", "Create an account SAS" (both
at learn.microsoft.com/rest/api/storageservices) and "Grant limited access to Azure Storage resources using shared
access signatures (SAS)" (learn.microsoft.com/azure/storage/common/storage-sas-overview).

A service SAS of a container opens its blobs alone: by "Create a service SAS", "Specify permissions", it can neither
read nor change the container itself, nor delete it. It can't be held to a prefix: what is smaller than a container is
one blob, or a directory of an account that has a hierarchical namespace.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from urllib.parse import quote, unquote, urlencode

from verifiers.azure_blob import API_VERSION, BlobService
from verifiers.azure_sas_token import Sas, require_in_force
from verifiers.base import Payload, Run
from verifiers.lease_terms import (
    LeaseAccess,
    LeaseScope,
    LeaseTerms,
    Material,
    MaterialForm,
    NotLeasable,
    TermsRefused,
)
from verifiers.verdict import rfc3339

BACKDATED = timedelta(minutes=15)
"""How long ago a SAS begins: the overview's "Best practices when using SAS" names that much against clock skew.

It begins at all because an account with a SAS expiration policy may refuse what has no start ("Configure an expiration
policy for shared access signatures"). By that policy's reckoning a SAS is these minutes longer than it lives.
"""

PERMISSIONS: Mapping[LeaseAccess, str] = MappingProxyType(
    {LeaseAccess.READ: "rl", LeaseAccess.WRITE: "wd", LeaseAccess.READ_WRITE: "rwdl"}
)
"""The letters of each access, in the order that is signed ("Permissions for a directory, container, or blob").

`w` is to create or write content and properties, to copy to a blob and to snapshot or lease it: `c` and `a` would add
nothing. `d` deletes blobs, but neither their versions (`x`) nor what was deleted softly (`y`).
"""
_WITHIN_WRITING = frozenset("ac")

_BEFORE_RESOURCE = ("sp", "st", "se")
_AFTER_RESOURCE = ("si", "sip", "spr", "sv", "sr", "snapshot", "ses", "rscc", "rscd", "rsce", "rscl", "rsct")
_OF_BLOBS = frozenset({"c", "d", "b", "bs", "bv"})

_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*|\$root|\$web")
_CONTAINER_RULE = (
    "Must be the name of a container: 3 to 63 lower-case letters, digits and single hyphens, or $root or $web. "
    "The service's own containers, such as $logs, are not leased."
)
_NO_PREFIX = "A SAS can't be held to a prefix: leave it out, or keep these blobs in a container of their own."
_NO_ROLE = "Only an AWS key can assume a role: leave it out."

MADE_WITH_A_KEY = "It was signed with the account's key: only rotating that key ends it before its time."
REGISTERED = (
    "It is the registered SAS itself, the same for all who lease it: only {} that it was signed with ends it before "
    "its time."
)
ADDRESSES = "It is taken only from the addresses that its `sip` names."
NOT_SAID = "It is for one container, directory or blob, and vouch does not know which."

_ANOTHER_WAY = "Register the account's key: vouch makes a SAS of it as short and as narrow as is asked for."


async def of_key(payload: Payload, terms: LeaseTerms, run: Run) -> Material:
    """A service SAS for the container that the scope names, signed with the account's key.

    Raises:
        TermsRefused: there is no scope, it has a prefix or no container's name, or it is another container than the one
            that the credential's endpoint names.
        NotLeasable: the credential's endpoint names a blob or a directory.
    """
    service = BlobService.of(payload, run)
    if "/" in service.resource:
        raise NotLeasable(
            "The credential's blob_endpoint names a blob or a directory, and a lease is of a container: let it name "
            "the account or one container."
        )
    wrong = _no_role(terms)
    if terms.scope is None:
        raise TermsRefused({**wrong, "scope": "Name a container: without one the lease would open the whole account."})
    wrong |= _scope_faults(terms.scope, service)
    if wrong:
        raise TermsRefused(wrong)
    now = run.now().astimezone(UTC)
    expires_at = (now + timedelta(seconds=terms.seconds)).replace(microsecond=0)
    values = {
        "sv": API_VERSION,
        "st": _sas_time(now - BACKDATED),
        "se": _sas_time(expires_at),
        "sr": "c",
        "sp": PERMISSIONS[terms.scope.access],
        "spr": "https,http" if service.origin.startswith("http:") else "https",
    }
    values["sig"] = signature(payload["account_name"], payload["account_key"], terms.scope.bucket, values)
    token = urlencode(values, quote_via=quote, safe="")
    fields = _fields(payload, service, token) | {"container": terms.scope.bucket}
    return Material(MaterialForm.AZURE_SAS, fields, expires_at, narrowed=True, notes=(MADE_WITH_A_KEY,))


def signature(account: str, key: str, container: str, values: Mapping[str, str]) -> str:
    """The signature of a container's service SAS, in base64.

    The string to sign is that of "Create a service SAS", version 2020-12-06 and later.

    Args:
        account: the account's name.
        key: its key, in base64.
        container: the container's name.
        values: the parameters of the SAS, not encoded; those that are absent are signed as empty.
    """
    lines = [
        *(values.get(name, "") for name in _BEFORE_RESOURCE),
        f"/blob/{account}/{container}",
        *(values.get(name, "") for name in _AFTER_RESOURCE),
    ]
    digest = hmac.digest(base64.b64decode(key), "\n".join(lines).encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


UNPROVEN = (
    "A SAS does not say which container it is for, and nobody has verified this one: verify it to know that it is for "
    "the one that its blob_endpoint names."
)


async def of_sas(payload: Payload, terms: LeaseTerms, run: Run) -> Material:
    """The SAS itself, where it is already as short and as narrow as is asked for.

    A service SAS does not carry its container's name: that it is for the one that the credential's endpoint names is
    what verifying the credential proves.

    Raises:
        NotVerified: it has expired, or does not hold yet.
        TermsRefused: it allows less than is asked for.
        NotLeasable: it allows more, lives longer, or does not tell.
    """
    sas = Sas.parse(payload["sas_token"])
    now = run.now()
    require_in_force(sas, now)
    expires_at = _known_end(sas)
    service = BlobService.of(payload, run)
    scope, wrong = terms.scope, _no_role(terms)
    if scope is not None:
        wrong |= _less_than_a_container(sas, service) or _scope_faults(scope, service) | _lacking(sas, scope)
    if wrong:
        raise TermsRefused(wrong)
    if expires_at > now + timedelta(seconds=terms.seconds):
        raise NotLeasable(
            f"This SAS lives until {rfc3339(expires_at)}, longer than the lease is to, and can't be shortened. "
            f"{_ANOTHER_WAY} Or ask for a ttl_seconds that reaches to its end."
        )
    if scope is not None:
        _require_no_more(sas, scope)
    fields = _fields(payload, service, sas.query) | _resource(sas, service)
    notes = _notes(sas, service)
    if scope is not None and not terms.proven:
        notes = (*notes, UNPROVEN)
    return Material(
        MaterialForm.AZURE_SAS, fields, expires_at, narrowed=scope is not None and terms.proven, notes=notes
    )


def _known_end(sas: Sas) -> datetime:
    if (sas.of_account and "b" not in sas.values["ss"]) or (not sas.of_account and sas.resource not in _OF_BLOBS):
        raise NotLeasable(f"This SAS is not for the blob service. {_ANOTHER_WAY}")
    if "si" in sas.values or sas.expires_at is None:
        raise NotLeasable(
            f"This SAS refers to a stored access policy, so vouch can't tell what it allows, nor until when. "
            f"{_ANOTHER_WAY}"
        )
    return sas.expires_at


def _less_than_a_container(sas: Sas, service: BlobService) -> dict[str, str]:
    """What is wrong with asking for a container, if the SAS is of less; raises where it is of more or does not say."""
    if sas.of_account:
        raise NotLeasable(f"This is an account SAS, which no container narrows. {_ANOTHER_WAY}")
    if sas.resource != "c":
        return {"scope": "This SAS is for one blob or directory, which is less than a container: leave the scope out."}
    if not service.resource:
        raise NotLeasable(
            "This SAS does not say which container it is for, and neither does the credential's blob_endpoint: put the "
            "container in its path."
        )
    return {}


def _lacking(sas: Sas, scope: LeaseScope) -> dict[str, str]:
    missing = [letter for letter in PERMISSIONS[scope.access] if letter not in sas.permissions]
    if not missing:
        return {}
    return {"scope.access": f"This SAS does not allow that: its permissions lack {', '.join(missing)}."}


def _require_no_more(sas: Sas, scope: LeaseScope) -> None:
    within = set(PERMISSIONS[scope.access]) | (_WITHIN_WRITING if scope.access.writes else set())
    if not within.issuperset(sas.permissions):
        raise NotLeasable(
            f"This SAS allows more than the access that is asked for ({scope.access.value}), and can't be narrowed. "
            f"{_ANOTHER_WAY}"
        )


def _scope_faults(scope: LeaseScope, service: BlobService) -> dict[str, str]:
    wrong = {}
    if not _CONTAINER.fullmatch(scope.bucket):
        wrong["scope.bucket"] = _CONTAINER_RULE
    elif service.resource and scope.bucket != _container(service):
        wrong["scope.bucket"] = "The credential is for another container, which its blob_endpoint names."
    if scope.prefix:
        wrong["scope.prefix"] = _NO_PREFIX
    return wrong


def _no_role(terms: LeaseTerms) -> dict[str, str]:
    given = {"role_arn": terms.role_arn, "external_id": terms.external_id}
    return {name: _NO_ROLE for name, value in given.items() if value}


def _container(service: BlobService) -> str:
    return unquote(service.resource.partition("/")[0])


def _fields(payload: Payload, service: BlobService, token: str) -> dict[str, str]:
    endpoint = service.origin + service.root.rstrip("/")
    return {"account_name": payload["account_name"], "sas_token": token, "blob_endpoint": endpoint}


def _resource(sas: Sas, service: BlobService) -> dict[str, str]:
    """What a service SAS is for, as far as the credential's endpoint tells."""
    if sas.of_account or not service.resource:
        return {}
    blob = unquote(service.resource.partition("/")[2])
    return {"container": _container(service), **({"blob": blob} if blob and sas.resource != "c" else {})}


def _notes(sas: Sas, service: BlobService) -> tuple[str, ...]:
    signer = "revoking the user delegation key" if "skoid" in sas.values else "rotating the account's key"
    notes = [REGISTERED.format(signer)]
    if sas.values.get("sip"):
        notes.append(ADDRESSES)
    if not sas.of_account and not service.resource:
        notes.append(NOT_SAID)
    return tuple(notes)


def _sas_time(moment: datetime) -> str:
    """A UTC time, to the second, as SAS parameters write it."""
    return rfc3339(moment.replace(microsecond=0))
