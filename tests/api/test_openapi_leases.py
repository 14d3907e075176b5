"""What is answered of leases is what the document says, for every form of material and every path.

Validation is stricter than the document: a field that it does not name is an error here, so that none is forgotten.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from jsonschema import FormatChecker

from service.config import Config
from tests.api.aws_leases import ROLE, before, key_body, own_session, session, store
from tests.api.payloads import SAS, create_body
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import AwsStub, Scripted, sts_error
from tests.peers.google import TokenEndpoint
from verifiers.aws_role import IDENTITY

CONTAINER_OF_SAS = "https://storageacct.blob.core.windows.net/raw"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"


class Document:
    """The document, and how an answer is held to it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told
        self._components = closed(told["components"])

    def hold(self, answer: Any, method: str, path: str) -> Any:
        """The body of an answer, which is as the operation says for its status, and of the type that it says."""
        operation = self._told["paths"][path][method]
        told = operation["responses"][str(answer.status)]
        schema = told["content"][answer.content_type]["schema"]
        checker = jsonschema.Draft202012Validator(
            {**closed(schema), "components": self._components}, format_checker=FormatChecker()
        )
        checker.validate(answer.json_body)
        return answer.json_body

    def takes(self, method: str, path: str, body: Any) -> bool:
        """Whether the operation's request body may be that."""
        content = self._told["paths"][path][method]["requestBody"]["content"]
        (schema,) = [one["schema"] for one in content.values()]
        return bool(jsonschema.Draft202012Validator({**closed(schema), "components": self._components}).is_valid(body))

    def parameters(self, method: str, path: str) -> set[str]:
        """The names of those in the query."""
        return {one["name"] for one in self._told["paths"][path][method]["parameters"] if one["in"] == "query"}


def closed(schema: Any) -> Any:
    """The schema with every object closed to fields that it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if found.get("type") == "object" and "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


@pytest.fixture
async def vouch(start: Start, config: Config, aws_stub: AwsStub, google: TokenEndpoint) -> Vouch:
    return await start(before(config, aws_stub.url, google=google.origin))


@pytest.fixture
async def document(vouch: Vouch) -> Document:
    return Document((await vouch.call("GET", "/openapi.json", key=None)).json_body)


@pytest.fixture
def own_identity(no_aws_identity: pytest.MonkeyPatch) -> Iterator[None]:
    """The service's own AWS identity, in its environment."""
    no_aws_identity.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHESERVICE0000")
    no_aws_identity.setenv("AWS_SECRET_ACCESS_KEY", "of-the-service-itself")
    IDENTITY.forget()
    yield
    IDENTITY.forget()


LEASE = "/v1/credentials/{id}/lease"


