"""What is accepted as a Google service-account key file, and which private keys are fit to sign with."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from marshmallow import ValidationError

from tests.peers.google import TokenEndpoint, pem, rsa_key
from tests.verifiers.google_keys import BAD_KEYS, CANARY
from verifiers.gcp_service_account import KIND
from verifiers.google_key_file import load_private_key

SCHEMA = KIND.schema


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_that_does_not_hang_together_does_not_load(name: str) -> None:
    with pytest.raises(ValueError, match=r"^not an? ") as caught:
        load_private_key(BAD_KEYS[name])
    # The library's own words may quote what it was given.
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_what_openssl_accepts_our_own_check_accepts() -> None:
    for number in range(3):
        loaded = load_private_key(pem(rsa_key(number)))
        assert loaded.private_numbers() == rsa_key(number).private_numbers()


# What is accepted as a key file


def refusal(text: object) -> str:
    with pytest.raises(ValidationError) as caught:
        SCHEMA().load({"key_text": text})
    assert set(caught.value.messages) == {"key_text"}
    return caught.value.messages["key_text"][0]


def test_account_and_key_id_come_out_of_the_file_whatever_was_sent() -> None:
    file = TokenEndpoint().make_key()
    expected = {
        "key_text": json.dumps(file),
        "account_id": file["client_email"],
        "key_id": file["private_key_id"],
    }
    for sent in ({}, {"account_id": "x@evil.example", "key_id": "y"}, {"account_id": 5, "key_id": ""}):
        assert SCHEMA().load({"key_text": json.dumps(file), **sent}) == expected


def test_what_was_sent_beside_a_blank_key_text_is_forgotten_too() -> None:
    wire = SCHEMA.for_wire(blank_secrets=True)
    sent = {"key_text": "", "account_id": "etl@proj-1.iam.gserviceaccount.com", "key_id": "abc"}
    assert wire.load(sent) == {"key_text": ""}
    with pytest.raises(ValidationError, match="Must not be empty"):
        SCHEMA.for_wire(blank_secrets=False).load(sent)


def test_the_file_is_the_secret_and_the_rest_is_public() -> None:
    assert KIND.secret_fields == KIND.wire_secret_fields == ("key_text",)
    assert KIND.target_fields == ()
    assert KIND.slot == ("token", "gcp")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{CANARY}", "not valid JSON"),
        (f'{{"type": "service_account", "private_key": "{CANARY}', "not valid JSON"),
        ("\ufeff{}", "not valid JSON"),
        ("[" * 60000, "not valid JSON"),
        ('{"a":' * 13000, "not valid JSON"),
        ("1" * 5000, "not valid JSON"),
        (f'{{"type": "service_account", "type": "service_account", "private_key": "{CANARY}"}}', "repeats a name"),
        (f'"{CANARY}"', "not an object"),
        (f'["{CANARY}"]', "not an object"),
        ("null", "not an object"),
        ("{}", "without a type"),
        ('{"type": 5}', "without a type"),
        (f'{{"type": "{CANARY}"}}', "another kind of file"),
        ('{"type": "authorized_user"}', "authorized_user"),
        ('{"type": "external_account"}', "external_account"),
        ('{"type": "impersonated_service_account"}', "impersonated_service_account"),
        ("", "Must not be empty"),
        ("x" * 65537, "at most 65536"),
        ("{}\x00", "control characters"),
        ("\ud800", "control characters"),
        (5, "Must be a string"),
        (None, "Missing data"),
        ({"type": "service_account"}, "Must be a string"),
    ],
)
def test_what_is_no_key_file_is_refused_with_what_to_do(text: object, says: str) -> None:
    message = refusal(text)
    assert says in message
    assert CANARY not in message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"client_email": None}, "no client_email"),
        ({"client_email": ""}, "no client_email"),
        ({"client_email": CANARY}, "client_email in the key file"),
        ({"client_email": f"{CANARY}@x\n"}, "client_email in the key file"),
        ({"client_email": 5}, "client_email in the key file"),
        ({"client_email": ["a@b.c"]}, "client_email in the key file"),
        ({"private_key_id": None}, "no private_key_id"),
        ({"private_key_id": f"{CANARY} {CANARY}"}, "private_key_id in the key file"),
        ({"private_key_id": "k" * 129}, "private_key_id in the key file"),
        ({"private_key": None}, "no private_key"),
        ({"private_key": ""}, "no private_key"),
        ({"private_key": {}}, "no private_key"),
        ({"private_key": CANARY}, "not the PEM"),
        ({"private_key": pem(rsa_key(0)).replace("\n", "\\n")}, "escaped once"),
        ({"private_key": pem(rsa_key(0)).replace("-----BEGIN", "----BEGIN")}, "not the PEM"),
        ({"private_key": pem(rsa_key(0)).replace("PRIVATE", "ENCRYPTED PRIVATE")}, "unencrypted"),
        (
            {
                "private_key": rsa_key(0)
                .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
                .decode()
            },
            "unencrypted",
        ),
        # A key of 8192 bits takes seconds to check, and nobody's key is that.
        ({"private_key": f"-----BEGIN PRIVATE KEY-----\n{'A' * 6300}\n-----END PRIVATE KEY-----\n"}, "not the PEM"),
    ],
)
def test_a_file_that_lacks_something_is_refused_with_what_to_do(change: dict[str, Any], says: str) -> None:
    message = refusal(json.dumps({**TokenEndpoint().make_key(), **change}))
    assert says in message
    assert CANARY not in message


def test_a_payload_and_its_errors_do_not_show_the_file() -> None:
    file = TokenEndpoint().make_key()
    payload = KIND.split(SCHEMA().load({"key_text": json.dumps(file)}))
    assert file["private_key"][40:80] not in repr(payload)
    with pytest.raises(ValueError, match="not a private key") as caught:
        load_private_key(BAD_KEYS["no key at all"])
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
