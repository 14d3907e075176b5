"""From a configuration to an open store and an unlocked key ring; and what happens on the very first start."""

import asyncio
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from service.auth.passwords import hash_password
from service.config import Config
from service.core import key_format
from service.core.access import Access
from service.core.envelope import Envelope, check_canary, seal_canary
from service.core.errors import Invalid, RefusesToStart
from service.core.model import DEFAULT_WORKSPACE, Caller, Principal, PrincipalKind, Role
from service.core.store import Store
from service.keyrings.file import FileKeyRing
from service.storage.sqlite import open_sqlite

if TYPE_CHECKING:
    from service.storage.postgres.connecting import Limits

ADMIN_KEY_FILE = "admin-key"


def operator(workspace: str = DEFAULT_WORKSPACE) -> Caller:
    """Whoever sits at the command line beside the data folder: they have the keys already."""
    name = f"uid {os.getuid()} on {socket.gethostname()}"
    return Caller(Principal(PrincipalKind.OPERATOR, "command line", name, workspace, Role.ADMIN))


async def open_store(config: Config) -> Store:
    """Open the store, made and migrated if it has to be.

    Raises:
        RefusesToStart: the folder can't be made, or the database can't be reached, is not ours or too new.
    """
    if config.on_postgres:
        limits = _postgres_limits(config)
        from service.storage.postgres.store import open_postgres

        return await open_postgres(config.store.url, limits)
    for folder in {Path(config.data_dir), config.database.parent}:
        _make_folder(folder)
    return await open_sqlite(config.database)


def _postgres_limits(config: Config) -> "Limits":
    """The settings of `[store]` for PostgreSQL. Its driver is an extra, and loaded here first.

    Raises:
        RefusesToStart: it is not installed.
    """
    try:
        from service.storage.postgres.connecting import Limits
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise RefusesToStart(
            "store.url names PostgreSQL, and its driver is not installed: install vouch[postgres]."
        ) from None
    store = config.store
    return Limits(
        pool_min=store.pool_min_size,
        pool_max=store.pool_max_size,
        pool_wait=store.pool_wait_seconds,
        statement=store.statement_seconds,
        lock=store.lock_seconds,
    )


async def unlock(config: Config, store: Store) -> Envelope:
    """Load the key ring and prove that it is this store's; in a new embedded store, make one.

    On PostgreSQL no key is made unasked: each replica would make another.

    Raises:
        RefusesToStart: the key ring is missing, damaged or another store's. Nothing is overwritten (requirement 27).
    """
    canary = await store.get_canary()
    new = canary is None and not await store.holds_secrets()
    if config.key_file.exists():
        ring = FileKeyRing.load(config.key_file)
    elif config.on_postgres:
        raise RefusesToStart(
            f"There is no key ring at {config.key_file}, and none is made on PostgreSQL: all replicas need the same."
        )
    elif new and not config.keys.file:
        ring = FileKeyRing.create(config.key_file)
    elif new:
        raise RefusesToStart(f"There is no key ring at {config.key_file}; one is made only where keys.file is empty.")
    else:
        raise RefusesToStart(f"The key ring {config.key_file} is missing: bring back the one this store was made with.")
    envelope = Envelope(ring)
    if canary is not None:
        await check_canary(envelope, canary)
    elif new:
        await store.put_canary(await seal_canary(envelope))
    else:
        raise RefusesToStart("The store has secrets but no canary: it was changed by hand. Restore a backup.")
    return envelope


async def first_start(config: Config, *, terminal: bool) -> str | None:
    """Make what the first start makes; None if it was not the first, or somebody else brings the key.

    Args:
        config: the configuration.
        terminal: whether the key will be shown to a person. If not, it is in a file before it is in the store,
            so that a start that is interrupted leaves no key that nobody has.

    Returns:
        The admin API key's text.
    """
    async with _alone(config):
        return await _first_start(config, terminal=terminal)


@asynccontextmanager
async def _alone(config: Config) -> AsyncIterator[None]:
    """Keep others who start on the same store waiting: together they would make two first keys."""
    if config.on_postgres:
        limits = _postgres_limits(config)
        from service.storage.postgres.store import alone

        async with alone(config.store.url, limits):
            yield
    else:
        with _alone_in_folder(config):
            yield


@contextmanager
def _alone_in_folder(config: Config) -> Iterator[None]:
    folder = Path(config.data_dir)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise RefusesToStart(f"Cannot write to the folder {folder}: {error.strerror}.") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def _first_start(config: Config, *, terminal: bool) -> str | None:
    store = await open_store(config)
    try:
        await unlock(config, store)
        access = Access(store, hash_password)
        if config.auth.bootstrap_key_file:
            await _adopt(config.auth.bootstrap_key_file, access)
            return None
        if await store.list_api_keys() or await store.list_users():
            return None
        text = key_format.make().text
        if not terminal:
            _make_folder(Path(config.data_dir))
            _write_private(admin_key_file(config), text)
        await access.adopt_admin_key(operator(), text, name="first admin", workspace=DEFAULT_WORKSPACE)
        return text
    finally:
        await store.close()


def admin_key_file(config: Config) -> Path:
    """Where the first admin key goes when nobody is watching."""
    return Path(config.data_dir) / ADMIN_KEY_FILE


async def _adopt(path: str, access: Access) -> None:
    try:
        text = (await asyncio.to_thread(Path(path).read_text, encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusesToStart(f"Cannot read auth.bootstrap_key_file {path}: {type(error).__name__}.") from None
    try:
        await access.adopt_admin_key(operator(), text, name="bootstrap", workspace=DEFAULT_WORKSPACE)
    except Invalid as error:
        raise RefusesToStart(f"auth.bootstrap_key_file {path}: {error.fields['key']}") from None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RefusesToStart(f"Cannot make the folder {folder}: {error.strerror}.") from None


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    partial = path.with_suffix(".part")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise RefusesToStart(f"Cannot write {path}: {error.strerror}.") from None
