"""The document describes what the service does, and the page renders it without the internet."""

import re
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.api.payloads import KINDS, create_body
from tests.conftest import Vouch


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
