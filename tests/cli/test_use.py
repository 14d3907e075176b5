"""The commands that jobs and SDKs run, before peers that say what vouch says, and what it never would."""

import base64
import json
import os
import shlex
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import trustme
from click.testing import CliRunner, Result

from service.cli import COMMANDS, main
from service.cli.client import LARGEST_ANSWER, Client, NoAnswer, check_url, read_token
from service.cli.use import PROVIDERS
from verifiers.base import CloudProvider

ROOT = Path(__file__).parents[2]
TOKEN = "vouch_0123456789abcdef_tHeCaNaRyOfTheCaller"
SECRET = "tHeCaNaRyOfTheMaterial"
FOUND = {"id": "an id/with a slash", "name": "lake", "via": "name", "fallback": False}
LEASE = {
    "id": "1",
    "narrowed": True,
    "notes": [],
    "expires_at": "2030-01-01T00:00:00.123456Z",
    "material": {
        "form": "aws_session",
        "access_key_id": "ASIAEXAMPLE",
        "secret_access_key": SECRET,
        "session_token": f"{SECRET}/token",
    },
}
SESSION = {
    "Version": 1,
    "AccessKeyId": "ASIAEXAMPLE",
    "SecretAccessKey": SECRET,
    "SessionToken": f"{SECRET}/token",
    "Expiration": "2030-01-01T00:00:00Z",
}
SCOPED = ["--bucket", "b", "--prefix", "a/ü", "--access", "read_write"]

Answer = tuple[int, dict[str, str], bytes]


class Peer:
    """An HTTP server that answers by path, and remembers what it was asked."""

    def __init__(self) -> None:
        self.resolve: Answer = _json(FOUND)
        self.lease: Answer = _json(LEASE)
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(peer.resolve)

            def do_POST(self) -> None:
                self._answer(peer.lease)

            def _answer(self, answer: Answer) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                sent = json.loads(raw) if raw else None
                peer.asked.append((self.command, self.path, dict(self.headers), sent))
                status, headers, body = answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


def _json(body: Any, status: int = 200, **headers: str) -> Answer:
    return status, headers, json.dumps(body).encode()


