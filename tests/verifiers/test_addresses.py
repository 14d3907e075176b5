"""Which addresses, spellings of hosts and exceptions the guard believes."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.addresses import canonical_host, host_address, is_denied, is_metadata, parse_allow, unwrap
from verifiers.endpoints import CallerPolicy, canonical_url, destination

DENIED = (
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.9",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::8.8.8.8",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
)
PUBLIC = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "52.94.133.131",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "168.63.129.15",
    "168.63.129.17",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2600:1f18::1",
    "3ffe:ffff::1",
)
ODD_HOSTS = (
    "",
    ".",
    "..",
    "a..b",
    ".a",
    "127.1",
    "127.0.1",
    "0",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "127.0.0.0x1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.01",
    "127.0.0.1.1",
    "256.1.1.1",
    "1.2.3.4.5",
    "example.0x",
    "example.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "127\uff0e0\uff0e0\uff0e1",
    "\uff11\uff12\uff17.0.0.1",
    "\uff4cocalhost",
    "ⓛocalhost",
    "\u212aubernetes",
    "exam\u00adple.com",
    "exam\u200dple.com",
    "exa mple.com",
    "exam%70le.com",
    "user@example.com",
    "example.com\\",
    "example.com\n",
    "-example.com",
    "example-.com",
    "a" * 64,
    ".".join(["a" * 63] * 5),
    "xn--",
    "xn--a",
    "[::1",
    "::1",
    "[]",
    "[127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:8.8.8.8]",
    "[fe80::1%eth0]",
    "[fe80::1%25eth0]",
    "[::1]x",
    "[v1.a]",
    "*",
)


@pytest.mark.parametrize("address", DENIED)
def test_addresses_that_are_not_a_public_hosts_are_denied(address):
    """Requirement 2."""
    assert is_denied(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_public_hosts_are_not_denied(address):
    """Requirement 2."""
    assert not is_denied(ip_address(address))


@given(st.ip_addresses())
def test_whatever_python_calls_local_or_multicast_is_denied(address):
    """Requirement 2: ours is the stricter table of the two."""
    address = unwrap(address)
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        assert is_denied(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_mapped_address_is_judged_as_the_address_inside(address):
    """Requirement 2."""
    mapped = IPv6Address(f"::ffff:{address}")
    assert unwrap(mapped) == address
    assert is_denied(mapped) == is_denied(address)
    assert is_metadata(mapped) == is_metadata(address)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254",
        "64:ff9b:1:a9fe:a9:fe00::",  # RFC 6052 section 2.2, a prefix of 48 bits
        "64:ff9b:1:a9:fe:a9fe::",  # of 56 bits
        "64:ff9b:1:0:a9:fea9:fe00:0",  # of 64 bits
        "2002:a9fe:a9fe::1",
        "2001::5601:5601",  # Teredo carries the client's address inverted
        "168.63.129.16",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    ],
)
def test_a_metadata_service_is_known_in_every_wrapping(address):
    """Requirement 2."""
    assert is_metadata(ip_address(address))
    assert is_denied(ip_address(address))


@pytest.mark.parametrize("host", ODD_HOSTS)
def test_a_host_in_an_odd_spelling_has_no_canonical_form(host):
    """Requirement 5."""
    with pytest.raises(ValueError):
        canonical_host(host)


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("Minio.CORP", "minio.corp"),
        ("minio.corp.", "minio.corp"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("minio_1", "minio_1"),
        ("1.example", "1.example"),
        ("10.1.2.3", "10.1.2.3"),
        ("[2001:4860:0:0:0:0:0:8888]", "[2001:4860::8888]"),
        ("[FD00::1]", "[fd00::1]"),
    ],
)
def test_a_host_has_one_canonical_form(host, canonical):
    """Requirement 5."""
    assert canonical_host(host) == canonical
    assert canonical_host(canonical) == canonical


@given(st.text(max_size=40))
def test_what_has_a_canonical_form_is_ascii_stable_and_one_thing(host):
    """Requirement 5: nothing but ValueError comes out, and what passes means the same to every resolver."""
    try:
        canonical = canonical_host(host)
    except ValueError:
        return
    assert canonical.isascii()
    assert canonical == canonical.lower()
    assert canonical_host(canonical) == canonical
    last = canonical.rsplit(".", 1)[-1]
    assert host_address(canonical) is not None or not (last.isdigit() or last.startswith("0x"))


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTPS://Minio.Corp.:9000/a%2Fb?c=%7E", "https://minio.corp:9000/a%2Fb?c=%7E"),
        ("https://bücher.example:443", "https://xn--bcher-kva.example"),
        ("http://example.com:80/", "http://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("https://[2001:4860:0:0::8888]:9000?x", "https://[2001:4860::8888]:9000?x"),
    ],
)
def test_a_url_has_one_canonical_form_and_keeps_its_path(url, canonical):
    """Requirement 5."""
    assert canonical_url(url) == canonical
    assert destination(canonical).url == canonical


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https:/example.com",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://@example.com/",
        "https://example.com:/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:443:443/",
        "https://example.com:\uff1443/",
        "https://example.com/#fragment",
        "https://example.com/a b",
        "https://example.com/\r\nX: y",
        "https://example.com/é",
        "https://example.com\\@169.254.169.254/",
        "https://169.254.169.254\\.example.com/",
        "https://example.com./",  # has a canonical form, and this is not it
        "https://bücher.example/",
        "https://[2001:4860:0:0::8888]/",
        " https://example.com/",
        "https://example.com/\n",
    ],
)
def test_what_is_not_a_canonical_url_is_no_destination(url):
    """Requirement 5."""
    with pytest.raises(ValueError):
        destination(url)


def policy(*allow, ports=(443,)):
    return CallerPolicy(parse_allow(allow), frozenset(ports))


def admitted(one, url, address):
    where = destination(url)
    return one.may_look_up(where) and one.admits(where, ip_address(address))


def test_without_exceptions_only_https_on_a_listed_port_of_a_public_host_is_admitted():
    """Requirements 5 and 6."""
    plain = policy()
    assert admitted(plain, "https://example.com/", "8.8.8.8")
    assert not admitted(plain, "http://example.com/", "8.8.8.8")
    assert not admitted(plain, "http://example.com:443/", "8.8.8.8")
    assert not admitted(plain, "https://example.com:8443/", "8.8.8.8")
    assert admitted(policy(ports=(443, 8443)), "https://example.com:8443/", "8.8.8.8")
    assert not admitted(plain, "https://example.com/", "10.0.0.1")


@pytest.mark.parametrize(
    ("entry", "url", "address"),
    [
        ("10.1.2.3:9000", "http://10.1.2.3:9000/", "10.1.2.3"),
        ("10.1.2.3:9000", "https://10.1.2.3:9000/", "10.1.2.3"),
        ("10.1.2.3:9000", "http://any.corp:9000/", "10.1.2.3"),
        ("10.1.2.3", "http://10.1.2.3:1234/", "10.1.2.3"),
        ("10.0.0.0/8", "http://10.255.0.1:1234/", "10.255.0.1"),
        ("10.0.0.0/8", "http://any.corp:1234/", "::ffff:10.255.0.1"),
        ("minio.corp:9000", "http://minio.corp:9000/", "10.1.2.3"),
        ("Minio.Corp.:9000", "http://minio.corp:9000/", "8.8.8.8"),
        ("minio.corp", "http://minio.corp:1234/", "fd00::1"),
        ("[::1]:9000", "http://[::1]:9000/", "::1"),
        ("[::1]", "http://[::1]:1234/", "::1"),
        ("::1", "http://[::1]:1234/", "::1"),
        ("[0:0::1]:9000", "http://[::1]:9000/", "::1"),
        ("fd00::/8", "http://[fd00::7]:9000/", "fd00::7"),
        ("169.254.169.254", "http://169.254.169.254/", "169.254.169.254"),
        ("169.254.169.254:80", "http://169.254.169.254/", "169.254.169.254"),
        ("169.254.169.254/32", "http://169.254.169.254/", "169.254.169.254"),
        ("fd00:ec2::254/128", "http://[fd00:ec2::254]/", "fd00:ec2::254"),
    ],
)
def test_an_entry_admits_what_it_names_plain_http_included(entry, url, address):
    """Requirement 6."""
    assert not admitted(policy(), url, address)
    assert admitted(policy(entry), url, address)


@pytest.mark.parametrize(
    ("entry", "url", "address"),
    [
        ("10.1.2.3:9000", "http://10.1.2.3:9001/", "10.1.2.3"),
        ("10.1.2.3:9000", "http://10.1.2.4:9000/", "10.1.2.4"),
        ("10.0.0.0/8", "http://11.0.0.1:9000/", "11.0.0.1"),
        ("minio.corp:9000", "http://minio.corp:9001/", "10.1.2.3"),
        ("minio.corp:9000", "http://other.corp:9000/", "10.1.2.3"),
        ("minio.corp:9000", "http://a.minio.corp:9000/", "10.1.2.3"),
        ("minio.corp:9000", "http://10.1.2.3:9000/", "10.1.2.3"),
        ("minio.corp", "http://minio.corp:9000/", "169.254.169.254"),
        ("minio.corp", "http://minio.corp:9000/", "64:ff9b::169.254.169.254"),
        ("0.0.0.0/0", "http://169.254.169.254/", "169.254.169.254"),
        ("0.0.0.0/0", "http://168.63.129.16/", "168.63.129.16"),
        ("169.254.0.0/16", "http://169.254.169.254/", "169.254.169.254"),
        ("::/0", "http://[fd00:ec2::254]/", "fd00:ec2::254"),
        ("::/0", "http://[64:ff9b::a9fe:a9fe]/", "64:ff9b::169.254.169.254"),
        ("169.254.169.254:8080", "http://169.254.169.254/", "169.254.169.254"),
        ("10.0.0.0/8", "https://example.com:8443/", "8.8.8.8"),
        ("10.0.0.0/8", "http://example.com/", "8.8.8.8"),
    ],
)
def test_an_entry_admits_nothing_beside_what_it_names(entry, url, address):
    """Requirement 6; a metadata service is opened by its own address alone."""
    assert not admitted(policy(entry), url, address)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        " ",
        "*",
        "*.corp",
        ":9000",
        "minio.corp:",
        "minio.corp:0",
        "minio.corp:65536",
        "minio.corp:http",
        "minio.corp:9000/path",
        "http://minio.corp:9000",
        "10.0.0.0/8:9000",
        "10.0.0.0/33",
        "10.1.2.3/8",
        "10.1.2.300",
        "127.1:9000",
        "0x7f000001",
        "[::1",
        "[::1]:",
        "fe80::1%eth0",
        "::ffff:0:0/96",
        "minio corp",
        9000,
    ],
)
def test_a_malformed_entry_is_refused_by_name(entry):
    """Requirement 6: the service refuses to start with it."""
    with pytest.raises(ValueError, match=r"^egress\.allow: ") as caught:
        parse_allow(["10.0.0.0/8", entry])
    assert repr(entry) in str(caught.value)


def test_a_mapped_entry_is_the_address_inside():
    """Requirement 2."""
    with pytest.raises(ValueError, match=r"egress\.allow"):
        parse_allow(["[::ffff:10.1.2.3]:9000"])
    assert parse_allow(["10.1.2.3"]).has_address(IPv6Address("::ffff:10.1.2.3"), 80)
    assert parse_allow(["10.1.2.3"]).addresses == {(IPv4Address("10.1.2.3"), None)}
