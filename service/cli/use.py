"""`vouch lease`, and `vouch credential-process` for the AWS CLI and SDKs."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import update_wrapper
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from service.cli.client import Client, NoAnswer, check_url, one_line, read_token
from verifiers.lease_terms import LeaseAccess

PROVIDERS = ("AWS", "AZURE", "GCP")
"""Those of `verifiers.base.CloudProvider`, which takes a fifth of a second to import."""


def url_options() -> list[Any]:
    return [
        click.option(
            "--url",
            envvar="VOUCH_URL",
            default="http://127.0.0.1:8080",
            show_default=True,
            show_envvar=True,
            help="The address of vouch. No proxy is used, and no redirect followed.",
        ),
        click.option("--insecure-http", is_flag=True, help="Let the token go to another machine over plain http."),
    ]


def token_option() -> Any:
    return click.option(
        "--token-file",
        envvar="VOUCH_TOKEN_FILE",
        show_envvar=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help="Holds your API key or token; else VOUCH_TOKEN does.",
    )


def _ca_option() -> Any:
    return click.option(
        "--ca-file",
        envvar="VOUCH_CA_FILE",
        show_envvar=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help="PEM certificates to trust instead of the system's.",
    )


def terms_options() -> list[Any]:
    return [
        click.option("--teamspace", default="", help="Whose credential; the workspace level's, if not given."),
        click.option("--bucket", help="Narrow it to this bucket or container."),
        click.option("--prefix", help="Narrow it to objects whose names begin so."),
        click.option(
            "--access",
            type=click.Choice([one.value for one in LeaseAccess]),
            help="What it is for; read, if not given.",
        ),
        click.option("--ttl", type=int, metavar="SECONDS", help="How long it is to live; vouch has a default."),
        click.option("--purpose", help="What it is for, in vouch's list of leases."),
    ]


def _role_options() -> list[Any]:
    return [
        click.option("--role-arn", help="A role for an AWS key to assume."),
        click.option("--external-id", help="What that role's trust policy asks for."),
        click.option("--force", is_flag=True, help="Also if the credential did not work when last verified."),
    ]


@dataclass(frozen=True)
class Options:
    """What the options of these commands say; each command has those that mean something to it."""

    url: str = ""
    insecure_http: bool = False
    token_file: Path | None = None
    ca_file: Path | None = None
    teamspace: str = ""
    bucket: str | None = None
    prefix: str | None = None
    access: str | None = None
    ttl: int | None = None
    purpose: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        # Of a variable that is not set: to leave it out would ask for a wider lease than was meant.
        for name in ("bucket", "prefix", "purpose", "role_arn", "external_id"):
            if getattr(self, name) == "":
                raise NoAnswer(f"--{name.replace('_', '-')} is empty: leave it out, or give it a value.")

    def checked_url(self) -> str:
        """The address of vouch, if it is one that may be asked."""
        return check_url(self.url, insecure_http=self.insecure_http)

    def token(self) -> str:
        """The caller's API key or JWT."""
        return read_token(self.token_file, os.environ.get("VOUCH_TOKEN"))

    def client(self) -> Client:
        """The vouch that is asked."""
        return Client(self.checked_url(), self.token(), self.ca_file)

    def scope(self) -> dict[str, str]:
        """What the lease is narrowed to, as a request has it; empty for all that the credential may do."""
        given = {"bucket": self.bucket, "prefix": self.prefix, "access": self.access}
        return {name: value for name, value in given.items() if value is not None}

    def terms(self) -> dict[str, Any]:
        """What else is asked for."""
        given = {"ttl_seconds": self.ttl, "purpose": self.purpose}
        return {name: value for name, value in given.items() if value is not None}

    def body(self) -> dict[str, Any]:
        """The body of a request for a lease."""
        role = {"role_arn": self.role_arn, "external_id": self.external_id}
        body = self.terms() | {name: value for name, value in role.items() if value is not None}
        if scope := self.scope():
            body["scope"] = scope
        return body | ({"force": True} if self.force else {})


def taking(*options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Hand the values of these options to a command as one `Options`, and tell what stops it in one line."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**values: Any) -> None:
            own = {one.name: values.pop(one.name) for one in fields(Options) if one.name in values}
            try:
                command(options=Options(**own), **values)
            except NoAnswer as error:
                raise click.ClickException(str(error)) from None
            except UnicodeEncodeError:
                raise click.ClickException("An argument is not text in UTF-8.") from None

        wrapped: Callable[..., None] = update_wrapper(run, command)
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def print_json(document: dict[str, Any], *, indent: int | None = None) -> None:
    click.echo(json.dumps(document, indent=indent))


@click.command()
@click.argument("name", required=False)
@click.option(
    "--provider", required=True, type=click.Choice(PROVIDERS, case_sensitive=False), help="Whose credential it is."
)
@taking(*url_options(), token_option(), _ca_option(), *terms_options(), *_role_options())
def lease(name: str | None, provider: str, options: Options) -> None:
    """Lease the credential NAME, the default without one, and print the lease as JSON.

    It holds secrets that live until its `expires_at`. If NAME is not there and a default serves in its place, standard
    error says so.
    """
    print_json(_lease(options, provider, name), indent=2)


@click.command("credential-process")
@click.argument("name", required=False)
@taking(*url_options(), token_option(), _ca_option(), *terms_options(), *_role_options())
def credential_process(name: str | None, options: Options) -> None:
    """Print a lease of the AWS credential NAME, the default without one, for the AWS CLI and SDKs.

    In a profile: credential_process = /path/to/vouch credential-process NAME --bucket BUCKET
    """
    # https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
    got = _lease(options, "AWS", name)
    try:
        material, ends = got["material"], datetime.fromisoformat(got["expires_at"]).astimezone(UTC)
        document = {
            "Version": 1,
            "AccessKeyId": material["access_key_id"],
            "SecretAccessKey": material["secret_access_key"],
            "SessionToken": material["session_token"],
            "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    except (KeyError, TypeError, ValueError):
        raise NoAnswer(f"{options.url} answers, but not with an AWS session.") from None
    if material.get("endpoint"):
        _note("This session is for an endpoint of its own: the SDK must be told it as endpoint_url.")
    if options.scope() and not got.get("narrowed"):
        _note("The provider does not hold this session to the bucket, prefix and access that were asked for.")
    print_json(document)


def _lease(options: Options, provider: str, name: str | None) -> dict[str, Any]:
    """A lease of the credential that serves.

    Raises:
        NoAnswer: there is none.
    """
    client = options.client()
    found = client.get("/v1/resolve", {"provider": provider, "teamspace_id": options.teamspace, **named(name)})
    serving, credential_id = found.get("name"), found.get("id")
    if not isinstance(credential_id, str) or not isinstance(serving, str):
        raise NoAnswer(f"{client.url} answers, but not as vouch does.")
    if found.get("fallback"):
        _note(f"There is no {name}: the default serves in its place, {serving}.")
    return client.post(f"/v1/credentials/{quote(credential_id, safe='')}/lease", options.body())


def named(name: str | None) -> dict[str, str]:
    """The NAME of a command as a parameter of a query; none for the default.

    Raises:
        NoAnswer: it is empty.
    """
    if name == "":
        raise NoAnswer("NAME is empty: leave it out for the default, or give it a value.")
    return {} if name is None else {"name": name}


def _note(sentence: str) -> None:
    click.echo(f"Note: {one_line(sentence)}", err=True)