@contextmanager
def running(peer: Peer) -> Iterator[Peer]:
    thread = Thread(target=peer.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield peer
    finally:
        peer.server.shutdown()
        peer.server.server_close()
        thread.join()


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A peer that answers as vouch does when all is well."""
    with running(Peer()) as one:
        yield one


Run = Callable[..., Result]


@pytest.fixture
def run(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with the peer for vouch, and a token in the environment."""
    for name in os.environ:
        if name.startswith("VOUCH_"):
            monkeypatch.delenv(name)

    def invoke(*arguments: str, **environ: str | None) -> Result:
        env = {"VOUCH_URL": peer.url, "VOUCH_TOKEN": TOKEN, **environ}
        return CliRunner().invoke(main, arguments, env=env, prog_name="vouch")

    return invoke


def assert_error(result: Result, *told: str) -> None:
    """It failed, with one line on standard error that says this, and neither token nor material."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    for part in told:
        assert part in line
    assert TOKEN not in line
    assert SECRET not in line


# What is asked, and what is printed


def test_a_credential_process_prints_version_1_of_the_form_and_nothing_else(run: Run, peer: Peer) -> None:
    result = run("credential-process", "lake")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == SESSION
    resolve, lease = peer.asked
    assert resolve[:2] == ("GET", "/v1/resolve?provider=AWS&teamspace_id=&name=lake")
    assert lease[:2] == ("POST", "/v1/credentials/an%20id%2Fwith%20a%20slash/lease")
    assert lease[3] == {}
    assert {asked[2]["Authorization"] for asked in peer.asked} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("command", [["lease", "--provider", "aws"], ["credential-process"]])
def test_every_option_is_sent(run: Run, peer: Peer, command: list[str]) -> None:
    terms = ["--ttl", "1200", "--purpose", "nightly", "--role-arn", "arn:x", "--external-id", "e", "--force"]
    assert run(*command, "a b&c", "--teamspace", "ts_1", *SCOPED, *terms).exit_code == 0
    resolve, lease = peer.asked
    assert resolve[1] == "/v1/resolve?provider=AWS&teamspace_id=ts_1&name=a+b%26c"
    assert lease[3] == {
        "scope": {"bucket": "b", "prefix": "a/ü", "access": "read_write"},
        "ttl_seconds": 1200,
        "purpose": "nightly",
        "role_arn": "arn:x",
        "external_id": "e",
        "force": True,
    }


def test_without_a_name_the_default_is_asked_for(run: Run, peer: Peer) -> None:
    assert run("lease", "--provider", "AZURE").exit_code == 0
    assert peer.asked[0][1] == "/v1/resolve?provider=AZURE&teamspace_id="


def test_a_lease_is_printed_whole(run: Run) -> None:
    result = run("lease", "lake", "--provider", "GCP")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == LEASE


def test_a_lease_needs_a_provider(run: Run, peer: Peer) -> None:
    result = run("lease", "lake")
    assert (result.exit_code, result.stdout, peer.asked) == (2, "", [])
    assert "--provider" in result.stderr


def test_the_providers_are_those_of_the_registry() -> None:
    assert tuple(CloudProvider) == PROVIDERS


@pytest.mark.parametrize("command", [["lease", "--provider", "AWS"], ["credential-process"]])
def test_it_is_said_when_another_than_the_named_one_serves(run: Run, peer: Peer, command: list[str]) -> None:
    peer.resolve = _json(FOUND | {"name": "the \x1b[31mdefault", "fallback": True, "via": "workspace_default"})
    result = run(*command, "lake")
    assert result.exit_code == 0
    assert result.stderr == "Note: There is no lake: the default serves in its place, the  [31mdefault.\n"
    assert SECRET in result.stdout


def test_a_session_that_is_not_held_to_its_scope_is_noted(run: Run, peer: Peer) -> None:
    peer.lease = _json(LEASE | {"narrowed": False})
    result = run("credential-process", *SCOPED)
    assert json.loads(result.stdout) == SESSION
    assert "does not hold this session to the bucket" in result.stderr
    assert run("credential-process").stderr == ""


def test_a_session_for_an_endpoint_of_its_own_is_noted(run: Run, peer: Peer) -> None:
    material = LEASE["material"] | {"endpoint": "https://minio.example"}  # type: ignore[operator] # JSON
    peer.lease = _json(LEASE | {"material": material})
    assert "endpoint_url" in run("credential-process").stderr


def test_the_commands_load_neither_the_web_framework_nor_an_sdk_nor_the_configuration() -> None:
    """SDKs run them again and again."""
    code = (
        "import sys; from service.cli import main\n"
        "try: main(['credential-process', 'x'])\n"
        "except SystemExit: pass\n"
        "heavy = {'aiohttp', 'asyncio', 'boto3', 'botocore', 'cryptography', 'google', 'marshmallow', 'structlog'}\n"
        "print(sorted((heavy | {'service.config', 'service.app', 'verifiers.base'}) & set(sys.modules)))"
    )
    env = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "There is no token" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    module, _, attribute = COMMANDS[name].partition(":")
    assert getattr(import_module(module), attribute).name == name
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_a_command_that_is_none_is_refused() -> None:
    assert CliRunner().invoke(main, ["leases"]).exit_code == 2


OPTIONS = ["--bucket", "--prefix", "--purpose", "--role-arn", "--external-id"]


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_left_empty_does_not_widen_the_lease(run: Run, peer: Peer, option: str) -> None:
    """As of a shell's variable that is not set."""
    told = f"{option} is empty"
    assert_error(run("credential-process", option, ""), told)
    assert_error(run("lease", "--provider", "AWS", option, ""), told)
    if option in OPTIONS[:3]:
        assert_error(run("google-credentials", option, ""), told)
    assert peer.asked == []


def test_a_name_left_empty_is_not_the_default(run: Run, peer: Peer) -> None:
    for command in (["lease", "--provider", "AWS"], ["credential-process"], ["google-credentials"]):
        assert_error(run(*command, ""), "NAME is empty")
    assert peer.asked == []


# The token


@pytest.mark.parametrize(
    "content", [TOKEN, f"{TOKEN}\n", f"Bearer {TOKEN}", f"bearer {TOKEN}\r\n", f"  {TOKEN}  \n"], ids=repr
)
def test_a_token_file_may_have_bearer_before_it_and_a_line_end_behind(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content.encode())
    assert read_token(file, "another") == TOKEN


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"Bearer \n", "holds no API key or token"),
        (f"{TOKEN}\n{TOKEN}\n".encode(), "holds no API key or token"),
        (f"{TOKEN} x".encode(), "holds no API key or token"),
        (f"{TOKEN}\xe9".encode("latin-1"), "holds no API key or token"),
        (f"{TOKEN}\0".encode(), "holds no API key or token"),
        (TOKEN.encode() * 1000, "holds no API key or token"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_file_without_a_token_is_refused_before_anything_is_sent(
    run: Run, peer: Peer, tmp_path: Path, content: bytes, told: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    assert_error(run("credential-process", "--token-file", str(file)), str(file), told)
    assert peer.asked == []


def test_the_file_is_taken_before_the_text(run: Run, peer: Peer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-the-file")
    assert run("credential-process", VOUCH_TOKEN_FILE=str(file)).exit_code == 0
    assert peer.asked[0][2]["Authorization"] == "Bearer from-the-file"


def test_no_token_and_a_missing_file_are_said(run: Run, tmp_path: Path) -> None:
    assert_error(run("lease", "--provider", "AWS", VOUCH_TOKEN=None), "--token-file", "VOUCH_TOKEN_FILE", "VOUCH_TOKEN")
    missing = str(tmp_path / "missing")
    assert_error(run("credential-process", "--token-file", missing), missing, "No such file or directory")


# Where it goes


@pytest.mark.parametrize(
    "url",
    [
        "http://vouch.example:8080",
        "http://10.0.0.1",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://2130706433",
        "http://[::ffff:10.0.0.1]:80",
        "HTTP://vouch.example",
    ],
)
def test_a_token_does_not_go_to_another_machine_in_the_clear(run: Run, url: str) -> None:
    assert_error(run("credential-process", "--url", url), "Plain http", "--insecure-http")
    assert_error(run("google-credentials", "--url", url), "Plain http", "--insecure-http")
    assert check_url(url, insecure_http=True) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vouch.example",
        "ftp://vouch.example",
        "https://",
        "https://:8443",
        "https://u:p@vouch.example",
        "https://vouch.example:port",
        "https://vouch.example:99999",
        "https://vouch.example/?x=y",
        "https://vouch.example?",
        "https://vouch.example/#x",
        "https://vouch.example/ x",
        "https://vouch.example/\r\nX-Header: y",
        "https://vouch.exämple",
        "https://[vouch",
    ],
)
def test_what_is_no_address_of_a_vouch_is_refused(url: str) -> None:
    with pytest.raises(NoAnswer, match="URL of vouch must"):
        check_url(url, insecure_http=True)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost", "https://vouch.example/base"]
)
def test_loopback_may_be_plain_and_a_slash_at_the_end_is_dropped(url: str) -> None:
    assert check_url(f"{url}/", insecure_http=False) == url


