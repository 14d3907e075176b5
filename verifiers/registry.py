"""Which verifier is for which kind of credential: the built-in ones, and those of installed packages."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from verifiers import aws_key, aws_role, azure_key, azure_sas, azure_service_principal, gcp_hmac, gcp_service_account
from verifiers.base import Kind, Verifier
from verifiers.fields import PayloadSchema

Key = tuple[str, str]
"""A provider and a type, such as `("AWS", "key")`."""

GROUP = "vouch.verifiers"
"""The entry-point group of packages that bring a verifier: each entry loads to a `Verifier`."""

BUILT_IN: tuple[Verifier, ...] = (
    aws_key.VERIFIER,
    aws_role.VERIFIER,
    azure_key.VERIFIER,
    azure_sas.VERIFIER,
    azure_service_principal.VERIFIER,
    gcp_hmac.VERIFIER,
    gcp_service_account.VERIFIER,
)


class BrokenVerifier(Exception):
    """A verifier can't be used. The text is one line that names it: the service must not start without it."""


class Registry:
    """Verifiers by provider and type, fixed once made.

    Args:
        verifiers: in the order in which `kinds` gives them.

    Raises:
        BrokenVerifier: two of them are for the same provider and type, or sit in the same slot of the wire.
    """

    def __init__(self, verifiers: Iterable[Verifier]) -> None:
        self._verifiers: dict[Key, Verifier] = {}
        self._slots: set[tuple[str, str]] = set()
        for verifier in verifiers:
            self._add(verifier)

    def _add(self, verifier: Verifier) -> None:
        kind = verifier.kind
        if (kind.provider, kind.type) in self._verifiers:
            raise BrokenVerifier(f"there is a verifier for provider {kind.provider} and type {kind.type} already")
        if kind.slot in self._slots:
            raise BrokenVerifier(f"there is a verifier in the slot {'.'.join(kind.slot or ())} already")
        self._verifiers[kind.provider, kind.type] = verifier
        if kind.slot is not None:
            self._slots.add(kind.slot)

    def get(self, provider: str, type_: str) -> Verifier | None:
        """The verifier for a provider and type."""
        return self._verifiers.get((provider, type_))

    def kinds(self) -> tuple[Kind, ...]:
        """Every kind there is: the built-in ones first."""
        return tuple(verifier.kind for verifier in self._verifiers.values())


def load_registry(entries: Iterable[EntryPoint] | None = None) -> Registry:
    """The built-in verifiers, and those that installed packages bring.

    Args:
        entries: the entry points to load instead of the installed ones of the group.

    Raises:
        BrokenVerifier: one of them does not load, is no verifier, or takes another's place.
    """
    found = entry_points(group=GROUP) if entries is None else entries
    verifiers = list(BUILT_IN)
    # By name: the order in which packages lie on the disk must not decide anything.
    for entry in sorted(found, key=lambda one: (one.name, one.value)):
        try:
            verifiers.append(_load(entry))
            Registry(verifiers)
        except BrokenVerifier as error:
            raise BrokenVerifier(f"entry point {entry.name} ({entry.value}) of {GROUP}: {error}") from error
    return Registry(verifiers)


def _load(entry: EntryPoint) -> Verifier:
    try:
        verifier = entry.load()
    except Exception as error:
        raise BrokenVerifier(f"it does not load: {_line(error)}") from error
    if not isinstance(verifier, Verifier) or not isinstance(verifier.kind, Kind) or not callable(verifier.probe):
        raise BrokenVerifier("it is not a verifiers.base.Verifier")
    kind = verifier.kind
    if not all(isinstance(word, str) and word for word in (kind.provider, kind.type, *(kind.slot or ()))):
        raise BrokenVerifier("its provider, type and slot must be words")
    if not isinstance(kind.schema, type) or not issubclass(kind.schema, PayloadSchema):
        raise BrokenVerifier("its schema is not a verifiers.fields.PayloadSchema")
    try:
        kind.schema()
    except Exception as error:
        raise BrokenVerifier(f"its schema can't be made: {_line(error)}") from error
    return verifier


def _line(error: Exception) -> str:
    """What was raised, in one line."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
