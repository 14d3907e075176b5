"""Bad input to the paths of stock SDKs: a 4xx that says what to do, as the SDK reads it; no lease, no provider."""

import gzip
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.config import Config
from tests.api.payloads import CANARY, create_body
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import AwsStub
from tests.peers.google import TokenEndpoint
from verifiers.settings import AwsSettings, GcpSettings, ProviderSettings

AWS, GOOGLE = "/v1/aws/credentials", "/v1/google/token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
KEY = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": CANARY}
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Sdks:
    """A vouch with a role and a service account to lease, and the providers that nobody should ask."""

    vouch: Vouch
    aws: AwsStub
    google: TokenEndpoint

    async def container(self, query: str, *, method: str = "GET", **more: Any) -> Any:
        """The answer to an AWS SDK."""
        return await self.vouch.call(method, f"{AWS}?{query}", **more)

    async def exchange(self, form: Any = None, query: str = "name=robot", **headers: str) -> Any:
        """The answer to one of Google's libraries; `form` is what differs from a good one, or the body itself."""
        good = {"grant_type": EXCHANGE, "subject_token": self.vouch.admin_key, "subject_token_type": "jwt"}
        if form is None or isinstance(form, Mapping):
            merged = good | dict(form or {})
            form = urlencode({name: value for name, value in merged.items() if value is not None})
        more = {"Content-Type": FORM} | headers
        return await self.vouch.call("POST", f"{GOOGLE}?{query}", key=None, data=form, headers=more)

    async def assert_untouched(self) -> None:
        """No lease was made, and no provider asked."""
        assert (await self.vouch.call("GET", "/v1/leases")).json_body["data"] == []
        assert self.aws.received == []
        assert self.google.requests == []


@pytest.fixture
async def sdks(
    start: Start, config: Config, aws_stub: AwsStub, google: TokenEndpoint, no_aws_identity: pytest.MonkeyPatch
) -> Sdks:
    """With nothing limited: every case is a failure."""
    limits = replace(config.limits, authentication_failures=0, leases_per_caller=0)
    providers = ProviderSettings(
        aws=AwsSettings(sts_endpoint=aws_stub.url),
        gcp=GcpSettings(token_uri=google.token_uri, sts_endpoint=google.sts_endpoint),
    )
    vouch = await start(replace(config, limits=limits, providers=providers))
    robot = {"token": {"gcp": {"key_text": json.dumps(google.make_key())}}}
    bodies = [
        create_body("aws role", "role", allowed_in_tasks=True),
        create_body("aws key", "key", allowed_in_tasks=True) | {"credential": {"aws": KEY}},
        create_body("gcp service account", "robot", allowed_in_tasks=True) | robot,
        create_body("gcp hmac", "hmac", allowed_in_tasks=True),
        create_body("gcp service account", "not-for-tasks"),
    ]
    for body in bodies:
        assert (await vouch.call("POST", "/v4/credentials", body)).status == 201
    return Sdks(vouch, aws_stub, google)


def fields_of(answer: Any) -> list[str]:
    """The parameters that an answer names."""
    assert (answer.status, int(answer.json_body["code"])) == (400, 1001), answer.json_body
    return [one["field"] for one in answer.json_body["validation_error"]["fields"]]


