"""Read what somebody names on the command line: regular files alone, and bounded."""

import codecs
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MIB = 1_048_576


class Unreadable(Exception):
    """A file that can't be used. The text is a clause, such as `it is a folder`, and quotes nothing of the file."""


_NOT_FILES = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFIFO: "it is a pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}


@contextmanager
def opened(path: Path, longest: int) -> Iterator[BinaryIO]:
    """A regular file, open for reading.

    Args:
        path: where it is; links are followed.
        longest: bytes; a longer one is not opened.

    Raises:
        Unreadable: it is not there, no regular file, too long, or can't be read.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(_why(error)) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(_NOT_FILES.get(stat.S_IFMT(found.st_mode), "it is no regular file"))
        if found.st_size > longest:
            raise Unreadable(too_long(longest))
        with open(handle, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(handle)


def read(path: Path, longest: int) -> bytes:
    """All of a regular file; the arguments and errors are those of `opened`."""
    with opened(path, longest) as file:
        return read_all(file, longest)


def read_all(file: BinaryIO, longest: int) -> bytes:
    """The rest of an open file.

    Raises:
        Unreadable: it is too long, or can't be read.
    """
    try:
        content = file.read(longest + 1)
    except OSError as error:
        raise Unreadable(_why(error)) from None
    if len(content) > longest:
        raise Unreadable(too_long(longest))
    return content


def text_of(content: bytes) -> str:
    """UTF-8 text, without the mark that some editors put before it.

    Raises:
        Unreadable: it is none.
    """
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        raise Unreadable("it is not text in UTF-8") from None


def too_long(longest: int) -> str:
    """What is said of something that is longer than so many bytes."""
    size = f"{longest / MIB:g} MiB" if longest >= MIB else f"{longest} bytes"
    return f"it is longer than {size}"


def _why(error: OSError) -> str:
    return f"it can't be read ({error.strerror or type(error).__name__})"
