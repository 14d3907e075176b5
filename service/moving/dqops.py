"""The `.credentials` folder of a DQOps user home: a file for each shared credential, named as the credential.

In the file's name, what file systems don't take is written as a percent sign and two hexadecimal digits, which DQOps
decodes (https://github.com/dqops/dqo, `FileNameSanitizer`, and `FileSharedCredentialListImpl` for the folder).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from service.core.catalog import Item
from service.core.shared import FileType, SharedFile
from service.moving.entries import Entry, Incoming, Rejected, Result, Source
from service.moving.files import Unreadable, read

FOLDER = ".credentials"

_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def read_folder(folder: Path, longest: int) -> Source:
    """The shared credentials of a DQOps user home.

    Args:
        folder: the user home, or its folder of credentials.
        longest: bytes; a longer file is refused.
    """
    inner = folder / FOLDER
    try:
        place = inner if inner.is_dir() else folder
        files = sorted(place.iterdir())
    except OSError as error:
        why = f"The folder can't be read ({error.strerror or type(error).__name__})."
        return Source(iter([Rejected(shown(str(folder)), why)]), 1)
    return Source(_entries(files, longest), len(files))


def _entries(files: list[Path], longest: int) -> Iterator[Entry]:
    for file in files:
        yield _entry(file, longest)


def _entry(file: Path, longest: int) -> Entry:
    where, name = shown(str(file)), decoded(shown(file.name))
    try:
        _require_inside(file)
        content = read(file, longest)
    except Unreadable as error:
        # Nothing in a folder below is a credential: DQOps looks at the files of this one alone.
        result = Result.SKIPPED if file.is_dir() else Result.REFUSED
        return Rejected(where, f"It is not taken: {error}.", name, result)
    if not content:
        return Rejected(where, "It is empty: there is nothing to keep.", name, Result.SKIPPED)
    return Incoming(where, Item("", file=SharedFile(name, type_of(content), content)), whole=False)


def _require_inside(file: Path) -> None:
    """Refuse a link that leads out of the folder: whoever may write there could have any file of the operator's taken.

    Kubernetes mounts secrets as links to a folder below, which are followed.

    Raises:
        Unreadable: it does.
    """
    try:
        inside = file.resolve().is_relative_to(file.parent.resolve())
    except (OSError, RuntimeError):
        # A link to itself.
        inside = False
    if not inside:
        raise Unreadable("it is a link that leads out of the folder")


def type_of(content: bytes) -> FileType:
    """Text, if it is UTF-8 and has no control characters but those that lay text out."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return FileType.BINARY
    return FileType.BINARY if _NOT_TEXT.search(text) else FileType.TEXT


def decoded(name: str) -> str:
    """The credential's name that a file's stands for."""
    return _ENCODED.sub(lambda found: chr(int(found[1], 16)), name)


def shown(name: str) -> str:
    """A file's name as text that can be shown: what is not UTF-8 in it can't."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
