"""Which kind of credential is in a file: the three kinds, their placeholders, what is damaged, and junk."""

import configparser
import json
import re
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers.google import TokenEndpoint
from verifiers import aws_key, azure_service_principal, gcp_service_account
from verifiers.aws_profiles import NotProfiles, parse_profiles
from verifiers.base import Kind, Payload
from verifiers.files import LONGEST, FileRefused, load, recognise
from verifiers.registry import load_registry
from verifiers.verdict import NotVerified

AWS, AZURE, GCP = ("AWS", "key"), ("AZURE", "service_principal"), ("GCP", "token")
MALFORMED = ("failed", "malformed", "credential")
NOT_RECOGNISED = ("failed", "not_recognised", "credential")

CANARY = "cAnArYsEcReT"
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
AWS_FILE = f"[default]\naws_access_key_id={KEY_ID}\naws_secret_access_key={CANARY}/+x\n"
AWS_VALUES = {"access_key_id": KEY_ID, "secret_access_key": f"{CANARY}/+x"}
PROFILES = (
    f"{AWS_FILE}region = us-east-1\n\n# the others\n[dev]\nAWS_ACCESS_KEY_ID : AKIADEV\n"
    f"aws_secret_access_key = {CANARY}%(dev)s\naws_session_token = FwoG{CANARY}==\ns3 =\n  max_queue_size = 5\n"
    "[ops.eu@corp]\naws_access_key_id=AKIAOPS\naws_secret_access_key=ops\n"
    "[by role]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = dev\n"
    "[sso]\nsso_session = corp\nsso_account_id = 1\n[process]\ncredential_process = /bin/x\n"
    f"[half]\naws_access_key_id = {KEY_ID}\n[empty]\n"
)
PRINCIPAL = {
    "tenant_id": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "client_id": "82195c37-7497-458c-b643-f4a3d0a64190",
    "client_secret": f"{CANARY}~x=y",
    "account_name": "vouchtests",
}
AZURE_FILE = "\n".join(f"{name}={value}" for name, value in PRINCIPAL.items())
GOOGLE: dict[str, Any] = TokenEndpoint().make_key()
GOOGLE_FILE = json.dumps(GOOGLE, indent=2)

# What DQOps ships.
PLACEHOLDERS = {
    AWS: "[default]\naws_access_key_id=PLEASE_REPLACE_WITH_YOUR_AWS_ACCESS_KEY_ID\n"
    "aws_secret_access_key=PLEASE_REPLACE_WITH_YOUR_AWS_SECRET_ACCESS_KEY\n",
    GCP: "{\n    this is the placeholder of the JSON key file for a service account,\n    please replace it\n}\n",
    AZURE: "tenant_id=PLEASE_REPLACE_WITH_YOUR_AZURE_TENANT_ID\nclient_id=PLEASE_REPLACE_WITH_YOUR_AZURE_CLIENT_ID\n"
    "client_secret=PLEASE_REPLACE_WITH_YOUR_AZURE_CLIENT_SECRET\n"
    "account_name=PLEASE_REPLACE_WITH_YOUR_AZURE_STORAGE_ACCOUNT_NAME",
}


def refused(content: str | bytes, profile: str | None = None) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        recognise(content.encode() if isinstance(content, str) else content, profile)
    assert caught.value.verdict.remedy
    assert CANARY not in str(caught.value) + repr(caught.value.verdict)
    return caught.value


def said(error: NotVerified) -> tuple[str, str, str]:
    return error.verdict.outcome.value, error.verdict.reason.value, error.verdict.fault.value


def read(text: str, profile: str | None = None) -> Payload:
    """The payload of a file."""
    key, values = recognise(text.encode(), profile)
    return load(kind_of(key), values)


def kind_of(key: tuple[str, str]) -> Kind:
    """The registered kind."""
    verifier = load_registry([]).get(*key)
    assert verifier is not None
    return verifier.kind


def malformed(key: tuple[str, str], content: str | bytes, profile: str | None = None) -> str:
    """The message of a file of that kind which can't be used."""
    error = refused(content, profile)
    assert (said(error), error.key) == (MALFORMED, key)
    return error.verdict.message


# The three kinds


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("text", "key", "values"),
    [(AWS_FILE, AWS, AWS_VALUES), (AZURE_FILE, AZURE, PRINCIPAL), (GOOGLE_FILE, GCP, None)],
    ids=["AWS", "Azure", "Google"],
)
def test_each_file_is_told_by_its_content(
    text: str, key: tuple[str, str], values: Mapping[str, str] | None, mark: str, end: str
) -> None:
    text = text.replace("\n", end)
    found, read = recognise((mark + text).encode())
    assert found == key
    assert read == (values or {"key_text": text})


