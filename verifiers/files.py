"""Which kind of credential is in this file: told by its content, never by its name.

The three files are those that DQOps keeps for its users (https://github.com/dqops/dqo, the folder
`metadata/storage/localfiles/credentials`): `AWS_default_credentials`, which it reads as a profile file,
`GCP_application_default_credentials.json`, and `Azure_default_credentials`, whose lines it divides at the `=` (and cuts
at a second one, which no client secret of today has). Each ships with a placeholder in it, which DQOps refuses too.

What its readers may read differently (a setting that is there twice, a quoted value) is refused: what we proved would
not be what a job uses.
"""

import codecs
import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from marshmallow import ValidationError

from verifiers import aws_key, azure_service_principal, gcp_service_account
from verifiers.aws_profiles import NotProfiles, parse_profiles
from verifiers.base import Kind, Payload
from verifiers.google_key_file import OTHER_TYPES, KeyFile
from verifiers.verdict import Fault, NotVerified, Reason, Verdict, failed

Key = tuple[str, str]
"""A provider and a type, as the registry has them."""

LONGEST = 131_072
"""Bytes of a file that are looked at: none of the three comes near it, and reading one must not hold up the loop."""

MOST_LINES = 10_000
DEFAULT_PROFILE = "default"
_MOST_NAMES = 20

AWS, AZURE, GCP = (
    (one.KIND.provider, one.KIND.type) for one in (aws_key, azure_service_principal, gcp_service_account)
)

AWS_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "aws_access_key_id": "access_key_id",
        "aws_secret_access_key": "secret_access_key",
        "aws_session_token": "session_token",
    }
)
"""Settings of a profile, and the fields that they become: "Static credentials" of the AWS SDKs' reference guide."""
AZURE_FIELDS = ("tenant_id", "client_id", "client_secret", "account_name")

_PLACEHOLDER = "PLEASE_REPLACE_WITH"
_GOOGLE_PLACEHOLDER = re.compile(r"\{\s*this is the placeholder\b")
_GOOGLE_NAMES = frozenset({"private_key", "private_key_id", "client_email"})
_AWS_SETTING = re.compile(
    r"^[^\S\n]*aws_(?:access_key_id|secret_access_key|session_token)[^\S\n]*[=:]", re.MULTILINE | re.IGNORECASE
)
_INDIRECT = ("role_arn", "source_profile", "credential_source", "credential_process", "web_identity_token_file", "sso_")
_AWS_INDIRECT = re.compile(rf"^[^\S\n]*(?:{'|'.join(_INDIRECT)})[a-z_]*[^\S\n]*[=:]", re.MULTILINE | re.IGNORECASE)
_SECTION = re.compile(r"^[^\S\n]*\[", re.MULTILINE)
_AZURE_SETTING = re.compile(r"^[^\S\n]*(?:tenant_id|client_id|client_secret)[^\S\n]*=", re.MULTILINE)
_UNFIT = re.compile(r"\s|\A['\"].*['\"]\Z")
_SHOWN_NAME = re.compile(r"[A-Za-z0-9_.@+ -]{1,64}")


