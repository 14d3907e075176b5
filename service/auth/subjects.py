"""Patterns of subjects: `*` is any run of characters, and nothing else is special."""


class SubjectPattern:
    """A pattern that a whole subject matches or not, in upper and lower case as written.

    Args:
        text: literal text and `*`, each of which stands for any characters, `:` and `/` too, or for none.
    """

    def __init__(self, text: str) -> None:
        self._first, *rest = text.split("*")
        self._last = rest.pop() if rest else None
        self._between = rest

    def matches(self, subject: str) -> bool:
        """Whether the pattern is of this subject, in time that grows with the lengths of the two alone.

        Each piece between two stars is looked for once, from where the piece before it ended: the earliest place
        leaves the most for the rest, so there is never a reason to come back (as a regular expression would).
        """
        if self._last is None:
            return subject == self._first
        at, end = len(self._first), len(subject) - len(self._last)
        if at > end or not subject.startswith(self._first) or not subject.endswith(self._last):
            return False
        for piece in self._between:
            found = subject.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True
