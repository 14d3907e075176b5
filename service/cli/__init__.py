"""The `vouch` command: a file for each group of subcommands."""

import os

import click

from service import __version__
from service.cli.access import api_key, user
from service.cli.inspect import config, health, openapi
from service.cli.serve import serve
from service.cli.verify import verify


def _open_standard_streams() -> None:
    """Give a process that was started without one of them the null device: else its first socket takes the place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


_open_standard_streams()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vouch")
def main() -> None:
    """Keep cloud credentials encrypted, and prove by asking the provider that each one works."""


for command in (serve, api_key, user, verify, health, openapi, config):
    main.add_command(command)
