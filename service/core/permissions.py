"""Who may do what where: the one place that decides. What is not allowed is denied."""

from service.core.errors import NotAllowed
from service.core.model import Family, Permission, Principal, Scope


def authorize(principal: Principal, permission: Permission, teamspace: str, family: Family = Family.ACCESS) -> Scope:
    """The scope the principal may use for this, in its own workspace.

    Args:
        principal: who is calling; the workspace is always theirs, never an input.
        permission: what they are about to do.
        teamspace: a teamspace's id, or empty for the workspace level.
        family: which sort of credential.

    Raises:
        NotAllowed: their role or their teamspaces don't allow it. A list of teamspaces excludes the workspace level.
    """
    require(principal, permission)
    if principal.teamspaces is not None and teamspace not in principal.teamspaces:
        raise NotAllowed(
            "You have no access to this teamspace." if teamspace else "You have no access to the workspace level."
        )
    return Scope(principal.workspace, teamspace, family.value)


def require(principal: Principal, permission: Permission) -> None:
    """Refuse what the role does not allow anywhere.

    Raises:
        NotAllowed: it does not.
    """
    if permission not in principal.role.permissions:
        raise NotAllowed(f"The role {principal.role} does not allow this.")


def may_use_workspace_level(principal: Principal) -> bool:
    """Whether the principal has access to what belongs to no teamspace."""
    return principal.teamspaces is None
