"""The command line as an operator uses it: real processes, a real store."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api.payloads import create_body, key_file

ROOT = Path(__file__).parent.parent.parent


def vouch(folder: Path, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a subcommand in a folder of the test's own."""
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **more,
    )


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VOUCH_", "AWS_"))}
    return kept | {"PYTHONPATH": str(ROOT)}


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A `vouch serve` that is ready, and its address."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--port", "0", *arguments],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield f"http://127.0.0.1:{listening_port(folder, process)}", process
    finally:
        process.kill()
        process.communicate()


def listening_port(folder: Path, process: subprocess.Popen[str]) -> int:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for line in (folder / "log").read_text().splitlines():
            event = json.loads(line)
            if event["event"] == "listening":
                return int(event["port"])
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    raise AssertionError("the service did not start")


def get(url: str, key: str = "") -> tuple[int, Any]:
    request = urllib.request.Request(url, headers={"X-TILEDB-REST-API-KEY": key} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_a_store_a_key_ring_and_one_admin_key_in_private_files(tmp_path: Path) -> None:
    with serving(tmp_path) as (url, process):
        data = tmp_path / "vouch-data"
        assert mode(data) == 0o700
        assert {mode(data / name) for name in ("keys", "admin-key", "vouch.db")} == {0o600}
        key = (data / "admin-key").read_text().strip()
        assert get(f"{url}/v4/credentials", key)[0] == 200
        assert get(f"{url}/readyz")[1]["status"] == "ready"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert key not in out + (tmp_path / "log").read_text()
    ring = (data / "keys").read_bytes()
    with serving(tmp_path) as (url, _process):
        assert get(f"{url}/v4/credentials", key)[0] == 200
    assert (data / "keys").read_bytes() == ring
    assert len(vouch(tmp_path, "api-key", "list").stdout.splitlines()) == 1


def test_on_a_terminal_the_key_is_shown_once_with_a_curl_line_that_works(tmp_path: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--port", "0"],
            cwd=tmp_path, env=environment(), stdout=follower, stderr=log,
        )  # fmt: skip
    os.close(follower)
    try:
        port = listening_port(tmp_path, process)
        shown = os.read(leader, 65536).decode()
        (line,) = (one.strip() for one in shown.splitlines() if one.strip().startswith("curl "))
        assert f":{port}/" in line
        answer = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=20, check=True)
        assert json.loads(answer.stdout)["data"] == []
        assert not (tmp_path / "vouch-data" / "admin-key").exists()
        assert "vouch_" not in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def test_keys_made_and_revoked_beside_a_running_service_are_known_to_it_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as (url, _process):
        made = vouch(tmp_path, "api-key", "create", "--name", "etl", "--role", "verifier", "--expires-in", "3")
        assert made.returncode == 0
        (key,) = made.stdout.splitlines()
        assert get(f"{url}/v4/credentials", key)[0] == 200
        key_id = key.split("_")[1]
        assert f"{key_id}\tuntil " in vouch(tmp_path, "api-key", "list").stdout
        assert vouch(tmp_path, "api-key", "revoke", key_id).returncode == 0
        assert get(f"{url}/v4/credentials", key)[0] == 401
        assert vouch(tmp_path, "api-key", "revoke", key_id).returncode == 1
        assert f"{key_id}\trevoked" in vouch(tmp_path, "api-key", "list").stdout


