"""What the readers make of files, good ones and bad ones."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from service.moving import document as documents
from service.moving import profiles as profile_files
from service.moving.document import READ_ONLY
from service.moving.dqops import read_folder
from service.moving.entries import Entry, Incoming, Rejected, Result, Source
from service.moving.files import MIB, Unreadable, read
from tests.api.payloads import CANARY
from tests.cli.moving import document, parsed, profiles, put_body, text_body

KEYS = f"aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {CANARY}/K7MDENG/bPxRfiCYEXAMPLEKEY\n"


def taken(source: Source) -> dict[str, Any]:
    """The items by name."""
    return {entry.name: entry.item for entry in source.entries if isinstance(entry, Incoming)}


def rejected(source: Source) -> list[Rejected]:
    return [entry for entry in source.entries if isinstance(entry, Rejected)]


def told(entries: list[Entry]) -> str:
    """All that a report could show of them."""
    return repr(entries) + "".join(str(entry) for entry in entries)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / ".credentials"
    folder.mkdir()
    return folder


# DQOps


def test_the_files_of_a_dqops_user_home_are_taken_byte_by_byte_by_their_names(folder: Path) -> None:
    contents = {
        "AWS_default_credentials": b"\xef\xbb\xbf[default]\r\naws_access_key_id=a\r\n",
        "Azure_default_credentials": "tenant_id=ключ\n\n".encode(),
        "keystore.jks": bytes(range(256)),
        "a text with a NUL": b"a\x00b",
        "latin-1": b"caf\xe9",
        "no end of line": b"x",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    for place in (folder, folder.parent):
        source = read_folder(place, MIB)
        assert source.total == len(contents)
        found = taken(source)
        assert {name: item.file.content for name, item in found.items()} == contents
        binary = {name for name, item in found.items() if item.file.type == "binary"}
        assert binary == {"keystore.jks", "a text with a NUL", "latin-1"}


def test_the_name_of_a_dqops_file_is_decoded_as_dqops_does(folder: Path) -> None:
    """`FileNameSanitizer`: a percent sign and two hexadecimal digits; whatever else has a percent sign stays."""
    for name in ("a%3Ab", "50%25", "100%", "%zz", "a b"):
        (folder / name).write_bytes(b"x")
    assert set(taken(read_folder(folder, MIB))) == {"a:b", "50%", "100%", "%zz", "a b"}


def test_what_is_no_regular_file_in_a_dqops_folder_is_told_and_the_rest_goes_on(folder: Path, tmp_path: Path) -> None:
    (folder / "below").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "empty").touch()
    (folder / "dangling").symlink_to("nowhere")
    (folder / "large").write_bytes(b"x" * 101)
    with (folder / "huge").open("wb") as huge:
        huge.truncate(2**31)
    (folder / "linked pipe").symlink_to("pipe")
    (folder / "loop").symlink_to("loop")
    (tmp_path / "target").write_bytes(b"another's")
    (folder / "outside").symlink_to(tmp_path / "target")
    (folder / "..2026").mkdir()
    (folder / "..2026" / "as Kubernetes mounts it").write_bytes(b"linked")
    (folder / "..data").symlink_to("..2026")
    (folder / "as Kubernetes mounts it").symlink_to("..data/as Kubernetes mounts it")
    (folder / "good").write_bytes(b"x" * 100)
    found = list(read_folder(folder, 100).entries)
    assert {one.name for one in found if isinstance(one, Incoming)} == {"as Kubernetes mounts it", "good"}
    why = {one.name: (one.result.value, one.why) for one in found if isinstance(one, Rejected)}
    assert why == {
        "..2026": ("skipped", "It is not taken: it is a folder."),
        "..data": ("skipped", "It is not taken: it is a folder."),
        "loop": ("refused", "It is not taken: it is a link that leads out of the folder."),
        "outside": ("refused", "It is not taken: it is a link that leads out of the folder."),
        "below": ("skipped", "It is not taken: it is a folder."),
        "pipe": ("refused", "It is not taken: it is a pipe."),
        "linked pipe": ("refused", "It is not taken: it is a pipe."),
        "empty": ("skipped", "It is empty: there is nothing to keep."),
        "dangling": ("refused", "It is not taken: it can't be read (No such file or directory)."),
        "large": ("refused", "It is not taken: it is longer than 100 bytes."),
        "huge": ("refused", "It is not taken: it is longer than 100 bytes."),
    }


def test_a_name_that_is_not_utf_8_can_be_shown(folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))).write_bytes(b"x")
    (found,) = read_folder(folder, MIB).entries
    assert found.name == "caf\N{REPLACEMENT CHARACTER}"
    assert found.where.endswith("/caf\N{REPLACEMENT CHARACTER}")


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, why in (("nowhere", "No such file or directory"), ("file", "Not a directory")):
        (found,) = rejected(read_folder(tmp_path / name, MIB))
        assert found.why == f"The folder can't be read ({why})."


def test_a_file_that_its_reader_may_not_read_is_told(tmp_path: Path) -> None:
    """Root may read everything but what is no memory of its own."""
    with pytest.raises(Unreadable, match="can't be read"):
        read(Path("/proc/self/mem"), MIB)


# AWS


def test_every_profile_with_keys_becomes_a_key_of_that_name() -> None:
    source = profiles(
        f"\ufeff# made by hand\r\n[default]\r\n{KEYS}\r\n"
        f"[session]\n{KEYS}aws_session_token = {CANARY}TOKEN==\nregion=eu-west-1\n"
        f"[profile of a config file]\n{KEYS}[profile 'quoted']\n{KEYS}"
        f"[minio]\n{KEYS}endpoint_url = https://minio.example.org:9000\n",
        "team",
    )
    found = taken(source)
    assert set(found) == {"default", "session", "of a config file", "quoted", "minio"}
    assert {item.teamspace for item in found.values()} == {"team"}
    secret = f"{CANARY}/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert found["default"].draft.payload.secret == {"secret_access_key": secret}
    assert found["session"].draft.payload.secret == {"secret_access_key": secret, "session_token": f"{CANARY}TOKEN=="}
    assert found["minio"].draft.payload.public["endpoint"] == "https://minio.example.org:9000"
    assert found["default"].draft.payload.public["access_key_id"] == "AKIAIOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    ("profile", "result", "said"),
    [
        (
            "role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = good",
            "skipped",
            "role_arn: it assumes a role",
        ),
        (f"{KEYS}role_arn = arn:aws:iam::123456789012:role/x", "skipped", "role_arn: it assumes a role"),
        ("source_profile = good", "skipped", "source_profile: it gets its keys from another profile"),
        ("credential_process = /bin/x", "skipped", "credential_process: it gets its keys from a program"),
        ("sso_session = x", "skipped", "sso_session: it gets its keys by single sign-on"),
        ("region = eu-west-1", "skipped", "It has no keys."),
        ("", "skipped", "It has no keys."),
        ("aws_access_key_id = AKIA", "refused", "aws_secret_access_key is missing or empty."),
        (f"{KEYS}aws_access_key_id = AKIA", "refused", "repeats a setting"),
        (f"{KEYS}{CANARY}", "refused", "Line 7 is neither"),
        (f"aws_access_key_id = 'AKIA'\naws_secret_access_key = '{CANARY}'", "refused", "in quotation marks"),
        (f"aws_access_key_id = A,B\naws_secret_access_key = {CANARY}", "refused", "aws_access_key_id: Must be"),
        (f"{KEYS}endpoint_url = ftp://{CANARY}", "refused", "endpoint: Must be an absolute http or https URL"),
        (f"aws_access_key_id = PLEASE_REPLACE_WITH_X\naws_secret_access_key = {CANARY}", "refused", "placeholder"),
        (f"{KEYS}\n{'#' * 200_000}", "refused", "longer than a profile"),
    ],
)
def test_a_profile_without_usable_keys_is_told_and_the_others_are_taken(profile: str, result: str, said: str) -> None:
    found = list(profiles(f"[good]\n{KEYS}[other]\n{profile}\n[last]\n{KEYS}").entries)
    assert [one.name for one in found if isinstance(one, Incoming)] == ["good", "last"]
    (other,) = [one for one in found if isinstance(one, Rejected)]
    assert (other.name, other.result.value) == ("other", result)
    assert said in other.why
    assert CANARY not in told(found)


def test_a_profile_that_is_there_twice_is_refused_wherever_it_stands() -> None:
    """Which of them is used depends on the SDK."""
    source = profiles(f"[twice]\n{KEYS}[once]\n{KEYS}[profile twice]\nregion = x\n[twice]\n{KEYS}")
    found = list(source.entries)
    assert [one.name for one in found if isinstance(one, Incoming)] == ["once"]
    assert [one.why for one in found if isinstance(one, Rejected) and one.result is Result.REFUSED] == [
        "The profile is in the file more than once."
    ] * 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe[\x00d\x00", "The file is not taken: it is not text in UTF-8."),
        (b"caf\xe9", "The file is not taken: it is not text in UTF-8."),
        (b"", "The file has no profiles."),
        (b"aws_access_key_id = x\n", "Line 1 comes before any profile"),
    ],
)
def test_an_aws_file_that_is_none_is_one_line(content: bytes, said: str) -> None:
    (found,) = rejected(profiles(content))
    assert said in found.why


def test_a_hostile_profile_file_takes_linear_time() -> None:
    """Ten thousands of sections, settings and continued lines are read in a second or two."""
    text = "[x]\n" * 20_000 + "".join(f"[p{number}]\n{KEYS}" for number in range(2_000)) + " a\n" * 20_000
    assert len(taken(profiles(text))) == 1_999
    assert profile_files.LONGEST == 16 * MIB


# JSON


GOOD = put_body("gcp hmac", "good")


@pytest.mark.parametrize(
    "content",
    [
        b"\n".join(json.dumps(one).encode() for one in (GOOD, text_body("text", "x"))),
        b"\xef\xbb\xbf\r\n\r\n" + b"\r\n\r\n".join(json.dumps(one).encode() for one in (GOOD, text_body("text", "x"))),
        json.dumps([GOOD, text_body("text", "x")]).encode(),
        b"\xef\xbb\xbf \n" + json.dumps([GOOD, text_body("text", "x")], indent=4).replace("\n", "\r\n").encode(),
    ],
    ids=["lines", "lines of Windows", "a list", "an indented list of Windows"],
)
def test_lines_and_lists_are_read_alike(content: bytes) -> None:
    found = taken(parsed(content))
    assert set(found) == {"good", "text"}
    assert found["good"].draft.payload.secret == {"secret_access_key": GOOD["payload"]["secret_access_key"]}
    assert found["text"].file.content == b"x"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f'{{"name": "{CANARY}'.encode(), "It is not JSON: column "),
        (b'"text"', "It is no JSON object."),
        (b"[1]", "It is no JSON object."),
        (b"\xff", "It is not UTF-8."),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5_000, "a number that is too long"),
        (b'{"name": "a", "name": "b"}', "an object with a field twice"),
        (b'{"name": NaN}', "NaN"),
        (b'{"name": "\\ud800"}', "half of a surrogate pair"),
        (b" " + b"x" * documents.LONGEST_LINE, "it is longer than 4 MiB"),
        ({**GOOD, "id": 5}, "id: Must be a string."),
        ({**GOOD, "id": "x"}, "id: Must be a UUID in lower case"),
        ({**GOOD, "name": "a/b"}, "name: Must not contain a slash"),
        ({**GOOD, "provider": "IBM"}, "Provider and type must be one of these: AWS key"),
        ({**GOOD, "provider_default": "yes"}, "provider_default: Must be true or false."),
        ({**GOOD, "workspace": "ws_other"}, "workspace: Unknown field."),
        ({**GOOD, "payload": {"access_key_id": "x", "secret_access_key": [CANARY]}}, "secret_access_key: Must be a"),
        ({**GOOD, "payload": CANARY}, "payload: Must be an object."),
        ({**text_body("x", CANARY), "teamspace_id": "team"}, "teamspace_id: A shared credential has none."),
        ({**text_body("x", f"{CANARY}!"), "type": "binary"}, "payload.content: Must be base64."),
    ],
)
def test_a_bad_object_is_one_sentence_and_the_rest_goes_on(line: Any, said: str) -> None:
    found = list(document(GOOD, line, text_body("last", "x")).entries)
    assert [one.name for one in found if isinstance(one, Incoming)] == ["good", "last"]
    (bad,) = [one for one in found if isinstance(one, Rejected)]
    assert bad.where == "a file, line 2"
    assert said in bad.why
    assert "\n" not in bad.why
    assert CANARY not in told(found)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (b'{"name": "x', "This is not JSON, or nested too deeply: nothing is read from here on."),
        (b"[" * 100_000, "This is not JSON, or nested too deeply: nothing is read from here on."),
        (b'{"name": 1} {"name": 2}]', "The list is broken here: nothing is read from here on."),
        (b'{"name": "x"}', "The list is broken here: nothing is read from here on."),
        (b'{"name": "x"}] []', "There is something after the list: it is not read."),
    ],
)
def test_what_comes_before_the_broken_part_of_a_list_is_taken(end: bytes, said: str) -> None:
    found = list(parsed(b"[" + json.dumps(GOOD).encode() + b"," + end).entries)
    assert isinstance(found[0], Incoming)
    assert isinstance(found[-1], Rejected)
    assert found[-1].why == said


def test_an_empty_list_and_an_empty_file_have_nothing() -> None:
    for content in (b"", b"\n\n", b"[]", b" [ ] \n"):
        assert list(parsed(content).entries) == []


def test_what_an_export_tells_beside_a_put_is_left_out() -> None:
    line = {**GOOD, "id": "11111111-2222-4333-8444-555555555555", **dict.fromkeys(READ_ONLY, CANARY)}
    (found,) = document(line).entries
    assert isinstance(found, Incoming)
    assert found.credential_id == line["id"]


def test_those_that_name_no_teamspace_go_where_the_command_says() -> None:
    here, there = {**GOOD, "name": "here", "teamspace_id": ""}, {**GOOD, "name": "there", "teamspace_id": "other"}
    found = taken(document(GOOD, here, there, text_body("text", "x"), teamspace="team"))
    assert {name: item.teamspace for name, item in found.items()} == {
        "good": "team", "here": "", "there": "other", "text": ""
    }  # fmt: skip
