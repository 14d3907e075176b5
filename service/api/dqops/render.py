"""What the DQOps dialect answers."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import quote

import orjson
from aiohttp import hdrs, web

from service.api.errors import Failure
from service.core.shared import FileType, Listed, SharedFile
from verifiers.verdict import Report

JSON = "application/json"


def listed(files: Sequence[Listed]) -> web.Response:
    """A list of SharedCredentialListModel."""
    body = [
        {
            "credential_name": one.name,
            "type": one.type.value,
            "can_edit": one.can_edit,
            "can_access_credential": one.can_reveal,
        }
        for one in files
    ]
    return web.Response(body=orjson.dumps(body), content_type=JSON)


def model(file: SharedFile) -> web.Response:
    """A SharedCredentialModel, with the value that its type names."""
    body = {"credential_name": file.name, "type": file.type.value}
    if file.type is FileType.TEXT:
        body["text_value"] = file.content.decode()
    else:
        body["binary_value"] = base64.b64encode(file.content).decode()
    return web.Response(body=orjson.dumps(body), content_type=JSON)


def download(file: SharedFile) -> web.Response:
    """The exact bytes, as an attachment of the credential's name (RFC 6266, RFC 8187)."""
    plain = "".join(char if char.isascii() and char not in '"\\%' else "_" for char in file.name)
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file.name, safe='')}"
    return web.Response(
        body=file.content,
        content_type="application/octet-stream",
        headers={hdrs.CONTENT_DISPOSITION: disposition},
    )


def report(found: Report) -> web.Response:
    """The report of a verification."""
    return web.Response(body=orjson.dumps(found.to_dict()), content_type=JSON)


def error(failure: Failure, _request_id: str, path: str) -> web.Response:
    """An error as Spring writes it."""
    message = failure.message
    if failure.fields:
        told = {"credential_name" if name == "name" else name: sentence for name, sentence in failure.fields.items()}
        message = " ".join(f"{name}: {sentence}" for name, sentence in told.items())
    body = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": failure.status,
        "error": HTTPStatus(failure.status).phrase,
        "message": message,
        "path": path,
    }
    if failure.report:
        body["verification"] = failure.report.to_dict()
    return web.Response(status=failure.status, body=orjson.dumps(body), content_type=JSON, headers=failure.headers)
