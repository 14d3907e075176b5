"""Token exchange (RFC 8693), as far as Google's libraries speak it: names, and the form that they send."""

import re
from collections.abc import Mapping
from typing import Final

from service.core.errors import Invalid, NotAuthenticated

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ISSUED_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"

FIELDS: Final = ("grant_type", "requested_token_type", "subject_token", "subject_token_type", "audience", "scope")
_NAME = re.compile(r"[a-z_]{1,40}")


def subject_token(form: Mapping[str, str]) -> str:
    """The token in a form of section 2.1: how the caller authenticates.

    Args:
        form: names and values, each once.

    Raises:
        Invalid: it is no request for an access token, or has a field that we don't know: one that may be meant to
            narrow the token must not be ignored.
        NotAuthenticated: there is none.
    """
    wrong = {name if _NAME.fullmatch(name) else "body": "Unknown field." for name in form if name not in FIELDS}
    if form.get("grant_type") != GRANT:
        wrong["grant_type"] = f"Must be {GRANT}."
    if form.get("requested_token_type", ISSUED_TYPE) != ISSUED_TYPE:
        wrong["requested_token_type"] = f"Must be {ISSUED_TYPE}."
    if wrong:
        raise Invalid(wrong)
    token = form.get("subject_token", "").strip()
    if not token:
        raise NotAuthenticated("Send your API key or token as subject_token.")
    return token
