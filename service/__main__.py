"""`python -m service` is the `vouch` command."""

from service.cli import main

main(prog_name="vouch")
