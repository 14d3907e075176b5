"""What a lease is: short-lived material, made from a credential for somebody who never sees the credential itself."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

LONGEST_PREFIX = 512
_BUCKET = re.compile(r"[a-z0-9$][a-z0-9._-]{0,220}[a-z0-9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
# Patterns and variables of the policy languages that a prefix is written into; a prefix is meant letter by letter.
_MEANINGFUL = ("*", "?", "${")


class LeaseAccess(StrEnum):
    """What the holder of a lease may do with objects: read and list them, write and delete them, or both."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "read_write"

    @property
    def reads(self) -> bool:
        """Whether it may get and list objects."""
        return self is not LeaseAccess.WRITE

    @property
    def writes(self) -> bool:
        """Whether it may put and delete objects."""
        return self is not LeaseAccess.READ


@dataclass(frozen=True, slots=True)
class LeaseScope:
    """What a lease is narrowed to: one bucket (an Azure container is one too), perhaps the names that begin so."""

    bucket: str
    prefix: str = ""
    access: LeaseAccess = LeaseAccess.READ

    def faults(self) -> dict[str, str]:
        """What no provider could take, by the field's dotted path, as sentences that say what to do."""
        wrong = {}
        if not _BUCKET.fullmatch(self.bucket) or ".." in self.bucket:
            wrong["scope.bucket"] = "Must be the name of one bucket or container, without a scheme, wildcard or path."
        if len(self.prefix) > LONGEST_PREFIX:
            wrong["scope.prefix"] = f"Must be at most {LONGEST_PREFIX} characters long."
        elif _CONTROL.search(self.prefix) or "\\" in self.prefix:
            wrong["scope.prefix"] = "Must not contain control characters or backslashes."
        elif any(one in self.prefix for one in _MEANINGFUL):
            wrong["scope.prefix"] = "Must not contain a wildcard or a variable: it is taken letter by letter."
        elif self.prefix.startswith("/") or not {".", ".."}.isdisjoint(self.prefix.split("/")):
            wrong["scope.prefix"] = "Must not start with a slash, nor have . or .. as a segment."
        return wrong


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """What is asked of a leaser.

    Attributes:
        seconds: how long the material is to live; within the service's own bounds already.
        scope: what to narrow it to; None for all that the credential may do.
        session: what the provider's audit trail is to call it: 2 to 64 characters of A-Z, a-z, 0-9, `-`.
        source_identity: who asked, in the form of AWS's `SourceIdentity`: 2 to 64 characters of A-Z, a-z, 0-9 and
            `_=,.@-`; empty if it is not to be set.
        role_arn: a role that an AWS key is to assume.
        external_id: what that role's trust policy asks for.
        proven: whether the last known verdict on the credential is that it works.
    """

    seconds: int
    scope: LeaseScope | None
    session: str
    source_identity: str = ""
    role_arn: str = ""
    external_id: str = ""
    proven: bool = False


class MaterialForm(StrEnum):
    """Which fields the material of a lease has."""

    AWS_SESSION = "aws_session"
    """`access_key_id`, `secret_access_key`, `session_token`; `endpoint`, `use_path_style` if it has them."""
    AZURE_SAS = "azure_sas"
    """`account_name`, `sas_token` (without a question mark), `blob_endpoint` (the account's: with a scheme, no trailing
    slash); `container` if it is for one that vouch knows, and `blob` if it is for one blob or directory in that."""
    GOOGLE_ACCESS_TOKEN = "google_access_token"  # noqa: S105 - a word, not a password
    """`access_token`, for `Authorization: Bearer`."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a job gets. Nothing of its values is in a repr.

    Attributes:
        form: which fields `values` has.
        values: the fields; all of them are treated as secret.
        expires_at: when the provider stops taking it, aware, in UTC.
        narrowed: whether the provider itself holds it to the scope that was asked for.
        notes: what its holder should know, as sentences.
    """

    form: MaterialForm
    values: Mapping[str, str] = field(repr=False)
    expires_at: datetime
    narrowed: bool
    notes: tuple[str, ...] = ()


class TermsRefused(Exception):
    """The terms can't be met by this kind. `fields` maps dotted paths of the request to what to do about each."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(fields.values()))
        self.fields = dict(fields)


class NotLeasable(Exception):
    """This credential can't be leased, whatever the terms. The text says what to use instead."""