class FileRefused(NotVerified):
    """A file that can't be verified. `key` is the kind it is of, or would be; None where it is of none."""

    def __init__(self, key: Key | None, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.key = key


NOT_RECOGNISED = failed(
    Reason.NOT_RECOGNISED,
    Fault.CREDENTIAL,
    "This is none of the three files that can be verified: an AWS shared-credentials file, a Google service-account "
    "key, an Azure file of tenant_id, client_id and client_secret.",
    "Store the file as AWS or Google made it, or an Azure one with a line name=value for each of the three.",
)
_REMEDIES: Mapping[Key, str] = MappingProxyType(
    {
        AWS: "Store an AWS file with aws_access_key_id and aws_secret_access_key under [default] or a named profile.",
        AZURE: "Store lines tenant_id=…, client_id=… and client_secret=…, each once, with nothing around the values.",
        GCP: "Create a new key of a service account and store its JSON file unchanged.",
    }
)


def recognise(content: bytes, profile: str | None = None) -> tuple[Key, dict[str, str]]:
    """The kind of credential in a file, and the values of its schema's fields as they stand there.

    Args:
        content: the whole file.
        profile: of an AWS file; None or empty is the default one.

    Raises:
        FileRefused: it is none of the three files, or one that can't be used.
    """
    if len(content) > LONGEST:
        raise FileRefused(None, NOT_RECOGNISED)
    text, is_utf8 = _decode(content)
    key = _kind_of(text)
    if key is None:
        raise FileRefused(None, NOT_RECOGNISED)
    if not is_utf8:
        raise _malformed(key, "The file is not UTF-8 text.")
    if profile and key != AWS:
        raise _malformed(key, "A profile was named, and only an AWS file has profiles.")
    return key, _READERS[key](text, profile or DEFAULT_PROFILE)


def load(kind: Kind, values: Mapping[str, str]) -> Payload:
    """The payload of what was recognised.

    Raises:
        FileRefused: a value is not what the kind's schema takes; the message names the fields, and no value.
    """
    key = (kind.provider, kind.type)
    try:
        return kind.split(kind.schema().load(values))
    except ValidationError as error:
        messages = error.messages_dict
    raise _malformed(key, " ".join(f"{_in_file(key, name)}: {messages[name][0]}" for name in sorted(messages)))


def _in_file(key: Key, field: str) -> str:
    """What a field is called where the user sees it."""
    if key == AWS:
        return next((name for name, one in AWS_FIELDS.items() if one == field), field)
    return "The file" if key == GCP else field


def _malformed(key: Key, message: str) -> FileRefused:
    return FileRefused(key, failed(Reason.MALFORMED, Fault.CREDENTIAL, message, _REMEDIES[key]))


def _decode(content: bytes) -> tuple[str, bool]:
    """The text, and whether it is UTF-8; what isn't is read so that its kind can be told."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace"), False
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode(), True
    except UnicodeDecodeError:
        return content.decode("latin-1"), False


def _kind_of(text: str) -> Key | None:
    """Whose file this is meant to be, whether or not it can be used."""
    if text.lstrip().startswith("{"):
        return GCP if _is_googles(text) else None
    text = _unified(text)
    if _AWS_SETTING.search(text) or (_SECTION.search(text) and _AWS_INDIRECT.search(text)):
        return AWS
    return AZURE if _AZURE_SETTING.search(text) else None


def _is_googles(text: str) -> bool:
    if _GOOGLE_PLACEHOLDER.match(text.lstrip()):
        return True
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        # Damaged, but of the kind: then the user is told what is wrong with it.
        return any(f'"{name}"' in text for name in _GOOGLE_NAMES)
    kind = content.get("type")
    return not _GOOGLE_NAMES.isdisjoint(content) or (
        isinstance(kind, str) and (kind == "service_account" or kind in OTHER_TYPES)
    )


def _read_google(text: str, _profile: str) -> dict[str, str]:
    if _GOOGLE_PLACEHOLDER.match(text.lstrip()):
        raise _malformed(GCP, "The file is still the placeholder that DQOps put there, and no key.")
    try:
        KeyFile.parse(text)
    except ValidationError as error:
        message = str(error.messages[0])
        raise _malformed(GCP, f"The Google key file can't be used: {message[0].lower()}{message[1:]}") from None
    return {"key_text": text}


def _read_aws(text: str, profile: str) -> dict[str, str]:
    try:
        profiles = parse_profiles(_few_lines(AWS, text))
    except NotProfiles as error:
        raise _malformed(AWS, str(error)) from None
    settings = profiles.get(profile)
    if settings is None:
        raise _malformed(AWS, f"The AWS file has no such profile: it has {_names(profiles)}.")
    found = {name: settings[name] for name in AWS_FIELDS if settings.get(name)}
    if not found and any(name.startswith(_INDIRECT) for name in settings):
        raise _malformed(
            AWS,
            "The profile gets its keys from elsewhere (a role, a process or single sign-on): only static keys "
            "that are in the file can be verified.",
        )
    _require_fit(AWS, found, ("aws_access_key_id", "aws_secret_access_key"))
    return {AWS_FIELDS[name]: value for name, value in found.items()}


def _names(profiles: Mapping[str, object]) -> str:
    """The names of the profiles there are, as far as they can be shown."""
    shown = [name for name in profiles if _SHOWN_NAME.fullmatch(name)][:_MOST_NAMES]
    others = len(profiles) - len(shown)
    return ", ".join(shown + ([f"{others} more"] if shown and others else [])) or f"{others} of other names"


def _read_azure(text: str, _profile: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for number, line in enumerate(_few_lines(AZURE, text).split("\n"), 1):
        content = line.strip()
        if not content or content.startswith(("#", ";")):
            continue
        name, equals, value = content.partition("=")
        if not equals:
            raise _malformed(AZURE, f"Line {number} of the Azure file is no name=value.")
        name = name.rstrip()
        if name in values:
            raise _malformed(AZURE, f"Line {number} of the Azure file repeats a name.")
        values[name] = value.lstrip()
    found = {name: values[name] for name in AZURE_FIELDS if values.get(name)}
    _require_fit(AZURE, found, AZURE_FIELDS[:3])
    return found


def _unified(text: str) -> str:
    """The text with every line end as a line feed, as programs read it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _few_lines(key: Key, text: str) -> str:
    """The text with unified line ends, if it has no more lines than can be read in no time."""
    text = _unified(text)
    if text.count("\n") > MOST_LINES:
        raise _malformed(key, f"The file has more than {MOST_LINES} lines.")
    return text


def _require_fit(key: Key, found: Mapping[str, str], required: tuple[str, ...]) -> None:
    """Refuse values that are still placeholders, missing, or more than the bare value."""
    faults = {
        "still the placeholder that DQOps put there": [name for name in found if found[name].startswith(_PLACEHOLDER)],
        "missing or empty": [name for name in required if name not in found],
        "in quotation marks or with a space or a comment in it, which its readers take for a part of the value": [
            name for name in found if _UNFIT.search(found[name])
        ],
    }
    for fault, names in faults.items():
        if names:
            raise _malformed(key, f"{_listed(names)} {'is' if len(names) == 1 else 'are'} {fault}.")


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


_READERS: Mapping[Key, Callable[[str, str], dict[str, str]]] = MappingProxyType(
    {AWS: _read_aws, AZURE: _read_azure, GCP: _read_google}
)