def test_a_base_path_is_kept(peer: Peer) -> None:
    Client(f"{peer.url}/base", TOKEN).get("/v1/resolve", {"name": "x"})
    assert peer.asked[0][1] == "/base/v1/resolve?name=x"


def test_redirects_are_not_followed(run: Run, peer: Peer) -> None:
    """Requirement 4."""
    with running(Peer()) as other:
        for status in (301, 302, 303, 307, 308):
            peer.resolve = _json({}, status, Location=f"{other.url}/v1/resolve")
            assert_error(run("credential-process"), "redirects, which is not followed")
        assert other.asked == []


def test_no_proxy_of_the_environment_gets_the_token(run: Run, peer: Peer) -> None:
    """Requirement 4."""
    with running(Peer()) as proxy:
        env = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), proxy.url)
        assert run("credential-process", **env, no_proxy=None, NO_PROXY=None).exit_code == 0
        assert proxy.asked == []
    assert len(peer.asked) == 2


def test_https_needs_a_certificate_that_is_trusted(tmp_path: Path, run: Run) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    peer = Peer()
    peer.server.socket = context.wrap_socket(peer.server.socket, server_side=True)
    url = peer.url.replace("http:", "https:")
    with running(peer):
        assert run("credential-process", "--url", url, "--ca-file", str(ca_file)).exit_code == 0
        assert run("credential-process", VOUCH_URL=url, VOUCH_CA_FILE=str(ca_file)).exit_code == 0
        asked = len(peer.asked)
        assert_error(run("credential-process", "--url", url), "certificate is not trusted")
        other = url.replace("127.0.0.1", "localhost")
        assert_error(run("credential-process", "--url", other, "--ca-file", str(ca_file)), "certificate is not trusted")
        for wrong in (tmp_path / "missing", tmp_path / "empty"):
            (tmp_path / "empty").touch()
            assert_error(run("credential-process", "--url", url, "--ca-file", str(wrong)), "holds no certificates")
        assert len(peer.asked) == asked


def test_a_vouch_that_is_not_there_is_said(run: Run, peer: Peer) -> None:
    # A socket that is being closed may still take a connection, and drop it.
    peer.server.socket.close()
    assert_error(run("credential-process"), peer.url, "can't be reached: Connection re")


# Answers


REPORT = {"remedy": "Ask its owner for a new one.", "outcome": "failed"}