@pytest.mark.parametrize("content", [AWS_FILE, PROFILES, AZURE_FILE, GOOGLE_FILE])
def test_what_is_recognised_loads_as_a_payload_of_a_registered_kind(content: str) -> None:
    key, values = recognise(content.encode())
    payload = load(kind_of(key), values)
    assert (payload.kind.provider, payload.kind.type) == key
    assert set(values) <= {*payload.public, *payload.secret}
    assert CANARY not in repr(payload)


def test_a_google_file_brings_its_account_with_it() -> None:
    payload = load(gcp_service_account.KIND, recognise(GOOGLE_FILE.encode())[1])
    assert payload["account_id"] == GOOGLE["client_email"]


def test_the_default_profile_is_taken_unless_another_is_named() -> None:
    for profile in (None, "", "default"):
        assert recognise(PROFILES.encode(), profile) == (AWS, AWS_VALUES)
    assert recognise(PROFILES.encode(), "ops.eu@corp")[1] == {"access_key_id": "AKIAOPS", "secret_access_key": "ops"}


def test_a_named_profile_may_have_a_session_token() -> None:
    _, values = recognise(PROFILES.encode(), "dev")
    assert values == {
        "access_key_id": "AKIADEV",
        "secret_access_key": f"{CANARY}%(dev)s",
        "session_token": f"FwoG{CANARY}==",
    }
    assert load(aws_key.KIND, values)["session_token"] == f"FwoG{CANARY}=="


def test_an_empty_session_token_is_none() -> None:
    assert recognise(f"{AWS_FILE}aws_session_token =\n".encode()) == (AWS, AWS_VALUES)


def test_comments_blank_lines_spaces_and_unknown_names_do_not_matter_to_azure() -> None:
    text = f"# ours\n\n ; tenant_id=x\n  {AZURE_FILE.replace('=', ' = ', 1)}  \n\nsubscription_id=1\nempty=\n"
    assert recognise(text.encode()) == (AZURE, PRINCIPAL)


def test_azure_may_go_without_an_account() -> None:
    expected = {name: value for name, value in PRINCIPAL.items() if name != "account_name"}
    for text in (AZURE_FILE.rpartition("\n")[0], AZURE_FILE.replace("=vouchtests", "=")):
        assert recognise(text.encode()) == (AZURE, expected)


# Recognised, and of no use


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("key", PLACEHOLDERS)
def test_a_placeholder_is_malformed_and_says_so(key: tuple[str, str], end: str) -> None:
    assert "placeholder" in malformed(key, PLACEHOLDERS[key].replace("\n", end))


def test_a_placeholder_left_in_one_field_is_named() -> None:
    left = AZURE_FILE.replace("=vouchtests", "=PLEASE_REPLACE_WITH_YOUR_AZURE_STORAGE_ACCOUNT_NAME")
    assert malformed(AZURE, left) == "account_name is still the placeholder that DQOps put there."


def test_an_unknown_profile_gets_the_names_of_those_there_are() -> None:
    message = malformed(AWS, PROFILES, "prod")
    assert "default, dev, ops.eu@corp, by role, sso, process, half, empty." in message
    assert "it has dev." in malformed(AWS, PROFILES[PROFILES.index("[dev]") : PROFILES.index("[ops")])


def test_names_of_profiles_are_shown_in_bounds() -> None:
    many = "".join(f"[p{number}]\naws_access_key_id=x{number}\n" for number in range(200))
    assert malformed(AWS, many).endswith("p18, p19, 180 more.")
    assert malformed(AWS, AWS_FILE.replace("default", "<b>\x1b[0m")).endswith("it has 1 of other names.")
    assert malformed(AWS, AWS_FILE.replace("default", "x" * 65) + "[a]\n").endswith("it has a, 1 more.")


@pytest.mark.parametrize("profile", ["by role", "sso", "process"])
def test_only_static_keys_can_be_verified(profile: str) -> None:
    assert "only static keys" in malformed(AWS, PROFILES, profile)


def test_a_file_with_nothing_but_roles_is_told_so() -> None:
    assert "only static keys" in malformed(AWS, "[default]\nrole_arn=arn:aws:iam::1:role/x\nsource_profile=base\n")


