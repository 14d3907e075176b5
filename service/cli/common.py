"""What the subcommands share: the `--config` option, and how an error is told."""

from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from service.core.errors import Invalid, RefusesToStart, VouchError

P = ParamSpec("P")
R = TypeVar("R")

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file; ./config.toml if it is there.",
)


def telling_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors an operator can mend into one line on standard error and exit code 1."""

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except RefusesToStart as error:
            raise click.ClickException(str(error)) from None
        except Invalid as error:
            told = "; ".join(f"{name}: {sentence}" for name, sentence in error.fields.items())
            raise click.ClickException(told) from None
        except VouchError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            raise click.ClickException(
                f"{error.strerror or type(error).__name__}: {error.filename or 'a file'}"
            ) from None

    return update_wrapper(run, command)