def test_an_error_of_vouch_is_told_with_what_to_do_about_it(run: Run, peer: Peer) -> None:
    wrong = {"fields": [{"field": "scope.prefix", "message": "Must not start with a slash."}]}
    peer.lease = _json(
        {
            "code": 1001,
            "message": f"It is\nnot \x1b[2Jvalid, {TOKEN}.",
            "request_id": "r1",
            "validation_error": wrong,
            "verification": REPORT,
        },
        422,
    )
    told = "vouch answered 422: It is not  [2Jvalid, …. scope.prefix: Must not start with a slash."
    assert_error(run("credential-process"), told, "Ask its owner for a new one. (request r1)")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>a proxy</html>",
        b"",
        b"[1]",
        b"{}",
        b'{"message": 5}',
        b'{"message": "m", "validation_error": {"fields": 5}, "verification": []}',
        b'{"message": "m", "validation_error": [], "verification": {"remedy": 5}}',
        b'{"message": "m", "validation_error": {"fields": [5, {}]}}',
        b'{"message": "' + b"m" * 10_000 + b'"}',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_an_error_that_is_not_as_vouch_writes_it_is_one_short_line_too(run: Run, peer: Peer, body: bytes) -> None:
    peer.resolve = (502, {}, body)
    result = run("credential-process")
    assert_error(result, "answered 502")
    assert len(result.stderr) < 1000


GARBAGE = {
    "no JSON": b"<html>" + SECRET.encode(),
    "cut off": json.dumps(LEASE).encode()[:-3],
    "bad UTF-8": b'{"' + SECRET.encode() + b'": "\xff"}',
    "deep": b'{"' + SECRET.encode() + b'":' + b"[" * 100_000,
    "a list": json.dumps([SECRET]).encode(),
    "long digits": b'{"' + SECRET.encode() + b'":' + b"9" * 5000 + b"}",
    "too long": b" " * (LARGEST_ANSWER + 1) + json.dumps(LEASE).encode(),
    "no material": json.dumps({**LEASE, "material": None}).encode(),
    "another's material": json.dumps({**LEASE, "material": {"sas_token": SECRET}}).encode(),
    "no end": json.dumps({**LEASE, "expires_at": SECRET}).encode(),
}


@pytest.mark.parametrize("case", GARBAGE)
def test_an_answer_that_is_no_lease_is_not_shown(run: Run, peer: Peer, case: str) -> None:
    """Requirement 30: it may hold material all the same."""
    peer.lease = (200, {}, GARBAGE[case])
    assert_error(run("credential-process"))


def test_a_credential_without_an_id_is_not_leased(run: Run, peer: Peer) -> None:
    for body in ({}, {"id": 5, "name": "x"}, {"id": "x"}):
        peer.resolve = _json(body)
        assert_error(run("lease", "--provider", "AWS"), "not as vouch does")
    assert {asked[0] for asked in peer.asked} == {"GET"}


def test_an_answer_that_breaks_off_is_an_error(run: Run, peer: Peer) -> None:
    peer.lease = (200, {"Content-Length": "100000"}, json.dumps(LEASE).encode())
    assert_error(run("credential-process"), "can't be reached: IncompleteRead")
    peer.lease = (200, {f"X-{number}": "y" for number in range(200)}, b"{}")
    assert_error(run("credential-process"), "can't be reached")


def test_arguments_that_are_not_utf_8_are_refused(run: Run, peer: Peer) -> None:
    assert_error(run("credential-process", "lake\udcff"), "not text in UTF-8")
    assert_error(run("google-credentials", "lake\udcff"), "not text in UTF-8")
    assert peer.asked == []


@pytest.mark.parametrize("drip", [False, True])
def test_an_answer_that_never_ends_is_not_waited_for(drip: bool) -> None:
    """A socket's own timeout starts anew with every byte."""
    with slow_peer(drip=drip) as url:
        client = Client(url, TOKEN, seconds=0.4)
        started = time.monotonic()
        with pytest.raises(NoAnswer, match="in time"):
            client.get("/v1/resolve", {})
        assert time.monotonic() - started < 2
        assert TOKEN not in repr(client)


@contextmanager
def slow_peer(*, drip: bool) -> Iterator[str]:
    """A server that never finishes an answer, and gives a byte of it now and then, or none."""
    ended = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _address = server.accept()
            with connection:
                connection.recv(65536)
                while not ended.wait(0.05):
                    if drip:
                        connection.sendall(b"H")

        thread = Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


def test_the_time_is_for_all_that_one_command_asks(peer: Peer) -> None:
    client = Client(peer.url, TOKEN, seconds=0.3)
    client.get("/v1/resolve", {})
    time.sleep(0.35)
    with pytest.raises(NoAnswer, match="in time"):
        client.post("/v1/lease", {})


