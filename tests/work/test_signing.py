"""Signatures, as the reference library of Standard Webhooks verifies them."""

import base64
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from service.core.errors import RefusesToStart
from service.work.signing import Signer

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BODY = '{"type":"credential.deleted","data":{"name":"näme ✓"}}'.encode()


def test_a_delivery_is_verified_by_the_reference_library() -> None:
    headers = Signer.parse(SECRET).headers("evt_1", int(time.time()), BODY)
    assert Webhook(SECRET).verify(BODY, headers)["type"] == "credential.deleted"
    assert headers["webhook-id"] == "evt_1"


def test_it_signs_what_the_reference_library_signs() -> None:
    moment = 1_649_367_553
    theirs = Webhook(SECRET).sign("evt_1", datetime.fromtimestamp(moment, UTC), BODY.decode())
    assert Signer.parse(SECRET).headers("evt_1", moment, BODY)["webhook-signature"] == theirs


@pytest.mark.parametrize("changed", ["body", "id", "time", "secret"])
def test_whatever_is_changed_breaks_the_signature(changed: str) -> None:
    now = int(time.time())
    headers = Signer.parse(SECRET).headers("evt_1", now, BODY)
    secret, body = SECRET, BODY
    match changed:
        case "body":
            body = BODY.replace(b"deleted", b"created")
        case "id":
            headers["webhook-id"] = "evt_2"
        case "time":
            headers["webhook-timestamp"] = str(now + 1)
        case "secret":
            secret = "whsec_" + base64.b64encode(bytes(32)).decode()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


@pytest.mark.parametrize("length", [24, 25, 26, 32, 64])
@pytest.mark.parametrize("padded", [True, False])
def test_every_length_that_the_specification_allows_signs(length: int, padded: bool) -> None:
    secret = "whsec_" + base64.b64encode(b"\xff" * length).decode()
    text = secret if padded else secret.rstrip("=")
    headers = Signer.parse(f"  {text}\r\n").headers("evt_1", int(time.time()), BODY)
    assert Webhook(secret).verify(BODY, headers)


BAD = {
    "nothing": "",
    "no prefix": SECRET.removeprefix("whsec_"),
    "another prefix": SECRET.replace("whsec_", "whpk_"),
    "no base64": "whsec_" + "!" * 40,
    "url-safe base64": "whsec_" + "_-" * 20,
    "too short": "whsec_" + base64.b64encode(bytes(23)).decode(),
    "too long": "whsec_" + base64.b64encode(bytes(65)).decode(),
    "two of them": f"{SECRET}\n{SECRET}",
    "not ascii": SECRET + "é",
    "binary": "whsec_\ufffd\x00",
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_secret_is_refused_and_not_quoted(case: str) -> None:
    with pytest.raises(RefusesToStart, match=r"^webhooks\.secret_file must hold whsec_") as caught:
        Signer.parse(BAD[case])
    text = BAD[case].removeprefix("whsec_").strip()
    assert not text or text not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    signed = Signer.read(file).headers("evt_1", int(time.time()), BODY)
    assert Webhook(SECRET).verify(BODY, signed)
    assert KEY.hex() not in repr(Signer.read(file))
    assert SECRET not in repr(Signer.read(file))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"whsec_" + b"\xff" * 40, b"A" * 100_000])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(RefusesToStart, match=r"webhooks\.secret_file"):
        Signer.read(file)


def test_a_file_that_can_not_be_read_is_named_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(RefusesToStart, match=r"webhooks\.secret_file can't be read"):
        Signer.read(tmp_path / "none")
    with pytest.raises(RefusesToStart, match=r"webhooks\.secret_file can't be read"):
        Signer.read(tmp_path)
