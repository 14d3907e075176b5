"""The `vouch` command: a file for each group of subcommands."""

import click

from service import __version__
from service.cli.access import api_key, user
from service.cli.inspect import config, health, openapi
from service.cli.serve import serve
from service.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vouch")
def main() -> None:
    """Keep cloud credentials encrypted, and prove by asking the provider that each one works."""


for command in (serve, api_key, user, verify, health, openapi, config):
    main.add_command(command)
