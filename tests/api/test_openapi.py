"""The document describes what the service does, and the page renders it without the internet."""

import re
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.config import Config
from tests.api.native import (
    OTHER_KEY,
    REFUSED,
    SILENT,
    VERIFY,
    WORKS,
    file_item,
    item,
    key_item,
    new_id,
    providers,
)
from tests.api.native import (
    path as path_of,
)
from tests.api.payloads import KINDS, create_body
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import AwsStub


async def document(vouch: Vouch) -> dict[str, Any]:
    answer = await vouch.call("GET", "/openapi.json", key=None)
    assert answer.status == 200
    body: dict[str, Any] = answer.json_body
    return body


def validate(document: dict[str, Any], component: str, value: Any) -> None:
    schema = {"$ref": f"#/components/schemas/{component}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


async def test_the_document_is_valid_openapi_3_1(vouch: Vouch) -> None:
    told = await document(vouch)
    assert told["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(told).validate()


async def test_every_route_is_documented_and_every_documented_path_is_a_route(vouch: Vouch) -> None:
    told = await document(vouch)
    documented = {(method, path) for path, operations in told["paths"].items() for method in operations}
    app = vouch.client.server.app
    routed = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routed - documented == {
        ("get", path)
        for path in ("/openapi.json", "/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js")
    }
    assert documented <= routed


@pytest.mark.parametrize("kind", KINDS)
async def test_requests_and_answers_are_as_the_document_says(vouch: Vouch, kind: str) -> None:
    told = await document(vouch)
    body = create_body(kind, "one", provider_default=True)
    validate(told, "CredentialCreateRequest", body)
    validate(told, "CredentialsVerifyRequest", body)
    assert (await vouch.call("POST", "/v4/credentials", body)).status == 201
    validate(told, "CredentialGetResponse", (await vouch.call("GET", "/v4/credentials/one")).json_body)
    validate(told, "CredentialsListResponse", (await vouch.call("GET", "/v4/credentials")).json_body)
    validate(told, "Error", (await vouch.call("GET", "/v4/credentials/none")).json_body)
    validate(told, "Error", (await vouch.call("POST", "/v4/credentials", body | {"x": 1})).json_body)


async def test_the_dqops_dialect_answers_as_the_document_says(vouch: Vouch) -> None:
    told = await document(vouch)
    body = {"credential_name": "one", "type": "text", "text_value": "x"}
    validate(told, "SharedCredentialModel", body)
    assert (await vouch.call("POST", "/api/credentials", body)).status == 201
    validate(told, "SharedCredentialModel", (await vouch.call("GET", "/api/credentials/one")).json_body)
    for line in (await vouch.call("GET", "/api/credentials")).json_body:
        validate(told, "SharedCredentialListModel", line)
    for method, path in (
        ("GET", "/api/credentials/none"),
        ("POST", "/api/credentials/one/verify"),
        ("GET", "/api/none"),
    ):
        refused = await vouch.call(method, path)
        validate(told, "SpringErrorPayload", refused.json_body)
    validate(
        told, "VerificationReport", (await vouch.call("POST", "/api/credentials/one/verify")).json_body["verification"]
    )


async def test_the_document_refuses_what_the_service_refuses(vouch: Vouch) -> None:
    told = await document(vouch)
    body = create_body("aws key", "one")
    for wrong in (
        body | {"unknown": 1},
        body | create_body("aws role", "x"),
        {name: value for name, value in body.items() if name != "credential"},
        body | {"provider_default": "yes"},
        body | {"name": "a/b"},
        body | {"credential": {}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validate(told, "CredentialCreateRequest", wrong)


async def test_the_page_needs_nothing_from_elsewhere(vouch: Vouch) -> None:
    page = await vouch.call("GET", "/docs", key=None)
    assert page.content_type == "text/html"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', await page.text())
    assert len(linked) == 3
    for path in linked:
        assert path.startswith("/docs/")
        asset = await vouch.call("GET", path, key=None)
        assert asset.status == 200
        assert len(await asset.read()) > 50


def answered(document: dict[str, Any], method: str, route: str, answer: Any) -> None:
    """An answer must be as the document says that this operation answers with this status."""
    told = document["paths"][route][method.lower()]["responses"]
    response = told.get(str(answer.status), told["default"])
    assert answer.status >= 400 or str(answer.status) in told, (method, route, answer.status)
    if "content" not in response:
        assert answer.json_body is None
        return
    schema = response["content"]["application/json"]["schema"]
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(answer.json_body)
    for name in response.get("headers", {}):
        assert name in answer.headers or name == "Preference-Applied"


async def test_credentials_by_id_are_answered_as_the_document_says(
    start: Start, config: Config, aws_stub: AwsStub
) -> None:
    """Every path and method of theirs, with and without a verdict, an attempt and earlier payloads."""
    vouch = await start(providers(config, aws=aws_stub.url))
    told = await document(vouch)
    id_, one = new_id(), "/v1/credentials/{id}"
    aws_stub.script(WORKS, SILENT, WORKS, REFUSED, SILENT, REFUSED)
    file = (await vouch.call("PUT", path_of(new_id()), file_item("file", "x"))).json_body["id"]
    seen = set()
    for method, route, below, body, headers, status in (
        ("PUT", one, "", key_item(), {}, 201),
        ("GET", one, "", None, {}, 200),
        ("GET", one, "", None, {"If-None-Match": "*"}, 304),
        ("PUT", one, "", key_item(), VERIFY, 200),
        ("PUT", one, "", key_item("a/b"), {}, 400),
        ("POST", f"{one}/verify", "/verify", None, {}, 200),
        ("GET", one, "", None, {}, 200),
        ("POST", f"{one}/rotate", "/rotate", {"payload": OTHER_KEY}, {}, 200),
        ("POST", f"{one}/rotate", "/rotate", {"payload": OTHER_KEY}, {}, 400),
        ("POST", f"{one}/rotate", "/rotate", {"payload": key_item()["payload"]}, {}, 422),
        ("POST", f"{one}/rotate", "/rotate", {"payload": key_item()["payload"]}, {}, 502),
        ("POST", f"{one}/verify", "/verify", None, {}, 200),
        ("GET", one, "", None, {}, 200),
        ("GET", f"{one}/verifications", "/verifications?limit=1", None, {}, 200),
        ("GET", f"{one}/versions", "/versions", None, {}, 200),
        ("POST", f"{one}/rollback", "/rollback", {}, {}, 200),
        ("POST", f"{one}/rollback", "/rollback", {"version": 77}, {}, 404),
        ("GET", "/v1/credentials", None, None, {}, 200),
        ("GET", "/v1/credentials", "?limit=0", None, {}, 400),
        ("GET", "/v1/external-id", None, None, {}, 200),
        ("DELETE", one, "", None, {"If-Match": '"x"'}, 412),
        ("DELETE", one, "", None, {}, 204),
        ("GET", one, "", None, {}, 404),
    ):
        where = path_of(id_, below) if "{id}" in route and below is not None else f"{route}{below or ''}"
        answer = await vouch.call(method, where, body, headers=headers)
        assert answer.status == status, (method, where, await answer.text())
        answered(told, method, route, answer)
        seen.add((method.lower(), route))
    for below in ("", "/versions", "/verifications"):
        answered(told, "GET", f"{one}{below}", await vouch.call("GET", path_of(file, below)))
    mine = {
        (method, route)
        for route, operations in told["paths"].items()
        for method in operations
        if route.startswith(one) or route in ("/v1/credentials", "/v1/external-id")
    }
    assert mine - seen == {("post", f"{one}/lease")}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_put_is_as_the_document_says(vouch: Vouch, kind: str) -> None:
    told = await document(vouch)
    body = item(kind, "one", allowed_in_tasks=True)
    validate(told, "CredentialPut", body)
    made = await vouch.call("PUT", path_of(new_id()), body)
    answered(told, "PUT", "/v1/credentials/{id}", made)
    # What was read can be sent back, so the document must allow that too.
    again = {name: made.json_body[name] for name in told["components"]["schemas"]["CredentialPut"]["properties"]}
    validate(told, "CredentialPut", again)
    validate(told, "RotateRequest", {"payload": body["payload"], "force": True})
    for wrong in (
        body | {"unknown": 1},
        body | {"name": "a/b"},
        body | {"kind": "both"},
        body | {"payload": {"unknown": 1}},
        body | {"payload": []},
        body | {"allowed_in_tasks": "yes"},
        {name: value for name, value in body.items() if name != "payload"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            validate(told, "CredentialPut", wrong)


async def test_every_operation_has_a_name_of_its_own(vouch: Vouch) -> None:
    """Generated clients make their methods of them."""
    told = await document(vouch)
    names = [
        operation["operationId"]
        for route, operations in told["paths"].items()
        for operation in operations.values()
        if route.startswith(("/v1/", "/v4/", "/api/"))
    ]
    assert len(names) == len(set(names))


async def test_prefer_verify_is_in_the_document_where_it_works(vouch: Vouch) -> None:
    told = (await document(vouch))["paths"]
    found = {
        (method, route)
        for route, operations in told.items()
        for method, operation in operations.items()
        for parameter in operation.get("parameters", ())
        if parameter["name"] == "Prefer" and "`verify`" in parameter["description"]
    }
    assert found == {
        ("post", "/v4/credentials"),
        ("patch", "/v4/credentials/{name}"),
        ("put", "/v1/credentials/{id}"),
    }
    for method, route in found:
        assert {"422", "429", "503"} <= set(told[route][method]["responses"])
    assert "text/plain" in told["/metrics"]["get"]["responses"]["200"]["content"]