QUERIES = [
    ("name=&bucket=b0", "name"),
    ("name=a/b", "name"),
    ("name=a%00b", "name"),
    ("name=%FF", "name"),
    ("name=" + "x" * 256, "name"),
    ("name={0}&name={0}", "name"),
    ("teamspace_id=%01", "teamspace_id"),
    ("name={0}&bucket=", "bucket"),
    ("name={0}&bucket=UPPER", "bucket"),
    ("name={0}&bucket=*", "bucket"),
    ("name={0}&bucket=s3://bucket", "bucket"),
    ("name={0}&bucket=b0&bucket=b1", "bucket"),
    ("name={0}&bucket=" + "b" * 500, "bucket"),
    ("name={0}&prefix=raw/", "bucket"),
    ("name={0}&access=read", "bucket"),
    ("name={0}&bucket=b0&prefix=", "prefix"),
    ("name={0}&bucket=b0&prefix=a/../b", "prefix"),
    ("name={0}&bucket=b0&prefix=/a", "prefix"),
    ("name={0}&bucket=b0&prefix=a*", "prefix"),
    ("name={0}&bucket=b0&prefix=a%0Ab", "prefix"),
    ("name={0}&bucket=b0&prefix=%ED%A0%80", "prefix"),
    ("name={0}&bucket=b0&prefix=%24%7Baws:username}", "prefix"),
    ("name={0}&bucket=b0&prefix=" + "p" * 513, "prefix"),
    ("name={0}&bucket=b0&access=", "access"),
    ("name={0}&bucket=b0&access=READ", "access"),
    ("name={0}&bucket=b0&access=admin", "access"),
    ("name={0}&ttl_seconds=", "ttl_seconds"),
    ("name={0}&ttl_seconds=0", "ttl_seconds"),
    ("name={0}&ttl_seconds=-900", "ttl_seconds"),
    ("name={0}&ttl_seconds=%2B900", "ttl_seconds"),
    ("name={0}&ttl_seconds=900.0", "ttl_seconds"),
    ("name={0}&ttl_seconds=9e2", "ttl_seconds"),
    ("name={0}&ttl_seconds=%D9%A9%D9%A0%D9%A0", "ttl_seconds"),
    ("name={0}&ttl_seconds=31536000", "ttl_seconds"),
    ("name={0}&ttl_seconds=3601", "ttl_seconds"),
    ("name={0}&ttl_seconds=" + "9" * 5000, "ttl_seconds"),
    ("name={0}&ttl_seconds=900&ttl_seconds=900", "ttl_seconds"),
    ("name={0}&purpose=", "purpose"),
    ("name={0}&purpose=a%07b", "purpose"),
    ("name={0}&purpose=" + "p" * 256, "purpose"),
    ("name={0}&buckets=b0", "buckets"),
    ("name={0}&force=true", "force"),
    ("name={0}&" + "x" * 300 + "=1", "x" * 64),
]


@pytest.mark.parametrize(("query", "field"), QUERIES, ids=lambda value: str(value)[:40])
async def test_a_wrong_parameter_is_named_to_both_sdks(sdks: Sdks, query: str, field: str) -> None:
    """Requirement 21: a misspelt or empty one, too, would get a wider lease than was meant."""
    container = await sdks.container(query.replace("{0}", "role"))
    exchanged = await sdks.exchange(query=query.replace("{0}", "robot"))
    assert fields_of(container) == [field]
    assert fields_of(exchanged) == [field]
    assert exchanged.json_body["error"] == "invalid_request"
    await sdks.assert_untouched()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("name=key&bucket=b0", "bucket"),
        ("name=key&external_id=x", "external_id"),
        ("name=role&ttl_seconds=60", "ttl_seconds"),
        ("name=robot", "provider"),
        ("name=key&role_arn=", "role_arn"),
        ("name=key&role_arn=a%0Db", "role_arn"),
    ],
)
async def test_what_the_kind_cannot_do_is_said_of_the_parameter_too(sdks: Sdks, query: str, field: str) -> None:
    answer = await sdks.container(query)
    assert field in fields_of(answer)
    assert not any(name.startswith("scope") for name in fields_of(answer))
    await sdks.assert_untouched()


async def test_a_teamspace_without_such_a_credential_is_a_404(sdks: Sdks) -> None:
    await sdks.vouch.call("PATCH", "/v4/credentials/role", {"provider_default": True})
    for query in ("name=robot&teamspace_id=a-team", "teamspace_id=a-team", ""):
        answer = await sdks.exchange(query=query)
        assert (answer.status, answer.json_body["code"], answer.json_body["error"]) == (
            404,
            1200,
            "invalid_target",
        )
    await sdks.assert_untouched()


async def test_what_cannot_be_leased_is_said_as_the_libraries_read_it(sdks: Sdks) -> None:
    for name, status, code, word in (
        ("hmac", 422, 1403, "invalid_target"),
        ("not-for-tasks", 403, 1101, "unauthorized_client"),
        ("nowhere", 404, 1200, "invalid_target"),
    ):
        answer = await sdks.exchange(query=f"name={name}")
        assert (answer.status, int(answer.json_body["code"])) == (status, code)
        assert answer.json_body["error"] == word
        assert answer.json_body["error_description"] == answer.json_body["message"]
    await sdks.assert_untouched()


