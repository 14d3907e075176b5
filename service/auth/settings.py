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
