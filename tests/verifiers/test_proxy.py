"""The site's proxy: whom it carries, whom it must not, and what its refusals mean. A real proxy tunnels here."""

import asyncio
import base64
from contextlib import asynccontextmanager

import pytest

from service.config import load_config
from service.core.errors import RefusesToStart
from tests.peers.faults import FaultPeer
from tests.peers.proxy import BODY, behind_a_proxy
from tests.verifiers.ways_out import Zone, egress, refusal
from verifiers.egress import USER_AGENT, Egress
from verifiers.endpoints import destination
from verifiers.no_answer import BLOCKED, PROXY_LOGIN, PROXY_REFUSED, PROXY_UNREACHABLE, TLS_FAILED
from verifiers.proxy import read_proxy
from verifiers.settings import EgressSettings
from verifiers.verdict import NotVerified

NAME = "provider.example"
PUBLIC = "192.0.66.1"  # globally routable; no test connects to it
LOGIN = "vouch:pa:ss-canary"


@asynccontextmanager
async def site(tmp_path, zone=None, **settings):
    """A site that is left through a proxy alone: proxy, the host behind it, and the ways out."""
    async with behind_a_proxy(NAME, "other.example") as (proxy, host):
        trusted = tmp_path / "ca.pem"
        host.authority.cert_pem.write_to_path(str(trusted))
        async with egress(zone, proxy=proxy.url, ca_file=str(trusted), **settings) as out:
            yield proxy, host, out


# The operator's hosts


async def test_an_operators_https_host_is_reached_through_the_proxy_which_sees_its_name_alone(tmp_path):
    """The name is the proxy's to resolve; request, headers and answer pass in a tunnel of TLS from end to end."""
    zone = Zone()
    async with site(tmp_path, zone) as (proxy, host, out):
        for _ in range(2):
            answer = await out.operator.request("GET", f"https://{NAME}/path?a=1", headers={"Authorization": "canary"})
            assert (answer.status, answer.body) == (200, BODY)
        assert proxy.targets == [f"CONNECT {NAME}:443"]  # the tunnel is kept for the second request
        assert f"User-Agent: {USER_AGENT}" in proxy.asked[0]
        assert "canary" not in proxy.asked[0]
        assert "Proxy-Authorization" not in "".join(host.requests)
        assert host.requests[0].startswith(f"GET /path?a=1 HTTP/1.1\r\nHost: {NAME}\r\n")
        assert zone.asked == []


async def test_the_login_goes_to_the_proxy_and_to_nobody_else(tmp_path):
    (tmp_path / "login").write_text(f"{LOGIN}\n")
    async with site(tmp_path, proxy_login_file=str(tmp_path / "login")) as (proxy, host, out):
        await out.operator.request("GET", f"https://{NAME}/")
        wanted = base64.b64encode(LOGIN.encode()).decode()
        assert f"Proxy-Authorization: Basic {wanted}\r\n" in proxy.asked[0]
        assert wanted not in "".join(host.requests)


async def test_the_certificate_behind_the_proxy_is_checked_for_the_hosts_own_name(tmp_path):
    async with site(tmp_path) as (proxy, host, out):
        proxy.hosts["wrong.example"] = ("127.0.0.1", host.port)
        assert await refusal(out.operator.request("GET", "https://wrong.example/")) == TLS_FAILED
        assert host.requests == []


@pytest.mark.parametrize("exception", [NAME, ".example"])
async def test_a_host_of_no_proxy_is_reached_directly(exception, tmp_path):
    zone = Zone(provider_example=[["127.0.0.1"]])
    async with site(tmp_path, zone, no_proxy=(exception,)) as (proxy, host, out):
        assert (await out.operator.request("GET", f"https://{NAME}:{host.port}/")).body == BODY
        assert proxy.asked == []