def test_a_profile_with_half_a_key_or_none_says_what_is_missing() -> None:
    """Requirement 10: half a key must never be filled up from elsewhere."""
    assert malformed(AWS, PROFILES, "half") == "aws_secret_access_key is missing or empty."
    assert malformed(AWS, PROFILES, "empty").startswith("aws_access_key_id and aws_secret_access_key are missing")
    assert "aws_access_key_id is missing" in malformed(AWS, AWS_FILE.replace(KEY_ID, ""))


@pytest.mark.parametrize("name", ["tenant_id", "client_id", "client_secret"])
def test_an_azure_file_without_one_of_the_three_says_which(name: str) -> None:
    without = "\n".join(line for line in AZURE_FILE.split("\n") if not line.startswith(name))
    assert malformed(AZURE, without) == f"{name} is missing or empty."
    assert malformed(AZURE, AZURE_FILE.replace(f"{name}=", f"{name}=\n{name}_2=")) == f"{name} is missing or empty."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"aws_access_key_id={KEY_ID}\naws_secret_access_key={CANARY}\n", "[default]"),
        (f"{AWS_FILE}[default]\nregion=x\n", "twice"),
        (f"{AWS_FILE}aws_access_key_id={KEY_ID}\n", "Line 4 repeats"),
        (f"{AWS_FILE}AWS_Access_Key_Id={KEY_ID}\n", "Line 4 repeats"),
        (f"{AWS_FILE}{CANARY}\n", "Line 4 is neither"),
        (f"{AWS_FILE}={CANARY}\n", "Line 4 is neither"),
        (f"{AWS_FILE}[{CANARY}\n", "Line 4 is neither"),
        (AWS_FILE.replace("[default]", "[default"), "Line 1"),
        (AWS_FILE.replace("[default]", "[]"), "Line 1"),
        (AWS_FILE.replace(f"={CANARY}", f"='{CANARY}").rstrip() + "'\n", "quotation marks"),
        (AWS_FILE.replace(KEY_ID, f'"{KEY_ID}"'), "quotation marks"),
        (AWS_FILE.rstrip() + " # prod\n", "comment"),
        (AWS_FILE.rstrip() + f"\n  {CANARY}\n", "space"),
        (AWS_FILE + "\n" * 10_001, "lines"),
    ],
)
def test_a_damaged_aws_file_says_where(text: str, says: str) -> None:
    assert says in malformed(AWS, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{AZURE_FILE}\nclient_secret={CANARY}", "Line 5 of the Azure file repeats"),
        (f"{AZURE_FILE}\n{CANARY}", "Line 5 of the Azure file is no name=value"),
        (f"[default]\n{AZURE_FILE}", "Line 1 of the Azure file is no name=value"),
        (AZURE_FILE.replace(f"={CANARY}~x=y", f'="{CANARY}"'), "client_secret is in quotation marks"),
        (AZURE_FILE.replace("=y\n", "=y # prod\n"), "client_secret is"),
        (AZURE_FILE + "\n" * 10_001, "lines"),
    ],
)
def test_a_damaged_azure_file_says_where(text: str, says: str) -> None:
    assert says in malformed(AZURE, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOGLE_FILE.rstrip()[:-1], "not valid JSON"),
        (GOOGLE_FILE + "}", "not valid JSON"),
        (GOOGLE_FILE.replace('"type"', '"project_id": "x", "type"'), "repeats a name"),
        (json.dumps({**GOOGLE, "private_key": None}), "no private_key"),
        (json.dumps({**GOOGLE, "client_email": CANARY}), "client_email"),
        (json.dumps({**GOOGLE, "private_key": CANARY}), "not the PEM"),
        (json.dumps({**GOOGLE, "type": "authorized_user"}), "user's own credentials"),
        ('{"type": "authorized_user", "client_id": "x", "refresh_token": "y"}', "authorized_user"),
        ('{"type": "external_account", "audience": "x"}', "workload identity"),
        ('{"type": "impersonated_service_account"}', "impersonation"),
        ('{"type": "service_account"}', "no private_key"),
        (json.dumps({**GOOGLE, "type": CANARY}), "another kind of file"),
    ],
)
def test_a_google_file_that_can_not_be_used_says_why(text: str, says: str) -> None:
    assert says in malformed(GCP, text)


@pytest.mark.parametrize(("key", "text"), [(GCP, GOOGLE_FILE), (AZURE, AZURE_FILE)])
def test_only_an_aws_file_has_profiles(key: tuple[str, str], text: str) -> None:
    assert "profile" in malformed(key, text, "dev")