def test_users_are_made_listed_and_deleted(tmp_path: Path) -> None:
    created = vouch(tmp_path, "user", "create", "ada", "--role", "editor", "--password-stdin", input="correct horse\n")
    assert created.returncode == 0, created.stderr
    assert vouch(tmp_path, "user", "list").stdout == "ada\teditor\tws_default\n"
    assert vouch(tmp_path, "user", "create", "ada", "--password-stdin", input="correct horse\n").returncode == 1
    assert vouch(tmp_path, "user", "create", "bob", "--password-stdin", input="short\n").returncode == 1
    assert vouch(tmp_path, "user", "delete", "ada").returncode == 0
    assert vouch(tmp_path, "user", "delete", "ada").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("api-key", "create", "--name", "x", "--role", "root"), "root"),
        (("api-key", "create", "--name", "x", "--workspace", "other"), "workspace"),
        (("api-key", "create", "--name", ""), "name"),
        (("api-key", "list"), "no store"),
        (("serve", "--host", "not a host", "--port", "0"), "not a host"),
        (("health", "--config", "none.toml"), "none.toml"),
    ],
)
def test_a_mistake_is_one_clear_line_and_no_traceback(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = vouch(tmp_path, *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_lost_key_ring_refuses_to_start_and_overwrites_nothing(tmp_path: Path) -> None:
    """Requirement 27."""
    with serving(tmp_path):
        pass
    ring = tmp_path / "vouch-data" / "keys"
    ring.rename(tmp_path / "saved")
    refused = vouch(tmp_path, "serve", "--port", "0")
    assert refused.returncode == 1
    assert "key ring" in refused.stderr
    assert not ring.exists()


def test_health_says_by_its_exit_code_whether_the_service_is_ready(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobodys = taken.getsockname()[1]
    (tmp_path / "config.toml").write_text(f"[server]\nport = {nobodys}\n")
    assert vouch(tmp_path, "health").returncode == 1
    with serving(tmp_path) as (url, _process):
        (tmp_path / "config.toml").write_text(f"[server]\nport = {url.rpartition(':')[2]}\n")
        done = vouch(tmp_path, "health")
        assert done.returncode == 0
        assert json.loads(done.stdout)["status"] == "ready"


def test_config_check_and_openapi(tmp_path: Path) -> None:
    assert vouch(tmp_path, "config", "check").returncode == 0
    assert json.loads(vouch(tmp_path, "openapi").stdout)["openapi"].startswith("3.1")
    (tmp_path / "config.toml").write_text("[server]\nprot = 1\n")
    refused = vouch(tmp_path, "config", "check")
    assert (refused.returncode, "server.prot" in refused.stderr) == (1, True)


def test_the_bootstrap_key_of_a_mounted_secret_is_an_admin_key(tmp_path: Path) -> None:
    made = vouch(tmp_path, "api-key", "create", "--name", "elsewhere").stdout.strip()
    (tmp_path / "secret").write_text(f"{made}\n")
    (tmp_path / "config.toml").write_text('data_dir = "fresh"\n[auth]\nbootstrap_key_file = "secret"\n')
    for _ in range(2):
        with serving(tmp_path) as (url, _process):
            assert get(f"{url}/v4/credentials", made)[0] == 200
            assert not (tmp_path / "fresh" / "admin-key").exists()
    (tmp_path / "secret").write_text("hello")
    assert "bootstrap_key_file" in vouch(tmp_path, "serve", "--port", "0").stderr


def test_verify_without_a_server_exits_by_the_outcome(tmp_path: Path) -> None:
    body = create_body("azure sas", "one")
    body["token"]["azure"]["sas_token"] = body["token"]["azure"]["sas_token"].replace("2099", "2021")
    (tmp_path / "expired.json").write_text(json.dumps(body))
    failed = vouch(tmp_path, "verify", "expired.json")
    assert failed.returncode == 1, failed.stderr
    report = json.loads(failed.stdout)
    assert (report["outcome"], report["reason"], report["provider"]) == ("failed", "expired", "AZURE")

    foreign = create_body("gcp service account", "one")
    foreign["token"]["gcp"]["key_text"] = key_file(universe_domain="elsewhere.example")
    unknown = vouch(tmp_path, "verify", "-", input=json.dumps(foreign))
    assert unknown.returncode == 2
    assert json.loads(unknown.stdout)["outcome"] == "unknown"

    for text in ("{", json.dumps({"name": "one", "provider": "AWS"}), json.dumps(body | {"name": ""})):
        done = vouch(tmp_path, "verify", "-", input=text)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr
        assert "Traceback" not in done.stderr
