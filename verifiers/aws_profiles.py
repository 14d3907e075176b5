"""The profiles of an AWS shared-credentials file.

The format is "Shared config and credentials files" of the AWS SDKs' reference guide
(https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html), read as the AWS CLI reads it: with Python's
configparser, option names in lower case, nothing interpolated, no section or name twice. It is not read *with*
configparser, whose expressions and error messages take quadratic time over hostile lines; this takes linear time.
"""

from collections.abc import Mapping

_COMMENTS = ("#", ";")


class NotProfiles(ValueError):
    """The text has no such form. The message is a sentence, and quotes nothing of it but a line's number."""


def parse_profiles(text: str, first_line: int = 1) -> Mapping[str, Mapping[str, str]]:
    """The settings of each profile, by name.

    A value that goes on over indented lines comes with its line ends. `[DEFAULT]` is a profile like any other.

    Args:
        text: of the file, or of a part of it.
        first_line: the number that the first line has in messages.

    Raises:
        NotProfiles: a line is neither section, setting nor comment, or something is there twice.
    """
    profiles: dict[str, dict[str, list[str]]] = {}
    settings: dict[str, list[str]] | None = None
    value: list[str] | None = None
    indent = 0
    for number, line in enumerate(text.split("\n"), first_line):
        content = line.strip()
        if not content or content.startswith(_COMMENTS):
            continue
        depth = len(line) - len(line.lstrip())
        if value is not None and depth > indent:
            value.append(content)
            continue
        indent, value = depth, None
        name = _section(content)
        if name is not None:
            if name in profiles:
                raise NotProfiles(f"The profile on line {number} is in the file twice.")
            settings = profiles[name] = {}
            continue
        if settings is None:
            raise NotProfiles(f"Line {number} comes before any profile: the keys belong under a line [default].")
        name, first = _setting(content, number)
        if name in settings:
            raise NotProfiles(f"Line {number} repeats a setting of its profile.")
        value = settings[name] = [first]
    return {
        profile: {name: "\n".join(lines) for name, lines in settings.items()} for profile, settings in profiles.items()
    }


def _section(content: str) -> str | None:
    """The name in a section's line; None if it is none."""
    end = content.rfind("]")
    return content[1:end] if content.startswith("[") and end > 1 else None


def _setting(content: str, number: int) -> tuple[str, str]:
    """The name and the value of a setting's line."""
    places = [place for delimiter in "=:" if (place := content.find(delimiter)) >= 0]
    name = content[: min(places)].rstrip().lower() if places else ""
    if not name:
        raise NotProfiles(f"Line {number} is neither a [profile], nor a setting with its value, nor a comment.")
    return name, content[min(places) + 1 :].strip()
