"""What a verified token may do here: as its claims say, or as its subject is bound."""

from collections.abc import Mapping
from typing import Any, Protocol

from service.auth.settings import JwtSettings, OAuth2Settings
from service.auth.subjects import SubjectPattern
from service.core.access import is_workspace
from service.core.errors import NotAllowed
from service.core.model import Principal, PrincipalKind, Role
from service.core.names import LONGEST_SUBJECT, is_label, is_subject

MOST_TEAMSPACES = 1000


class Grant(Protocol):
    """Turns the claims of a verified token into a principal."""

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """Who the claims are about.

        Raises:
            NotAllowed: they grant nothing here; the text repeats nothing of them.
        """


class ClaimsGrant:
    """The token says itself where it acts, and as what; a claim of the wrong type grants nothing.

    Args:
        settings: the names of the claims.
    """

    def __init__(self, settings: OAuth2Settings) -> None:
        self._settings = settings

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """As `Grant.principal`."""
        settings = self._settings
        subject = _subject(claims)
        workspace = claims.get(settings.workspace_claim)
        if not isinstance(workspace, str) or not is_workspace(workspace):
            raise NotAllowed(f"The token grants nothing here: its claim {settings.workspace_claim} names no workspace.")
        role = claims.get(settings.role_claim)
        if not isinstance(role, str) or role not in list(Role):
            raise NotAllowed(f"The token grants nothing here: its claim {settings.role_claim} names no role.")
        teamspaces = None
        if settings.teamspaces_claim in claims:
            teamspaces = _read_teamspaces(claims[settings.teamspaces_claim])
            if teamspaces is None:
                raise NotAllowed(
                    f"The token grants nothing here: its claim {settings.teamspaces_claim} is no list of ids."
                )
        return Principal(PrincipalKind.TOKEN, subject, subject, workspace, Role(role), teamspaces)


class BindingsGrant:
    """The operator says which subjects of an issuer act where, and as what.

    Args:
        settings: the issuer and its bindings, checked: see `jwt_rules`.
    """

    def __init__(self, settings: JwtSettings) -> None:
        self._issuer = settings.issuer
        self._bindings = [(SubjectPattern(one.subject), one) for one in settings.bindings]

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """As `Grant.principal`. Its id has the issuer in it: two issuers may know the same subject."""
        subject = _subject(claims)
        for pattern, binding in self._bindings:
            if pattern.matches(subject):
                return Principal(
                    PrincipalKind.WORKLOAD,
                    f"{self._issuer}#{subject}",
                    subject,
                    binding.workspace,
                    Role(binding.role),
                    frozenset(binding.teamspaces) or None,
                )
        raise NotAllowed("The token grants nothing here: no binding names its subject.")


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not is_subject(subject):
        raise NotAllowed(f"The token names no subject of 1 to {LONGEST_SUBJECT} characters.")
    return subject


def _read_teamspaces(value: object) -> frozenset[str] | None:
    """The ids of a list of texts, also of an empty one, which grants no teamspace; None for anything else."""
    if not isinstance(value, list) or len(value) > MOST_TEAMSPACES:
        return None
    if not all(isinstance(one, str) and is_label(one) for one in value):
        return None
    return frozenset(value)
