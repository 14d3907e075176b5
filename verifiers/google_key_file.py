"""The JSON key file of a Google service account: what is in it, and the private key that comes out of it.

The file is the one that creating a key downloads:
https://cloud.google.com/iam/docs/keys-create-delete#creating
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPrivateNumbers

_PEM = re.compile(r"\s*-----BEGIN (RSA )?PRIVATE KEY-----\n[A-Za-z0-9+/=\s]+-----END (RSA )?PRIVATE KEY-----\s*")
_EMAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}@[A-Za-z0-9][A-Za-z0-9.-]{0,151}")
_WORD = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_LONGEST_PEM = 4096  # room for an RSA key of 4096 bits; Google makes them of 2048


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a service-account key file says. `token_uri` and `universe` are None where it says nothing."""

    client_email: str
    key_id: str
    project_id: str | None
    token_uri: object = field(repr=False)
    universe: object = field(repr=False)
    private_key: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "KeyFile":
        """Read a key file.

        Raises:
            ValidationError: it is none; the message says what to do and quotes nothing of it.
        """
        content = _parse_object(text)
        kind = content.get("type")
        if kind != "service_account":
            raise ValidationError(_wrong_type(kind))
        private_key, project = content.get("private_key"), content.get("project_id")
        if not isinstance(private_key, str) or not private_key:
            raise ValidationError("The key file has no private_key; paste the whole file as Google made it.")
        if len(private_key) > _LONGEST_PEM or not _PEM.fullmatch(private_key.replace("\r\n", "\n")):
            raise ValidationError(
                "The private_key in the file is not the PEM of an unencrypted RSA key; paste the file "
                "unchanged, its line ends written as \\n, escaped once."
            )
        return cls(
            client_email=_required(content, "client_email", _EMAIL),
            key_id=_required(content, "private_key_id", _WORD),
            project_id=project if isinstance(project, str) and _WORD.fullmatch(project) else None,
            token_uri=content.get("token_uri"),
            universe=content.get("universe_domain"),
            private_key=private_key,
        )


def _parse_object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise ValidationError(
            "Must be the whole JSON key file that Google made; this is not valid JSON, or it repeats a name."
        ) from None
    if not isinstance(content, dict):
        raise ValidationError("Must be the whole JSON key file that Google made; this is JSON, but not an object.")
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers of a repeated name may take different values: what we proved would not be what a job uses.
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("repeated name")
    return content


def _required(content: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = content.get(name)
    if value is None or value == "":
        raise ValidationError(f"The key file has no {name}; paste the whole file as Google made it.")
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValidationError(f"The {name} in the key file is not one that Google makes; paste the file unchanged.")
    return value


OTHER_TYPES = {
    "authorized_user": "a user's own credentials (authorized_user)",
    "external_account": "a workload identity (external_account)",
    "external_account_authorized_user": "a workforce identity (external_account_authorized_user)",
    "impersonated_service_account": "an impersonation (impersonated_service_account)",
    "gdch_service_account": "a key of Google Distributed Cloud (gdch_service_account)",
}


def _wrong_type(kind: object) -> str:
    """Say what a file is instead, from a fixed list: its own word for it may be anything."""
    what = "a file without a type"
    if isinstance(kind, str):
        what = OTHER_TYPES.get(kind, "another kind of file")
    return f"Must be a key file of type service_account, not {what}; create a key of a service account."


def load_private_key(pem: str) -> "RSAPrivateKey":
    """The RSA key in a PEM, checked to be one that signs what its public half verifies.

    OpenSSL's own check proves the primes to be prime, which takes 40 ms for 2048 bits and 300 ms for 4096 and
    holds the interpreter lock: no thread keeps it from stopping the event loop. The rest of that check is
    arithmetic of microseconds, done here. A key that passes it and verifies its own signature is safe to sign
    with; whether it is the account's key is for Google to say.

    Raises:
        ValueError: it is not an RSA key of 1024 to 4096 bits, or its numbers don't belong together.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not a private key") from None
    if not isinstance(key, rsa.RSAPrivateKey) or not 1024 <= key.key_size <= 4096:
        raise ValueError("not an RSA key of 1024 to 4096 bits")
    if not _belong_together(key.private_numbers()):
        raise ValueError("not a valid RSA key")
    try:
        signature = key.sign(b"vouch", padding.PKCS1v15(), SHA256())
        key.public_key().verify(signature, b"vouch", padding.PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature):
        raise ValueError("not a valid RSA key") from None
    return key


def _belong_together(key: "RSAPrivateNumbers") -> bool:
    """The relations of RFC 8017 section 3.2, for a key of two odd primes of about the same length."""
    p, q, d, n, e = key.p, key.q, key.d, key.public_numbers.n, key.public_numbers.e
    half = n.bit_length() // 2
    return (
        p * q == n
        and p != q
        and p % 2 == q % 2 == e % 2 == 1
        and abs(p.bit_length() - half) <= 1
        and abs(q.bit_length() - half) <= 1
        and 3 <= e < 2**33
        and 1 < d < n
        and key.dmp1 == d % (p - 1)
        and key.dmq1 == d % (q - 1)
        and e * d % (p - 1) == e * d % (q - 1) == 1
        and key.iqmp * q % p == 1
    )