@pytest.mark.parametrize(("key", "text"), [(AWS, AWS_FILE), (AZURE, AZURE_FILE), (GCP, GOOGLE_FILE)])
def test_a_file_in_another_encoding_is_told_so(key: tuple[str, str], text: str) -> None:
    assert "UTF-8" in malformed(key, text.encode("utf-16"))
    assert "UTF-8" in malformed(key, text.encode() + b"\xff")
    assert "UTF-8" in malformed(key, b"\xef\xbb\xbf" + text.encode() + b"\xe9")


# What the schemas refuse


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (AWS_FILE.replace(KEY_ID, f"AKIA,{CANARY}"), "aws_access_key_id: Must be printable ASCII"),
        (AWS_FILE.replace(CANARY, f"{CANARY}\x01"), "aws_secret_access_key: Must not contain control characters."),
        (f"{AWS_FILE}aws_session_token = é{CANARY}\n", "aws_session_token: Must be printable ASCII"),
        (AWS_FILE.replace(CANARY, CANARY * 100), "aws_secret_access_key: Must be at most 1024 characters long."),
        (AZURE_FILE.replace("tenant_id=", "tenant_id=adfs/"), "tenant_id: Must be the tenant's id"),
        (re.sub("tenant_id=.*", "tenant_id=adfs", AZURE_FILE), "tenant_id: Must be the tenant's id"),
        (AZURE_FILE.replace("client_id=", "client_id=x").replace("vouchtests", "A"), "account_name: Must be the"),
        (GOOGLE_FILE + " " * 70_000, "The file: Must be at most 65536 characters long."),
        (GOOGLE_FILE.replace("{", "{\x0b", 1), "valid JSON"),
    ],
)
def test_what_a_schema_refuses_is_malformed_by_the_names_of_the_file(text: str, says: str) -> None:
    with pytest.raises(FileRefused) as caught:
        read(text)
    assert said(caught.value) == MALFORMED
    assert caught.value.key in {AWS, AZURE, GCP}
    assert says in caught.value.verdict.message
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_every_field_that_is_wrong_is_named() -> None:
    values = {"tenant_id": "adfs", "client_id": "x", "client_secret": CANARY, "account_name": "vouchtests"}
    with pytest.raises(FileRefused) as caught:
        load(azure_service_principal.KIND, values)
    message = caught.value.verdict.message
    assert message.index("client_id: Must be") < message.index("tenant_id: Must be")
    assert "client_secret" not in message
    assert "account_name" not in message


# Not recognised


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \r\n\t",
        b"\xef\xbb\xbf",
        b"\x00" * 100,
        bytes(range(256)) * 4,
        b"\x89PNG\r\n\x1a\n\x00\x00",
        b"\xff\xfe",
        b"\xff\xfe\x00",
        "[default]\nregion = us-east-1\n",
        "[section]\nname = value\n",
        "role_arn: arn:aws:iam::123456789012:role/x\n",
        "account_name=x\n",
        "tenant_id: x\nclient_id: y\n",
        "export tenant_id=x",
        "not_aws_access_key_id=x",
        "{}",
        "{",
        "[]",
        "null",
        '"private_key"',
        '[{"private_key": "x"}]',
        '{"type": "key"}',
        '{"type": ["service_account"]}',
        '{"aws_access_key_id": "x"}',
        '{"installed": {"client_id": "x", "client_secret": "y"}}',
        '{"a":' * 200_000,
        "-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n",
        CANARY,
    ],
    ids=lambda content: repr(content[:30]),
)
def test_anything_else_is_not_recognised(content: str | bytes) -> None:
    error = refused(content)
    assert (said(error), error.key) == (NOT_RECOGNISED, None)
    for name in ("AWS shared-credentials", "Google service-account", "Azure"):
        assert name in error.verdict.message