async def test_plain_http_and_this_machine_are_reached_directly(tmp_path, fault_peer):
    """A proxy would read what is sent in the clear, and take loopback for its own."""
    zone = Zone(provider_example=[["127.0.0.1"]])
    async with site(tmp_path, zone) as (proxy, _host, out):
        await out.operator.request("GET", f"http://{NAME}:{fault_peer.port}/")
        await refusal(out.operator.request("GET", fault_peer.tls_url))  # it is asked, and nobody trusts it
        assert fault_peer.connections == 2
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("entry", "url", "served"),
    [
        ("10.0.0.0/8", "https://10.1.2.3/", False),
        ("10.0.0.0/8", "https://11.1.2.3/", True),
        ("10.1.2.3", "https://10.1.2.3/", False),
        ("fd00::/8", "https://[fd00::1]/", False),
        ("fd00::1", "https://[fd00::1]:8443/", False),
        ("sts.corp", "https://sts.corp/", False),
        ("sts.corp", "https://xsts.corp/", True),
        ("STS.Corp", "https://sts.corp/", False),
        (".corp", "https://sts.corp/", False),
        (".corp", "https://corp/", True),
        (".corp", "https://sts.corp.example/", True),
        ("x.corp", "https://localhost/", False),
        ("x.corp", "https://127.0.0.1/", False),
        ("x.corp", "https://[::1]/", False),
        ("x.corp", "http://provider.example/", False),
        ("x.corp", "https://provider.example/", True),
    ],
)
def test_what_the_proxy_is_for(entry, url, served):
    proxy = read_proxy(EgressSettings(proxy="http://proxy.corp:3128", no_proxy=(entry,)))
    assert proxy is not None
    assert proxy.serves(destination(url)) is served


# Callers' endpoints


async def test_callers_do_not_get_the_proxy_unless_the_operator_says_so(tmp_path):
    """Requirement 1: the proxy resolves names, so an address that it connects to passes no check of ours."""
    zone = Zone(provider_example=[["10.0.0.1"]], other_example=[["10.0.0.1"]])
    async with site(tmp_path, zone) as (proxy, _host, out):
        assert await refusal(out.callers.request("GET", f"https://{NAME}/")) == BLOCKED
        assert proxy.asked == []


async def test_with_the_operators_word_a_callers_public_host_is_reached_through_the_proxy(tmp_path):
    """Whether our own DNS knows the name or not."""
    zone = Zone(other_example=[[PUBLIC]])
    async with site(tmp_path, zone, proxy_callers=True) as (proxy, host, out):
        for name in (NAME, "other.example"):
            assert (await out.callers.request("GET", f"https://{name}/")).body == BODY
        assert proxy.targets == [f"CONNECT {NAME}:443", "CONNECT other.example:443"]
        assert len(host.requests) == 2


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/",
        "https://169.254.169.254/",
        "https://[fd00:ec2::254]/",
        "https://inside.example/",
        "https://mixed.example/",
        "https://provider.example:8443/",
        "http://provider.example/",
        "https://127.1/",
    ],
)
async def test_with_the_operators_word_too_the_guard_refuses_what_it_can_see(url, tmp_path):
    """Requirements 2, 3 and 5: an address, a name that is private to our own DNS, a port, a scheme, a spelling."""
    zone = Zone(inside_example=[["10.0.0.1"]], mixed_example=[[PUBLIC, "169.254.169.254"]])
    async with site(tmp_path, zone, proxy_callers=True) as (proxy, _host, out):
        assert await refusal(out.callers.request("GET", url)) == BLOCKED
        assert proxy.asked == []


async def test_what_allow_names_is_reached_directly_and_under_the_guard(tmp_path):
    """Requirement 6: a private store is inside, and a name that turns to another address is refused as ever."""
    peer = FaultPeer()
    await peer.start()
    port = int(peer.tls_url.rpartition(":")[2])
    zone = Zone(minio_corp=[["127.0.0.1"]], store_corp=[["127.0.0.1"], ["127.0.0.2"]])
    allow = (f"minio.corp:{peer.port}", f"127.0.0.1:{port}")
    async with site(tmp_path, zone, proxy_callers=True, allow=allow, ports=(port,)) as (proxy, _host, out):
        assert (await out.callers.request("GET", f"http://minio.corp:{peer.port}/")).status == 200
        assert await refusal(out.callers.request("GET", peer.tls_url)) == TLS_FAILED  # it got as far as that
        assert peer.connections == 2
        # The first answer, which `allow` admits, says that it is to be reached directly; the second is a denied one.
        assert await refusal(out.callers.request("GET", f"https://store.corp:{port}/")) == BLOCKED
        assert peer.connections == 2
        assert proxy.asked == []
    await peer.stop()


async def test_a_name_server_that_hangs_does_not_hold_up_what_the_proxy_can_reach(tmp_path):
    held = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(*_arguments, **_more):
        asyncio.run_coroutine_threadsafe(held.wait(), loop).result(10)
        raise OSError("nobody waits any more")

    async with site(tmp_path, hang, proxy_callers=True) as (_proxy, _host, out):
        async with asyncio.timeout(4):
            assert (await out.callers.request("GET", f"https://{NAME}/")).body == BODY
        held.set()


# What a proxy does wrong


