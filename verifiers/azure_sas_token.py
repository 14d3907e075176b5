"""Reading a shared access signature (SAS) of Azure storage without asking anybody.

The parameters are those of Microsoft's pages "Create an account SAS", "Create a service SAS" and "Create a
user delegation SAS"; the forms of a time are those of "Formatting DateTime values"
(learn.microsoft.com/rest/api/storageservices).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from marshmallow import ValidationError

from verifiers.verdict import Fault, NotVerified, Reason, failed, rfc3339

_URL_SAFE = re.compile(r"[!-~]+")
_NAME = re.compile(r"[a-z-]{2,20}")
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,7})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?"
)
_OPERATION = frozenset({"comp", "restype", "timeout", "maxresults", "prefix", "delimiter", "marker", "include"})
_MOST_PARAMETERS = 40


@dataclass(frozen=True)
class Sas:
    """A SAS, taken apart.

    Attributes:
        query: the token as it is sent, without a leading question mark. It is a secret.
        values: its parameters by name, decoded, but for the signature.
    """

    query: str = field(repr=False)
    values: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> "Sas":
        """Take a SAS apart.

        Raises:
            ValidationError: it is not one that could ever work; the sentence says what to give instead.
        """
        query = text.removeprefix("?")
        values = _parameters(query)
        if not values.pop("sig", ""):
            raise ValidationError("Must have a signature, `sig`: copy the whole SAS token.")
        if not _VERSION.fullmatch(values.get("sv", "")):
            raise ValidationError("Must have a version, `sv`, such as 2022-11-02: copy the whole SAS token.")
        if ("ss" in values) != ("srt" in values):
            raise ValidationError("An account SAS must have both `ss` and `srt`: copy the whole SAS token.")
        if "si" not in values and not (values.get("se") and values.get("sp")):
            raise ValidationError("Must have `se` and `sp`, unless it refers to a stored access policy with `si`.")
        sas = cls(query, values)
        sas.times("st", "skt", "se", "ske")
        return sas

    def times(self, *names: str) -> list[datetime]:
        """The times that these parameters give, in UTC.

        Raises:
            ValidationError: one of them is not a time.
        """
        return [_time(name, self.values[name]) for name in names if self.values.get(name)]

    @property
    def starts_at(self) -> datetime | None:
        """When it, and the user delegation key it was made with, begin; None if at once."""
        return max(self.times("st", "skt"), default=None)

    @property
    def expires_at(self) -> datetime | None:
        """When it, or the key it was made with, ends; None if only a stored access policy knows."""
        return min(self.times("se", "ske"), default=None)

    @property
    def permissions(self) -> str:
        """The letters of `sp`; empty if a stored access policy has them."""
        return self.values.get("sp", "")

    @property
    def of_account(self) -> bool:
        """Whether it is an account SAS."""
        return "srt" in self.values

    @property
    def resource(self) -> str:
        """What a service or user delegation SAS is for: `c` container, `b` blob, `d` directory, or another."""
        return self.values.get("sr", "")

    @property
    def depth(self) -> int:
        """How many folders below its container a directory SAS is for (`sdd`); 0 if it does not say."""
        depth = self.values.get("sdd", "")
        return int(depth) if re.fullmatch(r"[0-9]{1,3}", depth) else 0

    def may_list(self) -> bool:
        """Whether it may allow a list. A stored access policy's permissions are known to Azure alone."""
        if self.of_account:
            return "b" in self.values["ss"] and "s" in self.values["srt"] and "l" in self.permissions
        return self.resource == "c" and ("l" in self.permissions or "si" in self.values)


def require_sas(text: str) -> None:
    """Refuse what is not a SAS."""
    Sas.parse(text)


def require_in_force(sas: Sas, now: datetime) -> None:
    """Go no further with a SAS that is out of its time.

    Raises:
        NotVerified: it has expired by `now`, or does not hold yet.
    """
    if sas.expires_at is not None and sas.expires_at <= now:
        raise NotVerified(
            failed(
                Reason.EXPIRED,
                Fault.CREDENTIAL,
                f"This SAS expired at {rfc3339(sas.expires_at)}.",
                "Make a new SAS with a later expiry.",
            )
        )
    if sas.starts_at is not None and sas.starts_at > now:
        start, ahead = rfc3339(sas.starts_at), round((sas.starts_at - now).total_seconds())
        raise NotVerified(
            failed(
                Reason.NOT_YET_VALID,
                Fault.CREDENTIAL,
                f"This SAS is not valid before {start}, {ahead} seconds from now by the clock of vouch.",
                "Wait until then, or make a SAS without a start time; one that starts at this very moment fails "
                "wherever a clock is a little behind.",
            )
        )


def _parameters(query: str) -> dict[str, str]:
    if "://" in query.split("sig=")[0]:
        raise ValidationError("Must be the SAS token alone: what follows the question mark in a SAS URL.")
    if not _URL_SAFE.fullmatch(query) or "#" in query or "?" in query:
        raise ValidationError("Must be URL-encoded, without spaces, as the Azure portal shows a SAS token.")
    try:
        pairs = parse_qsl(
            query,
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise ValidationError("Must be a SAS token of the form `sv=…&se=…&sig=…`.") from None
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValidationError("Must not give a parameter twice.")
    # A parameter of the call itself would turn the probe into another operation.
    if not all(_NAME.fullmatch(name) for name in values) or _OPERATION & values.keys():
        raise ValidationError("Must have the parameters of a SAS only, in lower case.")
    return values


def _time(name: str, text: str) -> datetime:
    wrong = ValidationError(f"`{name}` must be a UTC time such as 2030-01-31T12:00:00Z.")
    if not _TIME.fullmatch(text):
        raise wrong
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong from None