# The form


@pytest.mark.parametrize(
    ("change", "field", "word"),
    [
        ({"grant_type": None}, "grant_type", "unsupported_grant_type"),
        ({"grant_type": ""}, "grant_type", "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "grant_type", "unsupported_grant_type"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}, "grant_type", "unsupported_grant_type"),
        ({"requested_token_type": ""}, "requested_token_type", "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "requested_token_type", "invalid_request"),
    ],
)
async def test_another_grant_is_refused_before_the_token_is_looked_at(
    sdks: Sdks, change: dict[str, Any], field: str, word: str
) -> None:
    answer = await sdks.exchange(change | {"subject_token": "wrong"})
    assert fields_of(answer) == [field]
    assert answer.json_body["error"] == word
    await sdks.assert_untouched()


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        "  \n",
        "a.b.c",
        f"vouch_0123456789abcdef_{CANARY}",
        "vouch_",
        "Bearer vouch_0123456789abcdef_x",
        "\x00",
        "é",
        "x" * 100_000,
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_without_a_good_subject_token_nobody_is_let_in(sdks: Sdks, token: str | None) -> None:
    """Requirement 20."""
    answer = await sdks.exchange({"subject_token": token})
    assert (answer.status, int(answer.json_body["code"])) == (401, 1100)
    assert answer.json_body["error"] == "invalid_client"
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert CANARY not in await answer.text()
    await sdks.assert_untouched()


async def test_a_subject_token_may_have_the_line_end_of_its_file(sdks: Sdks) -> None:
    """Google's file-sourced credentials send the file as it is."""
    answer = await sdks.exchange({"subject_token": f"{sdks.vouch.admin_key}\n", "requested_token_type": ACCESS_TOKEN})
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json_body["access_token"] == sdks.google.tokens[-1]
    assert 0 < answer.json_body["expires_in"] <= 3600


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"&&&", 400),
        (b"grant_type", 400),
        (b"\xff\xfe", 400),
        (b"grant_type=%FF", 400),
        (b"subject_token=%ED%A0%80", 400),
        (b"grant_type=a&grant_type=a", 400),
        (b"&".join(b"f%d=x" % number for number in range(101)), 400),
        (json.dumps({"grant_type": EXCHANGE}).encode(), 400),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_a_body_that_is_no_such_form_is_refused(sdks: Sdks, body: bytes, status: int) -> None:
    """Requirement 32."""
    answer = await sdks.exchange(body)
    assert answer.status == status
    assert answer.json_body["error"] in ("invalid_request", "unsupported_grant_type")
    await sdks.assert_untouched()


async def test_a_repeated_subject_token_is_refused(sdks: Sdks) -> None:
    """RFC 6749 section 3.2: two parsers could take two different ones."""
    pairs = [("grant_type", EXCHANGE), ("subject_token", "x"), ("subject_token", sdks.vouch.admin_key)]
    answer = await sdks.exchange(urlencode(pairs))
    assert (answer.status, int(answer.json_body["code"])) == (400, 1000)
    await sdks.assert_untouched()


async def test_a_form_over_the_limit_is_refused_declared_or_found(sdks: Sdks) -> None:
    """Requirement 32."""

    async def chunks() -> Any:
        for _ in range(20):
            yield b"a" * 65_536

    for body in (io.BytesIO(b"grant_type=" + b"a" * 1_048_576), chunks()):
        answer = await sdks.exchange(body)
        assert (answer.status, int(answer.json_body["code"]), answer.json_body["error"]) == (
            413,
            1300,
            "invalid_request",
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "text/plain"},
        {"Content-Type": f"{FORM}; charset=utf-16"},
        {"Content-Encoding": "gzip"},
    ],
    ids=str,
)
async def test_another_media_type_is_a_415(sdks: Sdks, headers: dict[str, str]) -> None:
    body = urlencode({"grant_type": EXCHANGE, "subject_token": sdks.vouch.admin_key}).encode()
    sent = gzip.compress(body) if "Content-Encoding" in headers else body
    answer = await sdks.exchange(sent, **headers)
    assert (answer.status, int(answer.json_body["code"])) == (415, 1301)
    await sdks.assert_untouched()


