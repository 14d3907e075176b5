"""`vouch api-key` and `vouch user`. They write to the store; a running service knows at once."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click

from service.cli.common import config_option, telling_errors
from service.config import Config, load_config
from service.core.access import Access
from service.core.errors import RefusesToStart
from service.core.model import DEFAULT_WORKSPACE, ApiKey, Caller, Role

R = TypeVar("R")

role_option = click.option(
    "--role", type=click.Choice([role.value for role in Role]), default=Role.VIEWER.value, show_default=True
)
workspace_option = click.option("--workspace", default=DEFAULT_WORKSPACE, show_default=True, help="Starts with ws_.")


def _with_access(
    config_path: Path | None, work: Callable[[Access, Caller], Awaitable[R]], *, create: bool = False
) -> R:
    """Do something with the store open, and close it."""
    config = load_config(config_path)
    return asyncio.run(_work(config, work, create=create))


async def _work(config: Config, work: Callable[[Access, Caller], Awaitable[R]], *, create: bool) -> R:
    from service import bootstrap
    from service.auth.passwords import hash_password

    if not create and not config.on_postgres and not config.database.exists():
        raise RefusesToStart(f"There is no store at {config.database} yet: start the service, or name its --config.")
    store = await bootstrap.open_store(config)
    try:
        return await work(Access(store, hash_password), bootstrap.operator())
    finally:
        await store.close()


@click.group("api-key")
def api_key() -> None:
    """Make, list and revoke API keys."""


@api_key.command("create")
@config_option
@click.option("--name", required=True, help="What people call it.")
@role_option
@workspace_option
@click.option("--teamspace", "teamspaces", multiple=True, help="A teamspace it may use; repeat it. None means all.")
@click.option(
    "--expires-in", type=click.IntRange(1, 36_500), metavar="DAYS", help="It stops working then; never, if not given."
)
@telling_errors
def create_key(
    config_path: Path | None,
    name: str,
    role: str,
    workspace: str,
    teamspaces: tuple[str, ...],
    expires_in: int | None,
) -> None:
    """Make a key and print it, this once, alone on standard output."""

    async def work(access: Access, caller: Caller) -> str:
        _row, text = await access.create_api_key(
            caller,
            name=name,
            role=role,
            workspace=workspace,
            teamspaces=teamspaces,
            expires_in=timedelta(days=expires_in) if expires_in else None,
        )
        return text

    click.echo(_with_access(config_path, work, create=True))


@api_key.command("list")
@config_option
@telling_errors
def list_keys(config_path: Path | None) -> None:
    """List the keys: id, state, role, workspace, teamspaces, name."""
    for key in _with_access(config_path, lambda access, caller: access.list_api_keys(caller)):
        teamspaces = "all" if key.teamspaces is None else ",".join(sorted(key.teamspaces))
        click.echo("\t".join((key.id, _state(key), key.role, key.workspace, teamspaces, key.name)))


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None:
        return f"{'expired' if key.expires_at <= datetime.now(UTC) else 'until'} {key.expires_at:%Y-%m-%d}"
    return "live"


@api_key.command("revoke")
@config_option
@click.argument("key_id", metavar="ID")
@telling_errors
def revoke_key(config_path: Path | None, key_id: str) -> None:
    """Revoke a key, at once and for good. ID is the middle part of the key."""
    if not _with_access(config_path, lambda access, caller: access.revoke_api_key(caller, key_id)):
        raise click.ClickException("There is no live key of that id.")
    click.echo("revoked; what it leased lives on to its end: GET /v1/leases?live=true lists it", err=True)


@click.group()
def user() -> None:
    """Make, list and delete users, who sign in with HTTP Basic."""


@user.command("create")
@config_option
@click.argument("name")
@role_option
@workspace_option
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@telling_errors
def create_user(config_path: Path | None, name: str, role: str, workspace: str, password_stdin: bool) -> None:
    """Add a user; asks for the password on a terminal."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        raise click.UsageError("Give the password with --password-stdin.")
    _with_access(
        config_path,
        lambda access, caller: access.create_user(caller, name=name, password=password, role=role, workspace=workspace),
        create=True,
    )
    click.echo("created", err=True)


@user.command("list")
@config_option
@telling_errors
def list_users(config_path: Path | None) -> None:
    """List the users: name, role, workspace."""
    for one in _with_access(config_path, lambda access, caller: access.list_users(caller)):
        click.echo("\t".join((one.name, one.role, one.workspace)))


@user.command("delete")
@config_option
@click.argument("name")
@telling_errors
def delete_user(config_path: Path | None, name: str) -> None:
    """Delete a user, who is out at once."""
    if not _with_access(config_path, lambda access, caller: access.delete_user(caller, name)):
        raise click.ClickException("There is no user of that name.")
    click.echo("deleted", err=True)
