"""`vouch import` and `vouch export` as an operator uses them: real processes beside a real service."""

import asyncio
import base64
import json
import os
import pty
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service import bootstrap
from service.config import Config
from service.moving.document import READ_ONLY
from tests.api.leaks import echoing, needles, secrets_of
from tests.api.payloads import CANARY, KINDS
from tests.cli.moving import document, moving_into, put_body, take, text_body
from tests.cli.test_cli import ROOT, environment, get, serving, vouch
from tests.peers.aws_stub import AwsStub, Scripted

PAIR = "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {0}\n"
ID = "11111111-2222-4333-8444-555555555555"


def config_of(folder: Path) -> Config:
    return replace(Config(), data_dir=str(folder / "vouch-data"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the store of a service that has been started once."""
    asyncio.run(bootstrap.first_start(config_of(tmp_path), terminal=True))
    return tmp_path


def write(path: Path, *items: Any) -> Path:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    return path


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_is_imported_beside_a_running_service_is_there_at_once_byte_by_byte(tmp_path: Path) -> None:
    home = tmp_path / "home" / ".credentials"
    home.mkdir(parents=True)
    contents = {"AWS_default_credentials": f"[default]\r\n{PAIR.format(CANARY)}".encode(), "key%3A1": bytes(range(256))}
    for name, content in contents.items():
        (home / name).write_bytes(content)
    (home / "below").mkdir()
    (tmp_path / "aws").write_text(
        f"[default]\n{PAIR.format(CANARY)}[dev]\n{PAIR.format(CANARY)}[sso]\nsso_session = x\n"
    )
    with serving(tmp_path) as (url, _process):
        key = (tmp_path / "vouch-data" / "admin-key").read_text().strip()
        done = vouch(tmp_path, "import", "dqops", str(home.parent), "--report", "report.json")
        assert (done.returncode, done.stdout) == (0, "")
        assert "taken: 2\n  AWS_default_credentials\n  key:1\nskipped: 1\n  below: " in done.stderr
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["counts"] == {"taken": 2, "unchanged": 0, "replaced": 0, "skipped": 1, "refused": 0}
        assert {item["name"] for item in report["items"]} == {"AWS_default_credentials", "key:1", "below"}
        assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o600
        for name, content in contents.items():
            _status, found = get(f"{url}/api/credentials/{name}", key)
            value = found.get("text_value")
            assert (base64.b64decode(found["binary_value"]) if value is None else value.encode()) == content
        done = vouch(tmp_path, "import", "aws", "aws", "--teamspace", "etl")
        assert (done.returncode, done.stdout) == (0, "")
        listed = get(f"{url}/v1/credentials?teamspace_id=etl", key)[1]["data"]
        assert [(one["name"], one["type"]) for one in listed] == [("default", "key"), ("dev", "key")]
        for command in (("dqops", "home"), ("aws", "aws", "--teamspace", "etl")):
            again = vouch(tmp_path, "import", *command)
            assert again.returncode == 0
            assert "unchanged: 2\n" in again.stderr
            assert "taken" not in again.stderr.replace("not taken", "")


def everything() -> list[dict[str, Any]]:
    return [
        *(put_body(kind, kind, allowed_in_tasks=True) for kind in KINDS),
        put_body("gcp hmac", "in a team", teamspace_id="team", provider_default=True),
        text_body("a text", f"{CANARY}\r\n"),
        {**text_body("a binary", base64.b64encode(CANARY.encode()).decode()), "type": "binary"},
    ]


def filled_in(shown: dict[str, Any], by_name: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An exported credential with its secrets back in their places."""
    secrets = by_name[shown["name"]]["payload"]
    payload = {name: secrets.get(name, "") if value == "" else value for name, value in shown["payload"].items()}
    return {**shown, "payload": payload}


def test_an_export_with_the_secrets_filled_in_makes_the_same_listing_in_another_store(folder: Path) -> None:
    here, there = folder, folder / "there"
    there.mkdir()
    asyncio.run(bootstrap.first_start(config_of(there), terminal=True))
    items = everything()
    assert vouch(here, "import", "json", str(write(here / "in.jsonl", *items))).returncode == 0
    exported = vouch(here, "export")
    assert (exported.returncode, exported.stderr) == (0, f"{len(items)} exported\n")
    assert CANARY not in exported.stdout
    by_name = {item["name"]: item for item in items}
    whole = [filled_in(shown, by_name) for shown in lines(exported.stdout)]
    # Once as a list, as a person would edit it, and once as lines.
    (there / "list.json").write_text(json.dumps(whole, indent=2))
    done = vouch(there, "import", "json", "list.json")
    assert done.returncode == 0, done.stderr
    again = vouch(there, "import", "json", str(write(there / "in.jsonl", *whole)), "--replace")
    assert (again.returncode, f"unchanged: {len(items)}\n" in again.stderr) == (0, True)

    def listing(text: str) -> list[dict[str, Any]]:
        return [{name: value for name, value in one.items() if name not in READ_ONLY} for one in lines(text)]

    assert listing(vouch(there, "export").stdout) == listing(exported.stdout)
    team = vouch(there, "export", "--teamspace", "team").stdout
    assert [one["name"] for one in lines(team)] == ["in a team"]
    level = vouch(there, "export", "--teamspace", "").stdout
    assert len(lines(level)) == len(items) - 1
    assert vouch(there, "export", "--workspace", "ws_other").stdout == ""


def test_everything_that_an_export_writes_is_a_put_an_id_or_known_to_be_left_out(folder: Path) -> None:
    write(folder / "in.jsonl", put_body("gcp hmac", "one"))
    assert vouch(folder, "import", "json", "in.jsonl").returncode == 0
    (shown,) = lines(vouch(folder, "export").stdout)
    put = {"kind", "name", "teamspace_id", "provider", "type", "payload", "provider_default", "allowed_in_tasks"}
    assert set(shown) == put | {"id"} | READ_ONLY


def test_a_dry_run_says_what_would_happen_and_a_refusal_is_an_exit_code_of_one(folder: Path) -> None:
    write(folder / "in.jsonl", put_body("gcp hmac", "one"), {"name": "bad"})
    done = vouch(folder, "import", "json", "in.jsonl", "--dry-run", "--report", "report.json")
    assert done.returncode == 1
    assert "would be taken: 1\n  one\nwould be refused: 1\n  bad: " in done.stderr
    assert done.stderr.endswith("Nothing was written.\n")
    assert json.loads((folder / "report.json").read_text())["dry_run"] is True
    assert vouch(folder, "export").stdout == ""


def test_the_example_of_the_page_is_taken(folder: Path) -> None:
    page = (ROOT / "docs" / "moving.md").read_text(encoding="utf-8")
    example = page.partition("```json\n")[2].partition("```")[0]
    done = vouch(folder, "import", "json", "-", input=example)
    assert done.returncode == 0
    assert f"taken: {len(example.splitlines())}\n" in done.stderr
    assert [f"`{name}`" for name in READ_ONLY if f"`{name}`" not in page] == []


def test_standard_input_is_read_for_a_dash(folder: Path) -> None:
    done = vouch(folder, "import", "json", "-", input=json.dumps(put_body("gcp hmac", "one")))
    assert (done.returncode, "taken: 1\n  one\n" in done.stderr) == (0, True)
    done = vouch(folder, "import", "aws", "-", input=f"[two]\n{PAIR.format('s' * 40)}[three]\nx\n")
    assert (done.returncode, "taken: 1\n  two\n" in done.stderr) == (1, True)
    assert "(standard input, line 4)" in done.stderr


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**31)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _path: None, "it can't be read (No such file or directory)."),
        (Path.mkdir, "it is a folder."),
        (os.mkfifo, "it is a pipe."),
        (huge, "it is longer than"),
        (lambda path: path.symlink_to(path), "it can't be read (Too many levels of symbolic links)."),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device."),
        (lambda path: path.write_bytes(b"\xff\xfe[\x00"), "UTF-8"),
    ],
    ids=["none", "folder", "pipe", "2 GB", "a link to itself", "device", "UTF-16"],
)
def test_a_file_that_cannot_be_used_is_one_line_that_names_it(
    folder: Path, make: Callable[[Path], Any], said: str
) -> None:
    make(folder / "the file")
    done = vouch(folder, "import", "json", "the file")
    assert done.returncode == 1
    assert done.stderr.startswith("refused: 1\n")
    assert "the file" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("import", "json", "in", "--workspace", "other"), "workspace: Must start with ws_"),
        (("import", "json", "in", "--teamspace", "a\tb"), "teamspace: Must not contain control characters"),
        (("import", "json", "in", "--report", "nowhere/report"), "No such file or directory"),
        (("import", "json", "in", "--report", "./in"), "is no file that a report could replace"),
        (("import", "json", "in", "--report", "/dev/null"), "is no file that a report could replace"),
        (("import", "json", "in", "--config", "none.toml"), "none.toml"),
        (("export", "--workspace", "WS"), "workspace: Must start with ws_"),
    ],
)
def test_a_mistake_is_one_clear_line_and_no_traceback(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    write(folder / "in", put_body("gcp hmac", "one"))
    done = vouch(folder, *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert vouch(folder, "export").stdout == ""
    assert lines((folder / "in").read_text())
    assert {one.name for one in folder.iterdir()} == {"in", "vouch-data"}


@pytest.mark.parametrize("command", [("import", "json", "in"), ("import", "json", "in", "--dry-run"), ("export",)])
def test_nothing_is_made_where_no_service_was_started(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A store in the wrong folder would take secrets that nobody finds again."""
    write(tmp_path / "in", put_body("gcp hmac", "one"))
    done = vouch(tmp_path, *command)
    assert (done.returncode, "There is no store at" in done.stderr) == (1, True)
    assert not (tmp_path / "vouch-data").exists()
    assert vouch(tmp_path, "api-key", "create", "--name", "x").returncode == 0
    done = vouch(tmp_path, *command)
    assert (done.returncode, "has no key ring yet" in done.stderr) == (1, True)
    assert not (tmp_path / "vouch-data" / "keys").exists()


# Progress and interrupts


def start(folder: Path, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment(), text=True, **more)


def test_a_long_import_says_how_far_it_is_and_an_interrupted_one_goes_on_the_next_time(folder: Path) -> None:
    count = 1_500
    write(folder / "in.jsonl", *(put_body("gcp hmac", f"n{number:04}") for number in range(count)))
    process = start(folder, "import", "json", "in.jsonl", "--report", "report.json", stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert process.stderr.readline() == "100 done\n"
    process.send_signal(signal.SIGINT)
    _out, said = process.communicate(timeout=20)
    assert process.returncode == 130
    report = json.loads((folder / "report.json").read_text())
    done = report["counts"]["taken"]
    assert 100 <= done < count
    assert report["ended"] == "Interrupted"
    assert f"Interrupted after {done} done. What is done is done: run it again to go on.\n" in said
    assert "Traceback" not in said
    assert len(lines(vouch(folder, "export").stdout)) == done
    again = vouch(folder, "import", "json", "in.jsonl")
    assert again.returncode == 0
    assert f"taken: {count - done}\n" in again.stderr
    assert f"unchanged: {done}\n" in again.stderr
    assert "  and " in again.stderr


def test_on_a_terminal_a_bar_says_how_far_it_is(folder: Path) -> None:
    (folder / "aws").write_text("".join(f"[p{number}]\n{PAIR.format('s' * 40)}" for number in range(20)))
    leader, follower = pty.openpty()
    process = start(folder, "import", "aws", "aws", stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    while chunk := _read(leader):
        shown += chunk
    os.close(leader)
    assert process.wait(timeout=20) == 0
    assert b"\r[###############...............] 10 of 20" in shown
    assert b"\r[##############################] 20 of 20\r\n" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


async def hang() -> Scripted:
    """No answer."""
    await asyncio.sleep(20)
    return Scripted(500)


async def finished(process: asyncio.subprocess.Process) -> str:
    """What it said on standard error."""
    _out, said = await asyncio.wait_for(process.communicate(), 20)
    return said.decode()


async def begin(folder: Path, stub: AwsStub, *arguments: str, deadline: str = "0.5") -> asyncio.subprocess.Process:
    """The command, with the stub for AWS, logging all it can."""
    more = {
        "VOUCH_PROVIDERS__AWS__STS_ENDPOINT": stub.url,
        "VOUCH_VERIFICATION__DEADLINE_SECONDS": deadline,
        "VOUCH_LOG__LEVEL": "DEBUG",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", *arguments, cwd=folder, env=environment() | more,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


async def test_a_second_interrupt_ends_even_a_question_under_way(tmp_path: Path, aws_stub: AwsStub) -> None:
    await bootstrap.first_start(config_of(tmp_path), terminal=True)
    (tmp_path / "aws").write_text(f"[one]\n{PAIR.format('s' * 40)}")
    asked = asyncio.Event()

    async def never() -> Scripted:
        asked.set()
        return await hang()

    aws_stub.script(never)
    process = await begin(tmp_path, aws_stub, "import", "aws", "aws", "--verify", deadline="10")
    await asyncio.wait_for(asked.wait(), 20)
    process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.3)
    assert process.returncode is None
    process.send_signal(signal.SIGINT)
    said = await finished(process)
    assert process.returncode == 130
    assert "Interrupted after 0 done." in said
    assert "Traceback" not in said


def test_a_reader_of_an_export_may_leave(folder: Path) -> None:
    async def fill() -> None:
        async with moving_into(config_of(folder)) as inside:
            await take(inside, document(*(text_body(f"n{number:04}", "x") for number in range(500))))

    asyncio.run(fill())
    process = start(folder, "export", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["name"] == "n0000"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=20) == 1


# Secrets


async def test_no_secret_comes_out_of_an_import_whatever_becomes_of_it(tmp_path: Path, aws_stub: AwsStub) -> None:
    """Requirement 30, at DEBUG: output, logs, reports, the database and its log."""
    await bootstrap.first_start(config_of(tmp_path), terminal=True)
    secret = f"{CANARY}0123456789abcdef"
    hidden = needles(secret, *(one for kind in KINDS for one in secrets_of(kind)))
    whole = [*everything(), text_body("text", secret)]
    source = tmp_path / "source"
    source.mkdir()
    (source / "home").mkdir()
    (source / "home" / "file").write_text(secret)
    (source / "home" / "AWS_default_credentials").write_text(f"[default]\n{PAIR.format(secret)}{secret}\n")
    (source / "aws").write_text(
        f"[good]\n{PAIR.format(secret)}aws_session_token = {secret}\n[refused]\n{PAIR.format(secret)}"
        f"[broken]\n{secret}\n[quoted]\naws_access_key_id = x\naws_secret_access_key = '{secret}'\n"
    )
    broken = [{**item, "payload": {name: [value] for name, value in item["payload"].items()}} for item in whole] + [
        {**item, "name": f"{item['name']} 2", "type": "no such"} for item in whole
    ]
    write(source / "lines", *whole, *broken, secret, [secret])
    with (source / "lines").open("a") as file:
        file.write(f'{{"name": "x", "payload": "{secret}\n{{"payload": "{secret}", "payload": "{secret}"}}\n')
    (source / "list").write_text(json.dumps([*whole, *broken])[:-40])
    said = b""
    commands = [
        ("dqops", "source/home"), ("aws", "source/aws"), ("json", "source/lines"), ("json", "source/list", "--replace")
    ]  # fmt: skip
    for number, command in enumerate(commands * 2):
        options = ("--verify", "--report", f"report-{number}.json", *(["--dry-run"] if number < len(commands) else []))
        aws_stub.script(echoing(403, secret), echoing(500, secret), Scripted(200, f"<not<xml {secret}"), hang)
        process = await begin(tmp_path, aws_stub, "import", *command, *options)
        out, err = await asyncio.wait_for(process.communicate(), 40)
        said += out + err + (tmp_path / f"report-{number}.json").read_bytes()
        assert b"Something went wrong" not in err
        assert b"Traceback" not in err
    process = await begin(tmp_path, aws_stub, "export")
    said += b"".join(await asyncio.wait_for(process.communicate(), 20))
    said += b"".join(file.read_bytes() for file in (tmp_path / "vouch-data").iterdir())
    assert b"taken: " in said
    assert b"refused: " in said
    for needle in hidden:
        assert needle not in said
