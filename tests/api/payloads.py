"""A valid payload of each of the six kinds, as the v4 wire has it."""

import functools
import json
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CANARY = "cAnArYsEcReT"


@functools.cache
def _pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def key_file(**changes: Any) -> str:
    """A Google service-account key file."""
    file = {
        "type": "service_account",
        "project_id": "a-project",
        "private_key_id": "0123456789abcdef0123456789abcdef01234567",
        "private_key": _pem(),
        "client_email": "robot@a-project.iam.gserviceaccount.com",
        "client_id": "123456789012345678901",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    }
    return json.dumps({name: value for name, value in (file | changes).items() if value is not None})


SAS = (
    "sv=2023-11-03&ss=b&srt=sco&sp=rl&st=2020-01-01T00:00:00Z&se=2099-01-01T00:00:00Z&spr=https"
    "&sig=Y0FuQXJZc0VjUmVUY0FuQXJZc0VjUmVUY0FuQXJZc0VjUmVUYUI%3D"
)

# name of the kind → (provider, type, slot, sub-object, payload, name of the secret field)
KINDS: dict[str, tuple[str, str, str, str, dict[str, Any], str]] = {
    "aws key": (
        "AWS",
        "key",
        "credential",
        "aws",
        {
            "access_key_id": "AKIAIOSFODNN7EXAMPLE",
            "secret_access_key": f"{CANARY}/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "endpoint": "https://minio.example.org:9000/base",
            "use_path_style": True,
        },
        "secret_access_key",
    ),
    "aws role": (
        "AWS",
        "arn",
        "role",
        "aws",
        {"role_arn": "arn:aws:iam::123456789012:role/team/reader", "external_id": "ext-1234"},
        "",
    ),
    "azure key": (
        "AZURE",
        "key",
        "credential",
        "azure",
        {"account_name": "storageacct", "account_key": "Y0FuQXJZc0VjUmVUY0FuQXJZc0VjUmVUY0FuQXJZc0VjUmVU"},
        "account_key",
    ),
    "azure sas": (
        "AZURE",
        "azure_token",
        "token",
        "azure",
        {"account_name": "storageacct", "sas_token": SAS},
        "sas_token",
    ),
    "gcp hmac": (
        "GCP",
        "key",
        "credential",
        "gcp",
        {"access_key_id": "GOOG1EXAMPLE0123456789", "secret_access_key": f"{CANARY}0123456789abcdef012345"},
        "secret_access_key",
    ),
    "gcp service account": ("GCP", "token", "token", "gcp", {"key_text": key_file()}, "key_text"),
}


def create_body(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """A CredentialCreateRequest of that kind."""
    provider, _type, slot, sub, payload, _secret = KINDS[kind]
    return {"name": name, "provider": provider, slot: {sub: dict(payload)}, **more}
