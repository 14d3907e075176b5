"""What the parts of the embedded store have in common."""

from service.storage.reader import Reader
from service.storage.writer import Writer


class Connected:
    """Has a connection that reads and one that writes."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
