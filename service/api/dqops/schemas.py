"""What the DQOps dialect accepts: the wire names are known here and nowhere else.

DQOps answers 400 to what it can't parse and 406 to what lacks a field or has one too many.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, Schema, fields, validate

from service.api.errors import NotAcceptable
from service.core.errors import Malformed
from service.core.names import LONGEST_NAME, require_name
from service.core.shared import FileType, SharedFile

_FIELDS = ("credential_name", "type", "text_value", "binary_value")


class SharedCredentialSchema(Schema):
    """SharedCredentialModel, for the document: exactly the value that `type` names is there."""

    class Meta:
        unknown = RAISE

    credential_name = fields.String(required=True, validate=validate.Length(1, LONGEST_NAME))
    type = fields.String(required=True, validate=validate.OneOf(list(FileType)))
    text_value = fields.String(metadata={"description": "The file, if it is text."})
    binary_value = fields.String(metadata={"format": "byte", "description": "The file in base64, if it is binary."})


class SharedCredentialListSchema(Schema):
    """SharedCredentialListModel: one line of the list."""

    credential_name = fields.String(required=True)
    type = fields.String(required=True, validate=validate.OneOf(list(FileType)))
    can_edit = fields.Boolean(required=True)
    can_access_credential = fields.Boolean(required=True)


def load_file(body: Any, path_name: str | None = None) -> SharedFile:
    """A SharedCredentialModel.

    Args:
        body: parsed JSON; null means absent.
        path_name: the name in the path of a PUT, which the body's must equal.

    Raises:
        Malformed: it is no such object, a field has the wrong type, or the binary value is not base64.
        Invalid: the name breaks a rule.
        NotAcceptable: a required field is missing, or both values are given, or the names differ.
    """
    values = _given(body)
    name = values.get("credential_name")
    if not name:
        raise NotAcceptable("credential_name is missing.")
    require_name(name)
    if path_name is not None and name != path_name:
        raise NotAcceptable("credential_name is not the name in the path: this API does not rename.")
    if "type" not in values:
        raise NotAcceptable(f"type is missing: it must be {' or '.join(FileType)}.")
    type_ = FileType(values["type"])
    wanted, other = ("text_value", "binary_value") if type_ is FileType.TEXT else ("binary_value", "text_value")
    if wanted not in values or other in values:
        raise NotAcceptable(f"A credential of the type {type_} needs {wanted}, and no {other}.")
    return SharedFile(name, type_, values[wanted].encode() if type_ is FileType.TEXT else _decode(values[wanted]))


def _given(body: Any) -> Mapping[str, str]:
    """The fields that are there, all of them texts."""
    if not isinstance(body, dict):
        raise Malformed("The body must be a JSON object.")
    values = {name: value for name, value in body.items() if value is not None}
    if any(name not in _FIELDS for name in values):
        raise Malformed(f"The body may have {', '.join(_FIELDS)}, and nothing else.")
    for name, value in values.items():
        if not isinstance(value, str):
            raise Malformed(f"{name} must be a text.")
    if values.get("type") not in (None, *FileType):
        raise Malformed(f"type must be {' or '.join(FileType)}.")
    return values


def _decode(text: str) -> bytes:
    """Base64 of RFC 4648 section 4; as in Java, whose decoder DQOps uses, the padding may be missing."""
    try:
        return base64.b64decode(text if "=" in text else text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("binary_value is not base64.") from None
