"""What must hold of `[[auth.jwt]]` before the service may start, beyond the types."""

import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.auth.settings import Binding, JwtSettings, OAuth2Settings
from service.core.access import WORKSPACE_RULE, is_workspace
from service.core.model import Role
from service.core.names import is_label, is_subject

Rule = tuple[bool, str]
"""Whether it holds, and what to say if it does not."""


def jwt_rules(workloads: Sequence[JwtSettings], oauth2: OAuth2Settings) -> Iterator[Rule]:
    """Every rule, in the order of the settings; each sentence names its setting by table and index."""
    # One place for a token's audience, so that it's plain which table says what it may do.
    taken = {(oauth2.issuer, oauth2.audience)} if oauth2.issuer else set()
    for index, one in enumerate(workloads):
        where = f"auth.jwt[{index}]"
        yield bool(one.issuer), f"{where}.issuer must be set."
        yield bool(one.audience), f"{where}.audience must be set."
        yield (
            (one.issuer, one.audience) not in taken,
            f"{where} has the issuer and the audience of another table: put its bindings there.",
        )
        taken.add((one.issuer, one.audience))
        secure = (one.jwks_url or one.issuer).lower().startswith("https://")
        for name in ("jwks_ca_file", "jwks_token_file"):
            yield (
                secure or not getattr(one, name),
                f"{where}.{name} needs an https {'jwks_url' if one.jwks_url else 'issuer'}.",
            )
        yield bool(one.bindings), f"{where}.bindings must not be empty: nobody's tokens would be of use."
        for number, binding in enumerate(one.bindings):
            yield from _binding_rules(binding, f"{where}.bindings[{number}]")


def _binding_rules(binding: Binding, where: str) -> Iterator[Rule]:
    # A public CI signs for everybody who asks: `*` alone is more often a slip than meant. Who means it names what all
    # subjects of the issuer have in common, as `system:serviceaccount:*`.
    yield (
        is_subject(binding.subject) and any(map(str.isalnum, binding.subject)),
        f"{where}.subject must name a subject or, with *, several; one without a letter or digit is refused, for it is "
        "everybody.",
    )
    yield is_workspace(binding.workspace), f"{where}.workspace is wrong. {WORKSPACE_RULE}"
    yield binding.role in list(Role), f"{where}.role must be one of {', '.join(Role)}."
    yield all(map(is_label, binding.teamspaces)), f"{where}.teamspaces must list ids of 1 to 255 characters."


def jwt_file_rules(workloads: Sequence[JwtSettings]) -> Iterator[Rule]:
    """The files that must be there already, and be what they are said to be."""
    for index, one in enumerate(workloads):
        where = f"auth.jwt[{index}]"
        if one.jwks_ca_file:
            yield (
                _holds_certificates(one.jwks_ca_file),
                f"{where}.jwks_ca_file: {one.jwks_ca_file} holds no certificates.",
            )
        if one.jwks_token_file:
            there = Path(one.jwks_token_file).is_file()
            yield there, f"{where}.jwks_token_file: there is no file {one.jwks_token_file}."


def _holds_certificates(path: str) -> bool:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=path)
    except (OSError, ValueError):  # ssl.SSLError is an OSError; a path with a NUL is a ValueError
        return False
    return context.cert_store_stats()["x509"] > 0
