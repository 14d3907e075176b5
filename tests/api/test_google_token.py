"""`POST /v1/google/token`: which fields of a token exchange are known, and that no other is ignored.

RFC 8693 section 2.1 has more fields than are of use here, and Google's own service takes `options` beside them
(https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token). Some of them narrow a token: who sends such a
field must not get the wide one.
"""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from service.config import Config
from tests.api.aws_leases import assert_nothing_handed_out, audited, before, listed, store
from tests.conftest import Start, Vouch
from tests.peers.google import TokenEndpoint

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ALL_KNOWN = {
    "grant_type": GRANT,
    "requested_token_type": ACCESS_TOKEN,
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/v",
    "scope": "https://www.googleapis.com/auth/devstorage.read_only",
}
BOUNDARY = json.dumps({"accessBoundary": {"accessBoundaryRules": []}})
UNKNOWN = {
    "options": BOUNDARY,
    "resource": "https://storage.googleapis.com/raw",
    "bucket": "raw",
    "prefix": "a/",
    "access": "read",
    "ttl_seconds": "900",
    "name": "robot",
    "teamspace_id": "red",
    "actor_token": "somebody",
    "actor_token_type": ACCESS_TOKEN,
    "client_id": "me",
    "access_boundary": BOUNDARY,
}


@pytest.fixture
async def vouch(start: Start, config: Config, google: TokenEndpoint) -> Vouch:
    """A vouch with a service account to lease."""
    vouch = await start(before(config, "http://127.0.0.1:9", google=google.origin))
    key_file = {"gcp": {"key_text": json.dumps(google.make_key())}}
    await store(vouch, {"name": "robot", "provider": "GCP", "token": key_file})
    return vouch


async def exchange(vouch: Vouch, form: dict[str, str], query: str = "name=robot") -> Any:
    """The answer to one of Google's libraries."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    sent = urlencode({"grant_type": GRANT, "subject_token": vouch.admin_key} | form)
    return await vouch.call("POST", f"/v1/google/token?{query}", key=None, data=sent, headers=headers)


def named(answer: Any) -> list[str]:
    return [one["field"] for one in answer.json_body["validation_error"]["fields"]]


async def test_the_fields_that_googles_libraries_send_are_all_known(vouch: Vouch, google: TokenEndpoint) -> None:
    answer = await exchange(vouch, ALL_KNOWN)
    assert answer.status == 200, answer.json_body
    assert answer.json_body["access_token"] == google.tokens[0]
    assert len(await listed(vouch)) == 1


@pytest.mark.parametrize("name", UNKNOWN)
async def test_a_field_that_is_not_known_is_refused_by_its_name(vouch: Vouch, google: TokenEndpoint, name: str) -> None:
    """Also an empty one: of a variable that was not set."""
    for value in (UNKNOWN[name], ""):
        answer = await exchange(vouch, ALL_KNOWN | {name: value})
        assert (answer.status, answer.json_body["code"]) == (400, 1001)
        assert answer.json_body["error"] == "invalid_request"
        assert named(answer) == [name]
    assert google.requests == []
    await assert_nothing_handed_out(vouch, answer)


async def test_every_field_that_is_not_known_is_named(vouch: Vouch, google: TokenEndpoint) -> None:
    answer = await exchange(vouch, UNKNOWN)
    assert answer.status == 400
    assert set(named(answer)) == set(UNKNOWN)
    assert google.requests == []


@pytest.mark.parametrize("name", ["Options", "OPTIONS", "scope ", "a" * 500, "né", "\x00", "<script>", ""], ids=ascii)
async def test_a_field_whose_name_is_no_word_is_refused_and_not_repeated(
    vouch: Vouch, google: TokenEndpoint, name: str
) -> None:
    answer = await exchange(vouch, {name: "x"})
    assert (answer.status, answer.json_body["code"]) == (400, 1001)
    assert named(answer) == ["body"]
    assert not name or name not in await answer.text()
    assert google.requests == []


async def test_what_narrows_a_token_is_taken_where_it_is_known(vouch: Vouch, google: TokenEndpoint) -> None:
    """The query is ours: the form is the library's."""
    answer = await exchange(vouch, ALL_KNOWN, "name=robot&bucket=raw&prefix=a/")
    assert answer.status == 200, answer.json_body
    assert answer.json_body["access_token"] == google.sts.tokens[0]
    (row,) = await listed(vouch)
    assert row["scope"] == {"bucket": "raw", "prefix": "a/", "access": "read"}


@pytest.mark.parametrize(
    ("form", "field", "word"),
    [
        ({"grant_type": ""}, "grant_type", "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "grant_type", "unsupported_grant_type"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "requested_token_type", "invalid_request"),
        ({"requested_token_type": ""}, "requested_token_type", "invalid_request"),
    ],
)
async def test_another_exchange_than_for_an_access_token_is_refused(
    vouch: Vouch, google: TokenEndpoint, form: dict[str, str], field: str, word: str
) -> None:
    answer = await exchange(vouch, form)
    assert (answer.status, answer.json_body["error"]) == (400, word)
    assert named(answer) == [field]
    assert google.requests == []


async def test_a_stranger_is_told_what_is_wrong_with_the_form_and_nothing_else(
    vouch: Vouch, google: TokenEndpoint
) -> None:
    answer = await exchange(vouch, {"subject_token": "vouch_0000_0000", "options": "x"})
    assert answer.status == 400
    answer = await exchange(vouch, {"subject_token": "vouch_0000_0000"})
    assert (answer.status, answer.json_body["error"]) == (401, "invalid_client")
    assert google.requests == []
    assert audited(vouch.config) == []
