"""TileDB's generated client: its own classes, called on the paths of the specification that vouch speaks.

The package's `__init__` pulls in a database engine; the generated subpackage needs none of it and is loaded alone.
The package on PyPI is generated from a later specification with the workspace in the path, so the six calls are
made through its `ApiClient` as the earlier generator wrote them; serialising, deserialising and the model classes
are its own.
"""

import importlib
import importlib.util
import sys
import types
from typing import Any

_CLIENT = "tiledb.client"
_API = f"{_CLIENT}._common.api_v4"


def load() -> types.ModuleType:
    """The generated package, without its parents' own code."""
    if _API in sys.modules:
        return sys.modules[_API]
    spec = importlib.util.find_spec("tiledb")
    assert spec is not None, "tiledb-client is not installed"
    assert spec.submodule_search_locations is not None
    (root,) = (one for one in spec.submodule_search_locations)
    for name, path in ((_CLIENT, f"{root}/client"), (f"{_CLIENT}._common", f"{root}/client/_common")):
        package = types.ModuleType(name)
        package.__path__ = [path]
        sys.modules[name] = package
    api = importlib.import_module(_API)
    # The generated code looks its models up from the root.
    parent, _, child = _CLIENT.rpartition(".")
    setattr(importlib.import_module(parent), child, sys.modules[_CLIENT])
    sys.modules[_CLIENT]._common = sys.modules[f"{_CLIENT}._common"]
    return api


class CredentialsApi:
    """The six operations, as the generator of TileDB's specification writes them."""

    def __init__(self, api_client: Any) -> None:
        self._client = api_client

    def _call(self, method: str, path: str, *, answer: str | None = None, body: Any = None, **parameters: Any) -> Any:
        query = [(name, value) for name, value in parameters.items() if value is not None and name != "name"]
        headers = {"Accept": self._client.select_header_accept(["application/json"])}
        if body is not None:
            headers["Content-Type"] = self._client.select_header_content_type(["application/json"])
        return self._client.call_api(
            path,
            method,
            {"name": parameters["name"]} if "name" in parameters else {},
            query,
            headers,
            body=body,
            post_params=[],
            files={},
            response_type=answer,
            auth_settings=["ApiKeyAuth", "BasicAuth", "OAuth2"],
            _return_http_data_only=True,
            collection_formats={},
        )

    def create_credential(self, credential_create_request: Any, teamspace_id: str | None = None) -> None:
        return self._call("POST", "/credentials", body=credential_create_request, teamspace_id=teamspace_id)

    def get_credentials(self, **filters: Any) -> Any:
        return self._call("GET", "/credentials", answer="CredentialsListResponse", **filters)

    def get_credential_by_name(self, name: str, teamspace_id: str | None = None) -> Any:
        path = "/credentials/{name}"
        return self._call("GET", path, answer="CredentialGetResponse", name=name, teamspace_id=teamspace_id)

    def patch_credential_by_name(self, name: str, update: Any, teamspace_id: str | None = None) -> None:
        return self._call("PATCH", "/credentials/{name}", body=update, name=name, teamspace_id=teamspace_id)

    def delete_credential_by_name(self, name: str, teamspace_id: str | None = None) -> None:
        return self._call("DELETE", "/credentials/{name}", name=name, teamspace_id=teamspace_id)

    def verify_credential(self, credentials_verify_request: Any, teamspace_id: str | None = None) -> None:
        return self._call("POST", "/credentials/verify", body=credentials_verify_request, teamspace_id=teamspace_id)
