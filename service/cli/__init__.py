"""The `vouch` command: a file for each group of subcommands."""

import os
from importlib import import_module

import click

from service import __version__

COMMANDS = {
    "serve": "service.cli.serve:serve",
    "api-key": "service.cli.access:api_key",
    "user": "service.cli.access:user",
    "verify": "service.cli.verify:verify",
    "lease": "service.cli.use:lease",
    "credential-process": "service.cli.use:credential_process",
    "google-credentials": "service.cli.google:google_credentials",
    "google-subject-token": "service.cli.google:google_subject_token",
    "import": "service.cli.moving:import_",
    "export": "service.cli.moving:export",
    "health": "service.cli.inspect:health",
    "openapi": "service.cli.inspect:openapi",
    "config": "service.cli.inspect:config",
}
"""Every subcommand, and where it is. One is imported when it is wanted: SDKs run some of them again and again."""


def _open_standard_streams() -> None:
    """Give a process that was started without one of them the null device: else its first socket takes the place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


_open_standard_streams()


class _Commands(click.Group):
    """Imports a subcommand when it is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vouch")
def main() -> None:
    """Keep cloud credentials encrypted, prove by asking the provider that each one works, and lease them to jobs."""