# Google's executable-sourced credentials


def jwt(**claims: Any) -> str:
    """A token with these claims, signed by nobody: only vouch looks at the signature."""
    parts = [{"alg": "RS256"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2ln"])


def test_a_subject_token_is_handed_over_as_google_reads_it(run: Run, peer: Peer) -> None:
    ends = int(time.time()) + 1000
    for token in (TOKEN, jwt(exp=ends), jwt(), jwt(exp="soon"), jwt(exp=1e400), "a.b.c", "a.bm90IEpTT04.c"):
        result = run("google-subject-token", VOUCH_TOKEN=token)
        told = json.loads(result.stdout)
        left = told.pop("expiration_time") - time.time()
        assert (result.exit_code, result.stderr) == (0, "")
        assert told == {
            "version": 1,
            "success": True,
            "token_type": "urn:ietf:params:oauth:token-type:jwt",
            "id_token": token,
        }
        assert (900 if token == jwt(exp=ends) else 200) < left < (1001 if token == jwt(exp=ends) else 301)
    assert peer.asked == []


def test_a_failure_is_told_google_in_its_own_form(run: Run, tmp_path: Path) -> None:
    expired = jwt(exp=time.time() - 1)
    missing = str(tmp_path / "missing")
    cases: list[tuple[dict[str, str | None], str, str]] = [
        ({"VOUCH_TOKEN": None}, "NO_TOKEN", "There is no token"),
        ({"VOUCH_TOKEN_FILE": missing}, "NO_TOKEN", missing),
        ({"VOUCH_TOKEN": f"{TOKEN} {TOKEN}"}, "NO_TOKEN", "holds no API key or token"),
        ({"VOUCH_TOKEN": expired}, "EXPIRED_TOKEN", "The token has expired."),
    ]
    for environ, code, message in cases:
        result = run("google-subject-token", **environ)
        assert (result.exit_code, result.stderr) == (1, "")
        told = json.loads(result.stdout)
        assert message in told.pop("message")
        assert told == {"version": 1, "success": False, "code": code}
        assert TOKEN not in result.stdout
        assert expired not in result.stdout


def test_google_credentials_name_vouch_and_this_program_and_hold_no_secret(run: Run, peer: Peer) -> None:
    result = run(
        "google-credentials", "a b", "--url", "https://vouch.example/base/", "--token-file", "some where", *SCOPED
    )
    assert (result.exit_code, result.stderr, peer.asked) == (0, "", [])
    told = json.loads(result.stdout)
    assert TOKEN not in result.stdout
    executable = told.pop("credential_source")["executable"]
    query = "name=a%20b&bucket=b&prefix=a%2F%C3%BC&access=read_write"
    assert told == {
        "type": "external_account",
        "audience": "https://vouch.example/base",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"https://vouch.example/base/v1/google/token?{query}",
    }
    command = shlex.split(executable["command"])
    assert Path(command[0]).is_absolute()
    assert os.access(command[0], os.X_OK)
    assert command[-3:] == ["google-subject-token", "--token-file", str(Path.cwd() / "some where")]
    assert 5000 <= executable["timeout_millis"] <= 120_000


def test_google_credentials_for_a_default_ask_for_no_name(run: Run, peer: Peer) -> None:
    told = json.loads(run("google-credentials", "--ttl", "600", "--purpose", "p", "--teamspace", "ts").stdout)
    assert told["token_url"] == f"{peer.url}/v1/google/token?teamspace_id=ts&ttl_seconds=600&purpose=p"
    told = json.loads(run("google-credentials").stdout)
    assert told["token_url"] == f"{peer.url}/v1/google/token"


def test_googles_own_library_reads_the_file_and_runs_the_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth import pluggable

    (tmp_path / "token").write_text(f"{TOKEN}\n")
    told = json.loads(run("google-credentials", "--token-file", str(tmp_path / "token")).stdout)
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(sys, "argv", ["vouch"])
    command = f"{shlex.quote(sys.executable)} -m service google-subject-token --token-file {tmp_path / 'token'}"
    told["credential_source"]["executable"]["command"] = command
    credentials = pluggable.Credentials.from_info(told)
    assert credentials.retrieve_subject_token(None) == TOKEN


def test_the_end_of_a_session_is_told_in_utc(run: Run, peer: Peer) -> None:
    peer.lease = _json(LEASE | {"expires_at": "2030-01-01T02:00:00+02:00"})
    told = json.loads(run("credential-process").stdout)["Expiration"]
    assert datetime.fromisoformat(told) == datetime(2030, 1, 1, tzinfo=UTC)
