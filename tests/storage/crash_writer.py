"""A process that writes until it is killed, and prints the name of each write once it is acknowledged.

Usage: python -m tests.storage.crash_writer DATABASE PREFIX
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from service.core.audit import Action
from service.core.kept import Watch
from service.core.model import Credential
from service.storage.sqlite import SqliteStore, open_sqlite
from tests.contracts.records import (
    a_credential,
    a_lease,
    a_report,
    a_seal,
    an_audit,
    an_event,
    create,
    lease,
    report,
    rotated,
    update,
)


def say(mark: str, one: Credential) -> None:
    """Tell the parent, at once."""
    sys.stdout.write(f"{mark} {one.name}\n")
    sys.stdout.flush()


async def write(store: SqliteStore, prefix: str) -> None:
    """Create credentials, lease and verify them, rotate every third, delete every fifth; say what is certain."""
    for number in count():
        one = a_credential(f"{prefix}-{number}", type="key" if number % 2 else "arn", provider_default=True)
        await create(store, one)
        say("+", one)
        await lease(store, a_lease(one))
        say("~", one)
        await report(store, one, a_report(one), Watch(one.created_at), an_event())
        say("!", one)
        if number % 5 == 0:
            # Announced first: whether it was done is unknown until the second line.
            say("?", one)
            found = await store.get_credential(one.scope, one.name)
            assert found is not None
            if await store.delete_credential(found, an_audit(one, Action.DELETE)):
                say("-", one)
        elif number % 3 == 0:
            new = rotated(one, allowed_in_tasks=False, revision=3)
            if await update(store, new, a_seal(one.name + " again"), 1):
                say("=", one)


async def main() -> None:
    """Write from four tasks at once."""
    store = await open_sqlite(Path(sys.argv[1]))
    await asyncio.gather(*(write(store, f"{sys.argv[2]}-{writer}") for writer in range(4)))


if __name__ == "__main__":
    asyncio.run(main())
