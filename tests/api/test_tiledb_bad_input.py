"""Bad input: a 4xx with the field's path and a sentence that says what to do; never a 500, never half a write."""

import gzip
import io
import json
from typing import Any

import pytest

from tests.api.payloads import CANARY, KINDS, SAS, create_body, key_file
from tests.conftest import Vouch


def changed(kind: str, **changes: Any) -> dict[str, Any]:
    """A create body whose payload has other fields; None takes one out."""
    _provider, _type, slot, sub, _payload, _secret = KINDS[kind]
    body = create_body(kind, "one")
    body[slot][sub] = {name: value for name, value in (body[slot][sub] | changes).items() if value is not None}
    return body


AWS, ROLE, AZURE, SIG, HMAC, ROBOT = KINDS
KEY = create_body(AWS, "one")
ARN, ENDPOINT = "role.aws.role_arn", "credential.aws.endpoint"
ACCOUNT, KEY_TEXT = "credential.azure.account_name", "token.gcp.key_text"

# A name for the case: the body, and the path of a field that the answer must name.
WRONG: dict[str, tuple[Any, str]] = {
    "a list": ([], "body"),
    "a text": ("hello", "body"),
    "no name": ({name: value for name, value in KEY.items() if name != "name"}, "name"),
    "null name": (KEY | {"name": None}, "name"),
    "name with a slash": (KEY | {"name": "a/b"}, "name"),
    "name with a backslash": (KEY | {"name": "a\\b"}, "name"),
    "name of two dots": (KEY | {"name": ".."}, "name"),
    "name with a control character": (KEY | {"name": "a\x00b"}, "name"),
    "name of 10,000 letters": (KEY | {"name": "x" * 10_000}, "name"),
    "empty name": (KEY | {"name": ""}, "name"),
    "name like a workspace": (KEY | {"name": "ws_other"}, "name"),
    "name not in NFC": (KEY | {"name": "e\u0301"}, "name"),
    "a number for a name": (KEY | {"name": 5}, "name"),
    "no provider": ({name: value for name, value in KEY.items() if name != "provider"}, "provider"),
    "another provider": (KEY | {"provider": "SNOWFLAKE"}, "provider"),
    "lower case provider": (KEY | {"provider": "aws"}, "provider"),
    "a list of providers": (KEY | {"provider": ["AWS"]}, "provider"),
    "a yes": (KEY | {"provider_default": "yes"}, "provider_default"),
    "a one": (KEY | {"allowed_in_tasks": 1}, "allowed_in_tasks"),
    "an unknown field": (KEY | {"unknown": True}, "unknown"),
    "an unknown field below": (changed(AWS, session_token="x"), "credential.aws.session_token"),
    "no payload": ({"name": "one", "provider": "AWS"}, "credential"),
    "both slots": (KEY | {"role": create_body(ROLE, "x")["role"]}, "role"),
    "two sub-objects": (KEY | {"credential": KEY["credential"] | create_body(HMAC, "x")["credential"]}, "credential"),
    "an empty slot": (KEY | {"credential": {}}, "credential"),
    "a slot that is a text": (KEY | {"credential": "AKIA"}, "credential"),
    "a payload that is a list": (KEY | {"credential": {"aws": []}}, "credential.aws"),
    "the wrong slot for the provider": (KEY | {"provider": "GCP"}, "credential.aws"),
    "no secret": (changed(AWS, secret_access_key=None), "credential.aws.secret_access_key"),
    "an empty secret": (changed(AWS, secret_access_key=""), "credential.aws.secret_access_key"),
    "a number for a secret": (changed(AWS, secret_access_key=5.7), "credential.aws.secret_access_key"),
    "a key id with a newline": (changed(AWS, access_key_id="AKIA\r\nX-Evil: 1"), "credential.aws.access_key_id"),
    "an endpoint of another scheme": (changed(AWS, endpoint="ftp://host"), ENDPOINT),
    "a relative endpoint": (changed(AWS, endpoint="host:9000"), ENDPOINT),
    "an endpoint with user info": (changed(AWS, endpoint="https://u:p@host"), ENDPOINT),
    "an endpoint with a fragment": (changed(AWS, endpoint="https://host/#x"), ENDPOINT),
    "an endpoint with a query": (changed(AWS, endpoint="https://host/?x=1"), ENDPOINT),
    "an endpoint with port zero": (changed(AWS, endpoint="https://host:0"), ENDPOINT),
    "an endpoint with a huge port": (changed(AWS, endpoint="https://host:99999"), ENDPOINT),
    "an endpoint without a host": (changed(AWS, endpoint="https:///x"), ENDPOINT),
    "an ARN that isn't one": (changed(ROLE, role_arn="role/x"), ARN),
    "a user's ARN": (changed(ROLE, role_arn="arn:aws:iam::123456789012:user/x"), ARN),
    "a short account": (changed(ROLE, role_arn="arn:aws:iam::12345:role/x"), ARN),
    "no external id": (changed(ROLE, external_id=None), "role.aws.external_id"),
    "an account that changes the host": (changed(AZURE, account_name="evil.example/x"), ACCOUNT),
    "an account in capitals": (changed(AZURE, account_name="Storage"), ACCOUNT),
    "an account key that is not base64": (changed(AZURE, account_key="not base64!"), "credential.azure.account_key"),
    "a SAS without sig": (changed(SIG, sas_token=SAS.partition("&sig")[0]), "token.azure.sas_token"),
    "a SAS that is no query": (changed(SIG, sas_token="hello"), "token.azure.sas_token"),
    "an HMAC key id with a slash": (changed(HMAC, access_key_id="GOOG/x"), "credential.gcp.access_key_id"),
    "a key file that is not JSON": (changed(ROBOT, key_text=f"{CANARY} is not JSON"), KEY_TEXT),
    "a key file that is a list": (changed(ROBOT, key_text="[]"), KEY_TEXT),
    "a key file of a user": (changed(ROBOT, key_text=key_file(type="authorized_user")), KEY_TEXT),
    "a key file without a key": (changed(ROBOT, key_text=key_file(private_key=None)), KEY_TEXT),
    "a key file that is deeply nested": (changed(ROBOT, key_text="[" * 60_000), KEY_TEXT),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_field_is_named_and_nothing_is_stored(vouch: Vouch, case: str) -> None:
    """Requirement 21: unknown fields and wrong types refused, nothing is coerced."""
    body, field = WRONG[case]
    for path in ("/v4/credentials", "/v4/credentials/verify"):
        if case == "no payload" and path.endswith("verify"):
            continue  # there it means the stored credential
        answer = await vouch.call("POST", path, body)
        assert answer.status == 400, await answer.text()
        error = answer.json_body
        assert error["code"] == 1001
        wrong = {one["field"]: one["message"] for one in error["validation_error"]["fields"]}
        assert field in wrong
        assert wrong[field].endswith(".")
        assert error["request_id"] == answer.headers["X-Request-ID"]
        assert CANARY not in await answer.text()
    assert (await vouch.call("GET", "/v4/credentials")).json_body["pagination_metadata"]["total_items"] == 0


@pytest.mark.parametrize("slot", ["role", "token"])
async def test_a_kind_that_nobody_verifies_is_unsupported(vouch: Vouch, slot: str) -> None:
    body = {"name": "one", "provider": "GCP", "role": {"gcp": {}}}
    if slot == "token":
        body = {"name": "one", "provider": "AWS", "token": {"aws": {}}}
    answer = await vouch.call("POST", "/v4/credentials", body)
    assert (answer.status, answer.json_body["code"]) == (400, 1003)


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"{",
    "trailing text": b"{} x",
    "bad UTF-8": b'{"name": "\xff"}',
    "half a surrogate pair": b'{"name": "\\ud800"}',
    "half a surrogate pair as a key": b'{"\\udc00": 1}',
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": -Infinity}',
    "a field twice": b'{"name": "a", "name": "b"}',
    "5,000 digits": b'{"name": ' + b"9" * 5_000 + b"}",
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "40 levels": b"[" * 40 + b"]" * 40,
    "40 levels of objects": b'{"a":' * 40 + b"1" + b"}" * 40,
    "a byte order mark": b"\xef\xbb\xbf{}",
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed_json_is_a_400(vouch: Vouch, case: str) -> None:
    """Requirement 32."""
    for method, path in (
        ("POST", "/v4/credentials"),
        ("POST", "/v4/credentials/verify"),
        ("PATCH", "/v4/credentials/one"),
    ):
        headers = {"Content-Type": "application/json"}
        answer = await vouch.call(method, path, data=MALFORMED[case], headers=headers)
        assert answer.status == 400
        assert answer.json_body["code"] == 1000


async def test_a_long_number_is_no_flag(vouch: Vouch) -> None:
    raw = json.dumps(KEY | {"provider_default": 0}).replace(": 0", ": " + "9" * 4000).encode()
    answer = await vouch.call("POST", "/v4/credentials", data=raw, headers={"Content-Type": "application/json"})
    assert answer.status == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_what_is_not_plain_json_is_a_415(vouch: Vouch, headers: dict[str, str]) -> None:
    raw = json.dumps(KEY).encode()
    data = gzip.compress(raw) if "Content-Encoding" in headers else raw
    answer = await vouch.call("POST", "/v4/credentials", data=data, headers=headers)
    answer = await vouch.call("POST", "/v4/credentials", data=json.dumps(KEY).encode(), headers=headers)
    assert (answer.status, answer.json_body["code"]) == (415, 1301)


async def test_a_body_over_the_limit_is_a_413_declared_or_chunked(vouch: Vouch) -> None:
    """Requirement 32."""

    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    headers = {"Content-Type": "application/json"}
    for data in (io.BytesIO(b" " * 1_048_577), chunks()):
        answer = await vouch.call("POST", "/v4/credentials", data=data, headers=headers)
        assert (answer.status, answer.json_body["code"]) == (413, 1300)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=1.5", "page"),
        ("page=", "page"),
        ("page=٣", "page"),
        ("page=99999999999999999999999", "page"),
        ("per_page=1000000000", "per_page"),
        ("per_page=0", "per_page"),
        ("provider=aws", "provider"),
        ("type=password", "type"),
        ("page=1&page=2", "page"),
        ("provider=AWS&provider=GCP", "provider"),
        ("teamspace_id=a&teamspace_id=b", "teamspace_id"),
        ("teamspace_id=a%00b", "teamspace_id"),
        (f"teamspace_id={'t' * 300}", "teamspace_id"),
    ],
)
async def test_a_bad_query_parameter_is_named(vouch: Vouch, query: str, field: str) -> None:
    answer = await vouch.call("GET", f"/v4/credentials?{query}")
    assert answer.status == 400
    assert [one["field"] for one in answer.json_body["validation_error"]["fields"]] == [field]


@pytest.mark.parametrize("name", ["a%2Fb", "a%00b", "%2E%2E%2Fx", "a%5Cb", "x" * 256, "ws_default", "e%CC%81"])
async def test_a_name_in_a_path_obeys_the_rules_of_one_in_a_body(vouch: Vouch, name: str) -> None:
    """Requirement 22."""
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        answer = await vouch.call(method, f"/v4/credentials/{name}", body, allow_redirects=False)
        assert answer.status == 400
        assert answer.json_body["validation_error"]["fields"][0]["field"] == "name"


async def test_an_unknown_path_or_method_has_the_same_error_body(vouch: Vouch) -> None:
    missing = await vouch.call("GET", "/v4/nothing")
    assert (missing.status, missing.json_body["code"]) == (404, 1303)
    wrong = await vouch.call("PUT", "/v4/credentials/one")
    assert (wrong.status, wrong.json_body["code"]) == (405, 1302)
    assert {"GET", "PATCH", "DELETE"} <= set(wrong.headers["Allow"].split(","))
    assert set(missing.json_body) == {"code", "message", "request_id"}