MIB = 1_048_576
JUNK = {
    "spaces": b" " * MIB,
    "one line of spaces in it": b"[default]\naws_access_key_id" + b" " * (MIB - 100) + b"x",
    "spaces before a name": b" " * (MIB - 20) + b"aws_access_key_id",
    "lines": b"\n" * MIB,
    "short lines": b"[default]\naws_access_key_id=x\n" + b"x\n" * 500_000,
    "few bad lines": b"[default]\naws_access_key_id=x\n" + b"x\n" * 9_000,
    "sections": b"[a]\naws_access_key_id=x\n" + b"".join(b"[%d]\n" % number for number in range(9_900)),
    "a long value": b"[default]\naws_access_key_id=" + b"=" * (MIB - 100),
    "a value over many lines": b"[default]\naws_access_key_id=x\n" + (b" " + b"y" * 90 + b"\n") * 9_900,
    "brackets": b"[" * MIB,
    "closing brackets": b"[default]\naws_access_key_id=x\n" + b"]" * (MIB - 100),
    "azure lines": b"tenant_id=x\n" + b"".join(b"%d=\n" % number for number in range(9_900)),
    "quotation marks": b"tenant_id=x\nclient_id=x\nclient_secret=" + b"'" * (MIB - 100),
    "nested objects": b'{"private_key":' * (MIB // 15),
    "nested lists": b'{"private_key":' + b"[" * (MIB - 20),
    "a long number": b'{"private_key":' + b"1" * (MIB - 20) + b"}",
    "a long fraction": b'{"private_key":0.' + b"1" * (MIB - 20) + b"}",
    "a long string": b'{"private_key":"' + b"\\u0000" * (MIB // 6 - 20) + b'"}',
    "many names": b'{"client_email":1' + b"".join(b',"%d":1' % number for number in range(80_000)) + b"}",
    "a long key": json.dumps({**GOOGLE, "private_key": "-----BEGIN PRIVATE KEY-----\n" + "A" * 1_000_000}).encode(),
    "bytes": bytes(range(256)) * (MIB // 256),
    "bad UTF-8": b"\xff" * MIB,
    "UTF-16": b"\xff\xfe" + b"\x00\xd8" * (MIB // 2 - 1),
    "too much": AWS_FILE.encode() + b"#" * MIB,
}


@pytest.mark.parametrize("name", JUNK)
def test_a_megabyte_of_junk_is_refused_in_no_time(name: str) -> None:
    """Requirement 32."""
    started = time.process_time()
    error = refused(JUNK[name][: LONGEST + 1])
    assert time.process_time() - started < 0.5
    assert said(error) in {MALFORMED, NOT_RECOGNISED}


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_refusal(content: bytes) -> None:
    with pytest.raises(NotVerified) as caught:
        recognise(content)
    assert said(caught.value) == NOT_RECOGNISED


FRAGMENTS = st.sampled_from(
    [
        *(line + "\n" for line in PROFILES.split("\n")),
        *(line + "\n" for line in AZURE_FILE.split("\n")),
        *(line + "\n" for line in GOOGLE_FILE.split("\n")),
        *PLACEHOLDERS.values(),
        *(" ", "=", ":", "[", "]", "{", "}", '"', "'", "#", "\\", "\r", "\x00", "\ufeff", "\x85", "\u2028", "é", ","),
    ]
)


@given(st.lists(FRAGMENTS, max_size=12).map("".join), st.sampled_from([None, "dev", "\x00", "é" * 300]))
def test_pieces_of_files_raise_nothing_but_a_refusal(text: str, profile: str | None) -> None:
    try:
        shown = repr(read(text, profile))
    except NotVerified as error:
        shown = str(error)
        outcome = said(error)
    else:
        outcome = None
    assert CANARY not in shown
    assert outcome in {MALFORMED, NOT_RECOGNISED, None}


# Profiles, beside Python's own reader of such files

LINES = st.sampled_from(
    [
        *("", "  ", "\x0c", "\x1c", "# c", "; c"),
        *("[a]", "[b]", "[A]", "[", "[]", "[]]", "[a] x", " [c]"),
        *("x=1", "X = 2", "y:3", "y: =3", "z", "=1", "g=", "h= # i", "x y = 1", "%(x)s=1", "k=%(x)s"),
        *("  d=4", "   e", "\tf=5", "\u00a0m=1"),
    ]
)


@given(st.lists(LINES, max_size=12).map("\n".join))
def test_profiles_are_read_as_the_aws_cli_reads_them(text: str) -> None:
    parser = configparser.RawConfigParser(default_section="\n")
    try:
        parser.read_string(text)
    except configparser.Error:
        with pytest.raises(NotProfiles):
            parse_profiles(text)
        return
    expected = {name: dict(parser.items(name)) for name in parser.sections()}
    found = {name: dict(settings) for name, settings in parse_profiles(text).items()}
    # A blank line inside of a value is the one thing that we don't keep.
    assert {
        name: {setting: re.sub(r"\n+", "\n", value) for setting, value in settings.items()}
        for name, settings in expected.items()
    } == found
