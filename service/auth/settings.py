"""What the operator says about who may issue tokens; the service's configuration is made of these."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OAuth2Settings:
    """`[auth.oauth2]`. An empty `issuer` means that no tokens are taken.

    `jwks_url` empty: the address is read from the issuer's discovery document. The three claims name where
    in a token the workspace, the role and the teamspaces are.
    """

    issuer: str = ""
    audience: str = ""
    jwks_url: str = ""
    workspace_claim: str = "workspace"
    role_claim: str = "role"
    teamspaces_claim: str = "teamspaces"


@dataclass(frozen=True)
class Binding:
    """What the subjects that a pattern matches may do.

    `*` in `subject` stands for any run of characters. Empty `teamspaces` are all of them and the workspace level, as
    for API keys.
    """

    subject: str = ""
    workspace: str = ""
    role: str = ""
    teamspaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class JwtSettings:
    """One `[[auth.jwt]]`: an issuer whose tokens carry no workspace and role, and who is bound to which.

    `jwks_url` empty: as in `OAuth2Settings`. `jwks_ca_file` names certificates that are trusted for the issuer
    instead of the system's, `jwks_token_file` a bearer token that its server wants; both are read at each fetch.
    The first binding that matches a token's subject counts.
    """

    issuer: str = ""
    audience: str = ""
    jwks_url: str = ""
    jwks_ca_file: str = ""
    jwks_token_file: str = ""
    bindings: tuple[Binding, ...] = ()
