"""`vouch google-credentials` and `vouch google-subject-token`: Google's executable-sourced credentials.

Their form is https://google.aip.dev/auth/4117, "Determining the subject token in executable-sourced credentials".
"""

import base64
import json
import math
import os
import shlex
import sys
import time
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, urlencode

import click

from service.cli.client import NoAnswer
from service.cli.use import Options, named, print_json, taking, terms_options, token_option, url_options

_JWT = "urn:ietf:params:oauth:token-type:jwt"
_TIMEOUT_MILLIS = 30_000  # Google's libraries take 5,000 to 120,000
_KEPT_SECONDS = 300  # that a library may hold on to a token whose end is not known here


@click.command("google-credentials")
@click.argument("name", required=False)
@taking(*url_options(), token_option(), *terms_options())
def google_credentials(name: str | None, options: Options) -> None:
    """Print the file for GOOGLE_APPLICATION_CREDENTIALS that leases the Google credential NAME, or the default.

    It holds no secret: Google's libraries run `vouch google-subject-token` for the token that they exchange at vouch.
    They do so only with GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1, trust for https what their own settings say
    (REQUESTS_CA_BUNDLE in Python), and some of them want https in any case.
    """
    url = options.checked_url()
    where = {"teamspace_id": options.teamspace} if options.teamspace else {}
    query = urlencode(named(name) | where | options.scope() | options.terms(), quote_via=quote)
    command = [*_this_program(), "google-subject-token"]
    if options.token_file is not None:
        command += ["--token-file", str(options.token_file.absolute())]
    print_json(
        {
            "type": "external_account",
            "audience": url,  # a name for vouch: a pool of Google's would be asked for at Google
            "subject_token_type": _JWT,
            "token_url": f"{url}/v1/google/token?{query}".rstrip("?"),
            "credential_source": {"executable": {"command": shlex.join(command), "timeout_millis": _TIMEOUT_MILLIS}},
        },
        indent=2,
    )


def _this_program() -> list[str]:
    """How to run this program from anywhere."""
    program = Path(sys.argv[0]).absolute()
    if program.suffix != ".py" and os.access(program, os.X_OK):
        return [str(program)]
    return [sys.executable, "-m", "service"]


@click.command("google-subject-token")
@taking(token_option())
def google_subject_token(options: Options) -> None:
    """Print your API key or token as Google's libraries read it from a program that they run.

    They join standard output and error, so a failure too is told on standard output, in their own form.
    """
    try:
        token = options.token()
    except NoAnswer as error:
        _fail("NO_TOKEN", str(error))
    ends = _ends(token)
    if ends is not None and ends <= time.time():
        _fail("EXPIRED_TOKEN", "The token has expired.")
    kept = int(ends or time.time() + _KEPT_SECONDS)
    print_json({"version": 1, "success": True, "token_type": _JWT, "id_token": token, "expiration_time": kept})


def _fail(code: str, message: str) -> NoReturn:
    print_json({"version": 1, "success": False, "code": code, "message": message})
    sys.exit(1)


def _ends(token: str) -> float | None:
    """When a JWT says that it expires, in seconds since 1970; None for anything else. Vouch is who checks it."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        ends = float(claims["exp"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return ends if math.isfinite(ends) else None