async def test_a_header_beside_the_subject_token_is_two_schemes(sdks: Sdks) -> None:
    """Requirement 14."""
    key = sdks.vouch.admin_key
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-TILEDB-REST-API-KEY": key}, {"Authorization": ""}):
        answer = await sdks.exchange(**headers)
        assert (answer.status, int(answer.json_body["code"])) == (400, 1002)
    await sdks.assert_untouched()


# The header of AWS SDKs


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "vouch_",
        "Token x",
        "Basic x",
        "a.b.c",
        f"vouch_0123456789abcdef_{CANARY}",
        "Bearer a b",
    ],
)
async def test_a_wrong_token_file_is_a_401_in_json(sdks: Sdks, header: str) -> None:
    answer = await sdks.container("name=role", key=None, headers={"Authorization": header})
    assert (answer.status, int(answer.json_body["code"])) == (401, 1100)
    assert CANARY not in await answer.text()
    await sdks.assert_untouched()


async def test_a_token_without_a_scheme_opens_no_other_path(sdks: Sdks) -> None:
    """Requirement 20."""
    bare = {"Authorization": sdks.vouch.admin_key}
    for path in ("/v1/leases", "/v1/resolve?provider=AWS&name=role", "/v4/credentials", "/api/credentials"):
        answer = await sdks.vouch.call("GET", path, key=None, headers=bare)
        assert answer.status == 401, path
    assert (await sdks.container("name=nowhere", key=None, headers=bare)).status == 404


async def test_two_schemes_are_refused_by_the_container_path_too(sdks: Sdks) -> None:
    """Requirement 14."""
    answer = await sdks.container("name=role", headers={"Authorization": sdks.vouch.admin_key})
    assert (answer.status, int(answer.json_body["code"])) == (400, 1002)
    await sdks.assert_untouched()


# Methods and paths


async def test_another_method_is_a_405_that_names_the_right_one(sdks: Sdks) -> None:
    for path, right in ((AWS, "GET"), (GOOGLE, "POST")):
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"} - {right}:
            answer = await sdks.vouch.call(method, f"{path}?name=role")
            assert (answer.status, answer.headers["Allow"]) == (405, right), (method, path)
    await sdks.assert_untouched()


async def test_a_path_that_is_none_is_a_404_in_the_librarys_form(sdks: Sdks) -> None:
    answer = await sdks.vouch.call("POST", "/v1/google/tokens", key=None)
    assert (answer.status, int(answer.json_body["code"])) == (404, 1303)
    assert "error" in answer.json_body
    assert "error" not in (await sdks.vouch.call("GET", "/v1/aws/credential")).json_body


# What holds of any input

_TEXTS = st.text(max_size=40) | st.sampled_from(["role", "robot", "b0", "raw/", "read", "900", "..", "\x00", "é", "*"])
_NAMES = ["name", "teamspace_id", "bucket", "prefix", "access", "ttl_seconds", "purpose", "role_arn", "external_id"]
_PAIRS = st.lists(st.tuples(st.sampled_from(_NAMES) | st.text(max_size=8), _TEXTS), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=_PAIRS, form=_PAIRS, known=st.booleans())
async def test_nothing_that_is_sent_makes_a_500(
    sdks: Sdks, query: list[tuple[str, str]], form: list[tuple[str, str]], known: bool
) -> None:
    """Requirement 32: 502 and 422 are the providers' answers to what was right."""
    asked = urlencode(query, errors="replace")
    good = [("grant_type", EXCHANGE), ("subject_token", sdks.vouch.admin_key)]
    container = await sdks.container(asked)
    exchanged = await sdks.exchange(urlencode([*good, *form] if known else form, errors="replace"), asked)
    for answer in (container, exchanged):
        assert answer.status in (200, 400, 401, 404, 422, 502, 503), await answer.text()
        assert int(answer.json_body["code"]) != 1900 if answer.status != 200 else answer.json_body


async def test_an_error_of_the_container_path_has_its_code_as_text(sdks: Sdks) -> None:
    """AWS's SDK for Go reads `code` as text, and shows nothing of an answer that has another."""
    answer = await sdks.container("name=nothing")
    assert answer.status == 404
    assert answer.json_body["code"] == "1200"
    assert answer.json_body["message"] == "There is no such credential."
