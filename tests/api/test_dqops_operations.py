"""The DQOps dialect beyond what its client shows: section 2 of the wire contract."""

import base64
import io
import json
import re
import sqlite3
from typing import Any

import pytest

from service.config import Config
from tests.api.payloads import CANARY, create_body
from tests.conftest import Vouch

TEXT = {"credential_name": "one", "type": "text", "text_value": f"{CANARY} text"}
BINARY = {"credential_name": "one", "type": "binary", "binary_value": "AAEC/w=="}

WRONG: dict[str, tuple[Any, int]] = {
    "a list": ([], 400),
    "a text for the type": (TEXT | {"type": "file"}, 400),
    "a number for the value": (TEXT | {"text_value": 5}, 400),
    "a number for the name": (TEXT | {"credential_name": 5}, 400),
    "an unknown field": (TEXT | {"more": "x"}, 400),
    "wrong base64": (BINARY | {"binary_value": "not base64!"}, 400),
    "base64 of half a byte": (BINARY | {"binary_value": "AAEC/"}, 400),
    "URL-safe base64": (BINARY | {"binary_value": "AAEC_w=="}, 400),
    "a name with a slash": (TEXT | {"credential_name": "a/b"}, 400),
    "a name of two dots": (TEXT | {"credential_name": ".."}, 400),
    "a name with a control character": (TEXT | {"credential_name": "a\nb"}, 400),
    "an empty name": (TEXT | {"credential_name": ""}, 406),
    "no name": ({"type": "text", "text_value": "x"}, 406),
    "no type": ({"credential_name": "one", "text_value": "x"}, 406),
    "no value": ({"credential_name": "one", "type": "text"}, 406),
    "null values": ({"credential_name": "one", "type": "text", "text_value": None}, 406),
    "both values": (TEXT | BINARY, 406),
    "a type that contradicts the value": (TEXT | {"type": "binary"}, 406),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_body_has_dqops_status_a_sentence_and_stores_nothing(vouch: Vouch, case: str) -> None:
    body, status = WRONG[case]
    answer = await vouch.call("POST", "/api/credentials", body)
    assert answer.status == status
    error = answer.json_body
    assert set(error) == {"timestamp", "status", "error", "message", "path"}
    assert (error["status"], error["path"]) == (status, "/api/credentials")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", error["timestamp"])
    assert error["message"].endswith(".")
    assert CANARY not in await answer.text()
    assert (await vouch.call("GET", "/api/credentials")).json_body == []


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_body_of_a_put_leaves_what_was_stored(vouch: Vouch, case: str) -> None:
    body, status = WRONG[case]
    await vouch.call("POST", "/api/credentials", TEXT)
    answer = await vouch.call("PUT", "/api/credential/one", body)
    assert (answer.status, answer.json_body["path"]) == (status, "/api/credential/one")
    assert (await vouch.call("GET", "/api/credentials/one")).json_body == TEXT


async def test_base64_may_lack_its_padding_as_javas_decoder_allows(vouch: Vouch) -> None:
    assert (await vouch.call("POST", "/api/credentials", BINARY | {"binary_value": "AAEC/w"})).status == 201
    assert await (await vouch.call("GET", "/api/credentials/one/download")).read() == b"\x00\x01\x02\xff"


async def test_a_text_that_is_no_utf_8_is_refused(vouch: Vouch) -> None:
    raw = b'{"credential_name": "one", "type": "text", "text_value": "\xff"}'
    headers = {"Content-Type": "application/json"}
    assert (await vouch.call("POST", "/api/credentials", data=raw, headers=headers)).status == 400
    half = raw.replace(b"\xff", b"\\ud800")
    assert (await vouch.call("POST", "/api/credentials", data=half, headers=headers)).status == 400


async def test_a_body_may_be_as_long_as_the_limit_and_no_byte_longer(vouch: Vouch, config: Config) -> None:
    limit = config.server.max_body_bytes
    for field, kind in (("text_value", "text"), ("binary_value", "binary")):
        body = {"credential_name": kind, "type": kind, field: ""}
        room = limit - len(json.dumps(body))
        fits = body | {field: "A" * (room - room % 4)}
        padded = json.dumps(fits) + " " * (room % 4)
        for raw, status in ((padded + " ", 413), (padded, 201)):
            headers = {"Content-Type": "application/json"}
            answer = await vouch.call("POST", "/api/credentials", data=io.BytesIO(raw.encode()), headers=headers)
            assert answer.status == status
        assert (await vouch.call("GET", f"/api/credentials/{kind}")).json_body == fits


async def test_two_megabytes_are_too_much_and_almost_one_is_not(vouch: Vouch) -> None:
    large = TEXT | {"text_value": "x" * 2_000_000}
    raw, headers = io.BytesIO(json.dumps(large).encode()), {"Content-Type": "application/json"}
    answer = await vouch.call("POST", "/api/credentials", data=raw, headers=headers)
    assert (answer.status, answer.json_body["status"]) == (413, 413)
    fits = TEXT | {"text_value": "é" * 80_000}
    assert (await vouch.call("POST", "/api/credentials", fits)).status == 201
    assert (await vouch.call("GET", "/api/credentials/one")).json_body == fits


@pytest.mark.parametrize("content", [b"", b"\x00", b"\r\n\xef\xbb\xbf", bytes(range(256)) * 100])
async def test_a_download_is_the_exact_bytes(vouch: Vouch, content: bytes) -> None:
    body = BINARY | {"binary_value": base64.b64encode(content).decode()}
    assert (await vouch.call("POST", "/api/credentials", body)).status == 201
    answer = await vouch.call("GET", "/api/credentials/one/download")
    assert await answer.read() == content
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_download_carries_its_name_whatever_it_is(vouch: Vouch) -> None:
    name = 'a "quoted" файл;x.json'
    await vouch.call("POST", "/api/credentials", TEXT | {"credential_name": name})
    answer = await vouch.call("GET", "/api/credentials/a%20%22quoted%22%20%D1%84%D0%B0%D0%B9%D0%BB;x.json/download")
    assert answer.status == 200
    told = answer.headers["Content-Disposition"]
    assert told.startswith('attachment; filename="a _quoted_ ____;x.json";')
    assert "filename*=UTF-8''a%20%22quoted%22%20%D1%84%D0%B0%D0%B9%D0%BB%3Bx.json" in told


@pytest.mark.parametrize("name", ["a%2Fb", "%2E%2E%2Fx", "a%00b", "x" * 256])
async def test_a_bad_name_in_a_path_is_a_400(vouch: Vouch, name: str) -> None:
    """Requirement 22."""
    for method, path in (("GET", ""), ("GET", "/download"), ("DELETE", ""), ("POST", "/verify")):
        answer = await vouch.call(method, f"/api/credentials/{name}{path}")
        assert answer.status == 400
        assert "credential_name" in answer.json_body["message"]


async def test_shared_and_access_credentials_have_names_of_their_own(vouch: Vouch) -> None:
    assert (await vouch.call("POST", "/api/credentials", TEXT)).status == 201
    assert (await vouch.call("GET", "/v4/credentials/one")).status == 404
    assert (await vouch.call("POST", "/v4/credentials", create_body("aws key", "one"))).status == 201
    assert len((await vouch.call("GET", "/api/credentials")).json_body) == 1
    assert (await vouch.call("GET", "/v4/credentials")).json_body["pagination_metadata"]["total_items"] == 1
    assert (await vouch.call("DELETE", "/v4/credentials/one")).status == 204
    assert (await vouch.call("GET", "/api/credentials/one")).json_body == TEXT


async def test_a_viewer_sees_the_list_and_no_value(vouch: Vouch) -> None:
    await vouch.call("POST", "/api/credentials", TEXT)
    viewer = await vouch.make_key("viewer")
    (listed,) = (await vouch.call("GET", "/api/credentials", key=viewer)).json_body
    assert listed == {"credential_name": "one", "type": "text", "can_edit": False, "can_access_credential": False}
    for method, path, body in (
        ("GET", "/api/credentials/one", None),
        ("GET", "/api/credentials/one/download", None),
        ("PUT", "/api/credential/one", TEXT),
        ("DELETE", "/api/credentials/one", None),
        ("POST", "/api/credentials", TEXT),
        ("POST", "/api/credentials/one/verify", None),
    ):
        answer = await vouch.call(method, path, body, key=viewer)
        assert (answer.status, answer.json_body["error"]) == (403, "Forbidden")
        assert CANARY not in await answer.text()


async def test_teamspaces_and_other_tenants_see_nothing(vouch: Vouch) -> None:
    """Requirement 19."""
    await vouch.call("POST", "/api/credentials", TEXT)
    limited = await vouch.make_key("admin", teamspaces=["red"])
    assert (await vouch.call("GET", "/api/credentials", key=limited)).status == 403
    assert (await vouch.call("GET", "/api/credentials/one", key=limited)).status == 403
    stranger = await vouch.make_key("admin", workspace="ws_other")
    hidden = await vouch.call("GET", "/api/credentials/one", key=stranger)
    missing = await vouch.call("GET", "/api/credentials/two", key=stranger)
    assert hidden.status == missing.status == 404
    assert hidden.json_body["message"] == missing.json_body["message"]
    assert (await vouch.call("GET", "/api/credentials", key=stranger)).json_body == []


def audited(config: Config, action: str) -> list[tuple[str, str]]:
    with sqlite3.connect(config.database) as db:
        rows = db.execute("SELECT actor_name, family FROM audit WHERE action = ? ORDER BY seq", (action,)).fetchall()
    db.close()
    return rows


async def test_revealing_is_audited_before_it_leaves(vouch: Vouch, config: Config) -> None:
    """Requirement 29: no audit, no secret."""
    await vouch.call("POST", "/api/credentials", TEXT)
    await vouch.call("GET", "/api/credentials")
    assert audited(config, "credential.reveal") == []
    await vouch.call("GET", "/api/credentials/one")
    await vouch.call("GET", "/api/credentials/one/download")
    assert audited(config, "credential.reveal") == [("first admin", "shared")] * 2
    assert audited(config, "credential.create") == [("first admin", "shared")]


async def test_if_the_audit_record_cannot_be_written_nothing_leaves(vouch: Vouch, config: Config) -> None:
    """Requirement 29, with a database that refuses the record."""
    await vouch.call("POST", "/api/credentials", TEXT)
    with sqlite3.connect(config.database) as db:
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    db.close()
    for path in ("/api/credentials/one", "/api/credentials/one/download"):
        answer = await vouch.call("GET", path)
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert CANARY not in await answer.text()


async def test_a_value_is_in_no_file_log_or_error(
    vouch: Vouch, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requirement 30."""
    from pathlib import Path

    from service.observe import logs

    logs.configure("DEBUG", "json")
    await vouch.call("POST", "/api/credentials", TEXT)
    await vouch.call("PUT", "/api/credential/one", TEXT)
    await vouch.call("GET", "/api/credentials/one")
    await vouch.call("POST", "/api/credentials/one/verify")
    printed = capsys.readouterr()
    assert '"route":"/api/credentials/{name}/verify"' in printed.err
    assert CANARY not in printed.out + printed.err
    encoded = base64.b64encode(TEXT["text_value"].encode())
    for file in Path(config.data_dir).iterdir():
        content = file.read_bytes()
        assert CANARY.encode() not in content
        assert encoded not in content
