"""Which names are allowed: one rule for bodies, paths, queries and the command line."""

import re
import unicodedata

from service.core.errors import Invalid
from service.core.model import WORKSPACE_PREFIX

LONGEST_NAME = 255
LONGEST_SUBJECT = 512
"""A Kubernetes service account can have 339 characters, with its namespace and prefix."""
# U+FFFD is what bad UTF-8 in a URL is decoded to: different names would become one.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


def name_fault(name: str) -> str | None:
    """What is wrong with a credential's name, as a sentence that says what to do; None if nothing is."""
    if not 1 <= len(name) <= LONGEST_NAME:
        return f"Must be 1 to {LONGEST_NAME} characters long."
    if _CONTROL.search(name):
        return "Must not contain control characters or invalid UTF-8."
    if "/" in name or "\\" in name or name in (".", ".."):
        return "Must not contain a slash or a backslash, nor be . or .. alone."
    if name.startswith(WORKSPACE_PREFIX):
        return f"Must not start with {WORKSPACE_PREFIX}: that is kept for workspaces."
    if not unicodedata.is_normalized("NFC", name):
        return "Must be in Unicode normalization form C (NFC)."
    return None


def is_label(text: str) -> bool:
    """Whether a text can be what people call a key, a user or a teamspace: 1 to 255 characters, none a control one."""
    return 0 < len(text) <= LONGEST_NAME and _CONTROL.search(text) is None


def is_subject(text: str) -> bool:
    """Whether a text can be the subject of a token: 1 to 512 characters, none a control one."""
    return 0 < len(text) <= LONGEST_SUBJECT and _CONTROL.search(text) is None


def teamspace_fault(teamspace: str) -> str | None:
    """What is wrong with a teamspace's id; an empty one is the workspace level and right."""
    if len(teamspace) > LONGEST_NAME:
        return f"Must be at most {LONGEST_NAME} characters long."
    if _CONTROL.search(teamspace):
        return "Must not contain control characters or invalid UTF-8."
    return None


def require_name(name: str) -> None:
    """Refuse a bad name.

    Raises:
        Invalid: with the field `name`.
    """
    if fault := name_fault(name):
        raise Invalid({"name": fault})
