"""An AWS shared-credentials file: every profile with keys of its own becomes an AWS key of that name.

The settings are those of the AWS SDKs' reference guide:
https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html,
https://docs.aws.amazon.com/sdkref/latest/guide/feature-static-credentials.html and, for `endpoint_url`,
https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from service.core.catalog import Item
from service.core.changes import Draft
from service.moving.entries import Entry, Incoming, Rejected, Result, Source
from service.moving.files import MIB, Unreadable, text_of
from verifiers.aws_profiles import NotProfiles, parse_profiles
from verifiers.base import Kind
from verifiers.files import AWS_FIELDS, FileRefused, load, recognise

LONGEST = 16 * MIB

_PREFIX = "profile "
_NO_PROFILES = ("sso-session ", "services ", "plugins", "preview")
_ELSEWHERE: Mapping[str, str] = {
    "role_arn": "it assumes a role: register that as an AWS role, with the external id that its trust policy asks for",
    "source_profile": "it gets its keys from another profile",
    "credential_source": "it gets its keys from the machine that it is used on",
    "credential_process": "it gets its keys from a program",
    "web_identity_token_file": "it gets its keys for a token of a workload",
    "sso_session": "it gets its keys by single sign-on",
    "sso_start_url": "it gets its keys by single sign-on",
}
"""Settings that send an SDK elsewhere for its keys, whatever else the profile has."""


class _Part(NamedTuple):
    """The lines from one profile's to the next one's; `first` is the number of the first."""

    first: int
    text: str


def read_profiles(content: bytes, label: str, kind: Kind, teamspace: str) -> Source:
    """The profiles of a file.

    Args:
        content: of the file.
        label: what the file is called in the report.
        kind: AWS keys.
        teamspace: where they are to go; empty for the workspace level.
    """
    try:
        text = text_of(content)
    except Unreadable as error:
        return Source(iter([Rejected(label, f"The file is not taken: {error}.")]), 1)
    parts = _parts(text.replace("\r\n", "\n").replace("\r", "\n"))
    found = [entry for part in parts for entry in _entries(part, label, kind, teamspace)]
    if not found:
        found = [Rejected(label, "The file has no profiles.", result=Result.SKIPPED)]
    return Source(_without_twins(found), len(found))


def _parts(text: str) -> Iterator[_Part]:
    """Each profile by itself, so that a broken one does not keep the others from being read.

    A line that begins with a bracket, without an indent, never goes on what was before it.
    """
    lines: list[str] = []
    first = 1
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("[") and lines:
            yield _Part(first, "\n".join(lines))
            lines, first = [], number
        lines.append(line)
    yield _Part(first, "\n".join(lines))


def _entries(part: _Part, label: str, kind: Kind, teamspace: str) -> Iterator[Entry]:
    try:
        sections = parse_profiles(part.text, part.first)
    except NotProfiles as error:
        head = part.text.partition("\n")[0]
        name = _name(head[1 : head.rfind("]")]) if head.startswith("[") and "]" in head else ""
        yield Rejected(f"{label}, line {part.first}", str(error), name)
        return
    for section, settings in sections.items():
        where = f"{label}, [{section}]"
        if section.startswith(_NO_PROFILES):
            yield Rejected(where, "It is no profile.", section, Result.SKIPPED)
        else:
            yield _entry(where, section, settings, part, kind, teamspace)


def _entry(
    where: str, section: str, settings: Mapping[str, str], part: _Part, kind: Kind, teamspace: str
) -> Incoming | Rejected:
    name = _name(section)
    for setting, why in _ELSEWHERE.items():
        if setting in settings:
            return Rejected(where, f"{setting}: {why}.", name, Result.SKIPPED)
    if not any(setting in settings for setting in AWS_FIELDS):
        return Rejected(where, "It has no keys.", name, Result.SKIPPED)
    try:
        _key, values = recognise(part.text.encode(), section)
        if "endpoint_url" in settings:
            values["endpoint"] = settings["endpoint_url"]
        payload = load(kind, values)
    except FileRefused as refused:
        why = "It is longer than a profile can be." if refused.key is None else refused.verdict.message
        return Rejected(where, why, name)
    return Incoming(where, Item(teamspace, draft=Draft(name, payload)), whole=False)


def _name(section: str) -> str:
    """The profile's name: in a config file, all but the default one are called `profile NAME`, perhaps quoted."""
    name = section.strip()
    if name.startswith(_PREFIX):
        name = name.removeprefix(_PREFIX).strip().strip("\"'")
    return name


def _without_twins(found: list[Entry]) -> Iterator[Entry]:
    """Refuse profiles that are there twice: which of them an SDK takes depends on the SDK."""
    names = Counter(entry.name for entry in found)
    for entry in found:
        if isinstance(entry, Incoming) and names[entry.name] > 1:
            yield Rejected(entry.where, "The profile is in the file more than once.", entry.name)
        else:
            yield entry