@pytest.mark.parametrize(
    ("status", "verdict"), [(407, PROXY_LOGIN), (403, PROXY_REFUSED), (502, PROXY_REFUSED), (504, PROXY_REFUSED)]
)
async def test_a_refusal_of_the_proxy_is_unknown_and_says_whose_it_is(status, verdict, tmp_path):
    async with site(tmp_path) as (proxy, host, out):
        proxy.status = status
        assert await refusal(out.operator.request("GET", f"https://{NAME}/")) == verdict
        assert host.requests == []


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "http://nowhere.corp:3128"])
async def test_a_proxy_that_is_not_there_is_told_as_such(proxy):
    async with egress(proxy=proxy) as out:
        assert await refusal(out.operator.request("GET", f"https://{NAME}/")) == PROXY_UNREACHABLE


async def test_a_proxy_that_hangs_is_left_at_the_callers_deadline(tmp_path):
    async with site(tmp_path) as (proxy, _host, out):
        proxy.hangs = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await out.operator.request("GET", f"https://{NAME}/")


async def test_no_verdict_of_a_proxy_quotes_it_or_its_login(tmp_path, caplog):
    caplog.set_level("DEBUG")
    (tmp_path / "login").write_text(LOGIN)
    async with site(tmp_path, proxy_login_file=str(tmp_path / "login")) as (proxy, _host, out):
        for proxy.status in (407, 502):
            with pytest.raises(NotVerified) as caught:
                await out.operator.request("GET", f"https://{NAME}/")
            said = f"{caught.value!r} {caught.value.verdict} {caplog.text}"
            secret = base64.b64encode(LOGIN.encode()).decode()
            assert [one for one in ("canary", secret, proxy.url, NAME) if one in said] == []


# Settings


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"proxy": "proxy.corp:3128"}, "egress.proxy"),
        ({"proxy": "https://proxy.corp:3128"}, "egress.proxy"),
        ({"proxy": "socks5://proxy.corp:1080"}, "egress.proxy"),
        ({"proxy": "http://me:pass-canary@proxy.corp:3128"}, "egress.proxy"),
        ({"proxy": "http://proxy.corp:3128/path"}, "egress.proxy"),
        ({"proxy": "http://proxy.corp:3128?a=b"}, "egress.proxy"),
        ({"proxy": "http://p:1", "no_proxy": ("*.corp",)}, "egress.no_proxy"),
        ({"proxy": "http://p:1", "no_proxy": ("10.0.0.0/99",)}, "egress.no_proxy"),
        ({"proxy": "http://p:1", "no_proxy": ("host:443",)}, "egress.no_proxy"),
        ({"proxy": "http://p:1", "proxy_login_file": "/nowhere/login"}, "egress.proxy_login_file"),
        ({"no_proxy": (".corp",)}, "egress.no_proxy"),
        ({"proxy_callers": True}, "egress.proxy_callers"),
        ({"proxy_login_file": "login"}, "egress.proxy_login_file"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_no_login_quoted(settings, named):
    with pytest.raises(ValueError, match=named) as caught:
        Egress(EgressSettings(**settings))
    assert "canary" not in str(caught.value)


def test_such_a_setting_refuses_to_start():
    with pytest.raises(RefusesToStart, match=r"egress\.proxy must be"):
        load_config(None, {"VOUCH_EGRESS__PROXY": "proxy.corp:3128"})
    found = load_config(
        None, {"VOUCH_EGRESS__PROXY": "http://proxy.corp:3128", "VOUCH_EGRESS__NO_PROXY": ".corp,10.0.0.0/8"}
    )
    assert found.egress.no_proxy == (".corp", "10.0.0.0/8")


@pytest.mark.parametrize("content", [b"", b"no-colon-canary", b"me:canary\nsecond line", b":" * 5000])
def test_a_login_file_that_is_none_is_refused_without_a_quote(content, tmp_path):
    (tmp_path / "login").write_bytes(content)
    with pytest.raises(ValueError, match=r"egress\.proxy_login_file") as caught:
        read_proxy(EgressSettings(proxy="http://p:1", proxy_login_file=str(tmp_path / "login")))
    assert "canary" not in str(caught.value)


def test_a_proxy_shows_nothing_of_its_login(tmp_path):
    (tmp_path / "login").write_text(LOGIN)
    proxy = read_proxy(EgressSettings(proxy="http://proxy.corp:3128/", proxy_login_file=str(tmp_path / "login")))
    assert proxy is not None
    assert proxy.headers
    assert "Basic" not in repr(proxy)