async def leased(vouch: Vouch, document: Document, id_: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """A lease whose request and answer are as the document says."""
    assert document.takes("post", LEASE, wanted)
    answer = await vouch.call("POST", f"/v1/credentials/{id_}/lease", wanted)
    assert answer.status == 200, answer.json_body
    found: dict[str, Any] = document.hold(answer, "post", LEASE)
    return found


# Every form of material


async def test_a_session_of_a_role_is_as_the_document_says(
    vouch: Vouch, document: Document, aws_stub: AwsStub, own_identity: None
) -> None:
    """Of one that names an endpoint for its jobs: that is in the material, too."""
    role = create_body("aws role", "role")
    role["role"]["aws"] |= {"endpoint": "https://minio.example.org:9000", "use_path_style": True}
    aws_stub.script(session())
    scope = {"bucket": "raw", "prefix": "a/", "access": "read_write"}
    body = await leased(vouch, document, await store(vouch, role), {"ttl_seconds": 900, "scope": scope, "purpose": "p"})
    assert set(body["material"]) == {
        "form",
        "access_key_id",
        "secret_access_key",
        "session_token",
        "endpoint",
        "use_path_style",
    }


@pytest.mark.parametrize("through_a_role", [True, False])
async def test_a_session_of_a_key_is_as_the_document_says(
    vouch: Vouch, document: Document, aws_stub: AwsStub, through_a_role: bool
) -> None:
    id_ = await store(vouch, key_body())
    aws_stub.script(session() if through_a_role else own_session())
    wanted: dict[str, Any] = {"role_arn": ROLE, "external_id": "e-1", "force": True} if through_a_role else {}
    body = await leased(vouch, document, id_, wanted)
    assert body["role_arn"] == (ROLE if through_a_role else "")
    assert body["forced"] is through_a_role


async def test_a_sas_of_a_key_is_as_the_document_says(vouch: Vouch, document: Document) -> None:
    id_ = await store(vouch, create_body("azure key", "blobs"))
    body = await leased(vouch, document, id_, {"scope": {"bucket": "raw"}})
    assert body["scope"] == {"bucket": "raw", "prefix": "", "access": "read"}


@pytest.mark.parametrize(
    ("resource", "endpoint", "fields"),
    [
        ("c", CONTAINER_OF_SAS, {"container"}),
        ("b", f"{CONTAINER_OF_SAS}/a.csv", {"container", "blob"}),
        ("b", "https://storageacct.blob.core.windows.net", set()),
    ],
    ids=["container", "blob", "unknown"],
)
async def test_a_registered_sas_is_as_the_document_says(
    vouch: Vouch, document: Document, resource: str, endpoint: str, fields: set[str]
) -> None:
    end = f"{datetime.now(UTC) + timedelta(minutes=20):%Y-%m-%dT%H:%M:%SZ}"
    sas = f"sv=2023-11-03&sr={resource}&sp=r&se={end}&spr=https&sig={SAS.rpartition('sig=')[2]}"
    payload = {"account_name": "storageacct", "sas_token": sas, "blob_endpoint": endpoint}
    id_ = await store(vouch, {"name": "sas", "provider": "AZURE", "token": {"azure": payload}})
    body = await leased(vouch, document, id_, {"ttl_seconds": 3600})
    assert set(body["material"]) == {"form", "account_name", "sas_token", "blob_endpoint"} | fields


@pytest.mark.parametrize("wanted", [{}, {"scope": {"bucket": "raw", "access": "write"}}], ids=["whole", "narrowed"])
async def test_a_google_token_is_as_the_document_says(
    vouch: Vouch, document: Document, google: TokenEndpoint, wanted: dict[str, Any]
) -> None:
    key_file = {"gcp": {"key_text": json.dumps(google.make_key())}}
    id_ = await store(vouch, {"name": "robot", "provider": "GCP", "token": key_file})
    body = await leased(vouch, document, id_, wanted)
    assert set(body["material"]) == {"form", "access_token"}


# The other paths


async def test_the_list_is_as_the_document_says(start: Start, config: Config) -> None:
    """Of callers who are there, revoked, and whom nobody here can know about."""
    vouch = await start(replace(config, auth=replace(config.auth, anonymous_role="admin")))
    document = Document((await vouch.call("GET", "/openapi.json", key=None)).json_body)
    empty = document.hold(await vouch.call("GET", "/v1/leases"), "get", "/v1/leases")
    assert empty == {"data": [], "next_cursor": None}
    id_ = await store(vouch, create_body("azure key", "blobs"))
    for key in ("", None):
        wanted = {"scope": {"bucket": "raw"}}
        assert (await vouch.call("POST", f"/v1/credentials/{id_}/lease", wanted, key=key)).status == 200
    page = document.hold(await vouch.call("GET", "/v1/leases?limit=1"), "get", "/v1/leases")
    assert page["next_cursor"]
    rest = document.hold(await vouch.call("GET", f"/v1/leases?cursor={page['next_cursor']}"), "get", "/v1/leases")
    assert rest["next_cursor"] is None
    assert [one["caller"]["revoked"] for one in (*page["data"], *rest["data"])] == [None, False]


async def test_what_serves_is_as_the_document_says(vouch: Vouch, document: Document, aws_stub: AwsStub) -> None:
    await store(vouch, create_body("gcp hmac", "hmac", provider_default=True))
    await store(vouch, key_body())
    for query in ("provider=AWS&name=lake", "provider=GCP&teamspace_id=red", "provider=GCP&name=gone"):
        document.hold(await vouch.call("GET", f"/v1/resolve?{query}"), "get", "/v1/resolve")
    aws_stub.script(sts_error("InvalidClientTokenId"))
    assert (await vouch.call("POST", "/v4/credentials/verify", {"name": "lake", "provider": "AWS"})).status == 422
    told = document.hold(await vouch.call("GET", "/v1/resolve?provider=AWS&name=lake"), "get", "/v1/resolve")
    assert told["status"] == "failed"


async def test_container_credentials_are_as_the_document_says(
    vouch: Vouch, document: Document, aws_stub: AwsStub
) -> None:
    await store(vouch, key_body())
    aws_stub.script(own_session(3600))
    path = "/v1/aws/credentials"
    document.hold(await vouch.call("GET", f"{path}?name=lake"), "get", path)


@pytest.mark.parametrize("query", ["name=robot", "name=robot&bucket=raw&prefix=a/&access=read_write"])
async def test_an_exchanged_token_is_as_the_document_says(
    vouch: Vouch, document: Document, google: TokenEndpoint, query: str
) -> None:
    key_file = {"gcp": {"key_text": json.dumps(google.make_key())}}
    await store(vouch, {"name": "robot", "provider": "GCP", "token": key_file})
    path, form = "/v1/google/token", {"grant_type": GRANT, "subject_token": vouch.admin_key}
    assert document.takes("post", path, form)
    assert not document.takes("post", path, form | {"options": "{}"})
    document.hold(await vouch.call("POST", f"{path}?{query}", key=None, data=form), "post", path)


# Errors


async def test_errors_are_as_the_document_says(vouch: Vouch, document: Document, aws_stub: AwsStub) -> None:
    """Each status of a lease is documented, and each has the body that the document says."""
    id_ = await store(vouch, key_body())
    blocked = await store(vouch, create_body("gcp hmac", "hmac"))
    viewer = await vouch.make_key("viewer")
    seen = {}
    for wanted, where, key, scripted in (
        ({"ttl_seconds": 0}, id_, "", None),
        ({}, id_, "vouch_0000_0000", None),
        ({}, id_, viewer, None),
        ({}, "0b6c4a4e-0000-4000-8000-000000000000", "", None),
        ({}, blocked, "", None),
        ({}, id_, "", sts_error("AccessDenied")),
        ({}, id_, "", Scripted(500)),
        ({}, id_, "", sts_error("Throttling", 400)),
        ({"ttl_seconds": 3600}, id_, "", own_session(43_200)),
    ):
        if scripted is not None:
            aws_stub.script(scripted)
        answer = await vouch.call("POST", f"/v1/credentials/{where}/lease", wanted, key=key)
        seen[answer.json_body["code"]] = answer.status
        document.hold(answer, "post", LEASE)
    assert seen == {1001: 400, 1100: 401, 1101: 403, 1200: 404, 1403: 422, 1400: 422, 1401: 503}


async def test_errors_of_stock_sdks_are_as_the_document_says(
    vouch: Vouch, document: Document, aws_stub: AwsStub
) -> None:
    """AWS's have a code that is text; Google's have the fields of OAuth beside ours."""
    await store(vouch, key_body())
    aws_stub.script(Scripted(500))
    path = "/v1/aws/credentials"
    for query, key, status in (
        ("name=lake", "", 502),
        ("name=lake&bukcet=raw", "", 400),
        ("name=gone", "", 404),
        ("name=lake", "vouch_0000_0000", 401),
    ):
        answer = await vouch.call("GET", f"{path}?{query}", key=key)
        assert answer.status == status
        document.hold(answer, "get", path)
    path, form = "/v1/google/token", {"grant_type": GRANT, "subject_token": vouch.admin_key}
    for changed, status in (
        ({"grant_type": "x"}, 400),
        ({"subject_token": "x"}, 401),
        ({}, 404),
        ({"options": ""}, 400),
    ):
        answer = await vouch.call("POST", path, key=None, data=form | changed)
        assert answer.status == status
        body = document.hold(answer, "post", path)
        assert body["error"]
        assert body["error_description"]


async def test_the_document_names_the_parameters_that_are_taken(vouch: Vouch, document: Document) -> None:
    """Whoever sends one that is not named is refused, so none may be missing."""
    common = {"teamspace_id", "name", "bucket", "prefix", "access", "ttl_seconds", "purpose"}
    assert document.parameters("get", "/v1/aws/credentials") == common | {"role_arn", "external_id"}
    assert common <= document.parameters("post", "/v1/google/token")
    for name in document.parameters("get", "/v1/aws/credentials"):
        answer = await vouch.call("GET", f"/v1/aws/credentials?{name}=")
        fields = answer.json_body.get("validation_error", {"fields": []})["fields"]
        assert "Unknown parameter." not in [one["message"] for one in fields]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl_seconds": 0},
        {"ttl_seconds": 43_201},
        {"ttl_seconds": "900"},
        {"scope": {}},
        {"scope": {"bucket": "raw", "access": "admin"}},
        {"scope": {"bucket": "raw", "region": "x"}},
        {"force": "yes"},
        {"ttl": 5},
    ],
    ids=json.dumps,
)
async def test_the_document_refuses_what_the_service_refuses(
    vouch: Vouch, document: Document, wrong: dict[str, Any]
) -> None:
    assert not document.takes("post", LEASE, wrong)
    id_ = await store(vouch, create_body("azure key", "blobs"))
    answer = await vouch.call("POST", f"/v1/credentials/{id_}/lease", {"scope": {"bucket": "raw"}} | wrong)
    assert answer.status == 400
