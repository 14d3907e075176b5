"""`GET /v1/credentials`: both kinds by kind and name, with cursors and filters."""

import asyncio
import base64
from dataclasses import replace
from typing import Any

import pytest

from service.config import Config, LimitsConfig
from tests.api.native import (
    CREDENTIALS,
    REFUSED,
    SILENT,
    WORKS,
    fields_of,
    file_item,
    item,
    key_item,
    new_id,
    path,
    providers,
    put,
    walk,
)
from tests.api.payloads import KINDS
from tests.conftest import Start, Vouch
from tests.peers.aws_stub import AwsStub

ODD_NAMES = ['"quoted"', "%2F", "a b", "a'b;--", "a?b=c&d", "é", "日本", "🔑", "Ａ", "~", "*", "[]", "{}", "a\u202eb"]


async def put_all(vouch: Vouch, bodies: list[dict[str, Any]]) -> None:
    for start in range(0, len(bodies), 50):
        await asyncio.gather(*(put(vouch, body) for body in bodies[start : start + 50]))


def places(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["kind"], one["name"]) for one in found]


async def test_a_walk_gives_hundreds_of_both_kinds_in_order_whatever_the_page(vouch: Vouch) -> None:
    """By kind, then by code point of the name."""
    names = [*ODD_NAMES, *(f"key {number:03}" for number in range(160))]
    await put_all(vouch, [*(key_item(name) for name in names), *(file_item(name, "x") for name in names)])
    right = [(kind, name) for kind in ("access", "shared") for name in sorted(names)]
    for limit in (7, 100, len(names), 1000):
        assert places(await walk(vouch, limit)) == right, limit
    assert places(await walk(vouch, 50, kind="shared")) == [one for one in right if one[0] == "shared"]
    everything = await vouch.call("GET", CREDENTIALS)
    assert len(everything.json_body["data"]) == 100


@pytest.fixture
async def mixed(start: Start, config: Config, aws_stub: AwsStub) -> Vouch:
    """Every kind thrice, of which two are verified, two failed, one was asked in vain; a shared file of each type."""
    vouch = await start(replace(providers(config, aws=aws_stub.url), limits=LimitsConfig(verifications_per_caller=0)))
    bodies = [item(kind, f"{kind} {number}") for kind in KINDS for number in range(3)]
    await put_all(vouch, [*bodies, file_item("text", "x"), file_item("binary", "AA==", "binary")])
    for number, answer in enumerate((WORKS, WORKS, REFUSED, REFUSED, SILENT)):
        aws_stub.script(answer)
        made = await put(vouch, key_item(f"asked {number}"))
        assert (await vouch.call("POST", path(made["id"], "/verify"))).status == 200
    await put(vouch, key_item("elsewhere", teamspace_id="red"))
    return vouch


async def test_filters_narrow_the_list_alone_and_together(mixed: Vouch) -> None:
    everything = await walk(mixed, 1000)
    assert len(everything) == 3 * len(KINDS) + 2 + 5
    cases: list[dict[str, str]] = [
        {"kind": "access"},
        {"kind": "shared"},
        *({"provider": provider} for provider in ("AWS", "AZURE", "GCP")),
        *({"type": type_} for type_ in ("key", "arn", "token", "azure_token", "text", "binary")),
        *({"status": status} for status in ("verified", "failed", "unknown")),
        {"provider": "AWS", "type": "key"},
        {"provider": "AZURE", "type": "arn"},
        {"provider": "AWS", "type": "key", "status": "failed"},
        {"provider": "AZURE", "status": "verified"},
        {"kind": "shared", "status": "unknown"},
        {"kind": "shared", "provider": "AWS"},
        {"kind": "access", "status": "unknown", "type": "key"},
    ]
    for case in cases:
        right = [
            one
            for one in everything
            if all((one[name] or ("unknown" if name == "status" else None)) == value for name, value in case.items())
        ]
        for limit in (1, 4, 1000):
            assert places(await walk(mixed, limit, **case)) == places(right), (case, limit)
    assert len(await walk(mixed, 10, status="verified")) == 2
    assert len(await walk(mixed, 10, status="failed")) == 2


async def test_expires_before_lists_what_ends_earlier(vouch: Vouch) -> None:
    """What does not end by itself is in no such list; the bound itself is not in it."""
    for name, year in (("a", 2030), ("b", 2031), ("c", 2032)):
        sas = KINDS["azure sas"][4]["sas_token"].replace("2099", str(year))
        await put(vouch, item("azure sas", name) | {"payload": {"account_name": "storageacct", "sas_token": sas}})
    await put(vouch, item("azure key", "endless"))
    for before, right in (
        ("2031-01-01T00:00:00Z", ["a"]),
        ("2031-01-01T00:00:00.000001Z", ["a", "b"]),
        ("2031-01-01T01:00:00+02:00", ["a"]),
        ("2031-01-01T00:00:00-01:00", ["a", "b"]),
        ("2100-01-01T00:00:00Z", ["a", "b", "c"]),
        ("2000-01-01T00:00:00Z", []),
    ):
        for limit in (1, 100):
            found = await walk(vouch, limit, expires_before=before)
            assert [one["name"] for one in found] == right, before
    both = await walk(vouch, 10, expires_before="2100-01-01T00:00:00Z", provider="AZURE", status="unknown")
    assert len(both) == 3
    assert await walk(vouch, 10, expires_before="2100-01-01T00:00:00Z", kind="shared") == []
    assert await walk(vouch, 10, expires_before="2100-01-01T00:00:00Z", type="key") == []


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *(("cursor", one) for one in ("", "x", "%", "é", "A" * 4096, "AA==", cursor("[]"), cursor("{}"), cursor("1"))),
        *(("cursor", cursor(one)) for one in ('["access"]', '["access",1]', '["other","a"]', '["access","a","b"]')),
        *(("cursor", cursor(one)) for one in ("[1,2]", '["access",null]', "[" * 900, '["access","\\ud800"]')),
        *(("limit", one) for one in ("0", "-1", "1001", "x", "1.0", "1e2", "", "٣", "9" * 30)),
        *(("kind", one) for one in ("", "Access", "all", "x" * 5000)),
        *(("provider", one) for one in ("", "aws", "AWS ", "\x00")),
        *(("type", one) for one in ("", "KEY", "none")),
        *(("status", one) for one in ("", "ok", "VERIFIED", "null")),
        *(
            ("expires_before", one)
            for one in ("", "2031", "2031-01-01", "2031-01-01T00:00:00", "soon", "2031-13-01T00:00:00Z")
        ),
        *(("expires_before", one) for one in ("0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", "1e9")),
        *(("teamspace_id", one) for one in ("\x01", "t" * 256)),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_parameter_that_is_none_is_named(vouch: Vouch, parameter: str, value: str) -> None:
    """Requirement 32: a misspelt filter is no empty list."""
    assert fields_of(await vouch.call("GET", CREDENTIALS, params={parameter: value})) == [parameter]


async def test_every_wrong_parameter_is_named_at_once_and_a_repeated_one(vouch: Vouch) -> None:
    answer = await vouch.call("GET", CREDENTIALS, params={"kind": "x", "status": "x", "limit": "x", "cursor": "x"})
    assert set(fields_of(answer)) == {"kind", "status", "limit", "cursor"}
    repeated = await vouch.call("GET", f"{CREDENTIALS}?limit=1&limit=1&status=failed&status=failed&other=1&other=2")
    assert set(fields_of(repeated)) == {"limit", "status"}


async def test_a_cursor_of_one_list_in_another_is_a_place_and_nothing_else(vouch: Vouch) -> None:
    for name in ("a", "b", "c"):
        await put(vouch, key_item(name))
        await put(vouch, file_item(name, "x"))
    first = await vouch.call("GET", CREDENTIALS, params={"limit": "1"})
    place = first.json_body["next_cursor"]
    assert places(await walk(vouch, 10, cursor=place, kind="access")) == [("access", "b"), ("access", "c")]
    assert places(await walk(vouch, 10, cursor=place, kind="shared")) in ([], [("shared", name) for name in "abc"])
    # A place that is no credential's is one all the same.
    assert places(await walk(vouch, 10, cursor=cursor('["access","bb"]'))) == [
        ("access", "c"),
        *(("shared", name) for name in "abc"),
    ]


async def test_a_list_is_of_one_teamspace_and_one_tenant(vouch: Vouch) -> None:
    """Requirement 19."""
    other = await vouch.make_key("admin", workspace="ws_other")
    red = await vouch.make_key("editor", teamspaces=["red"])
    await put(vouch, key_item("level"))
    await put(vouch, file_item("file", "x"))
    await put(vouch, key_item("in red", teamspace_id="red"), key=red)
    await put(vouch, key_item("in blue", teamspace_id="blue"))
    await put(vouch, key_item("theirs"), key=other)
    assert places(await walk(vouch, 10)) == [("access", "level"), ("shared", "file")]
    assert places(await walk(vouch, 10, teamspace_id="red")) == [("access", "in red")]
    assert places(await walk(vouch, 10, key=red, teamspace_id="red")) == [("access", "in red")]
    assert places(await walk(vouch, 10, teamspace_id="none")) == []
    assert places(await walk(vouch, 10, key=other)) == [("access", "theirs")]
    for where in ({}, {"teamspace_id": ""}, {"teamspace_id": "blue"}):
        assert (await vouch.call("GET", CREDENTIALS, key=red, params=where)).status == 403


async def test_what_is_there_throughout_a_walk_is_in_it_once(vouch: Vouch) -> None:
    """Others come, go and change their names meanwhile."""
    stay = [f"stay {number:02}" for number in range(40)]
    await put_all(vouch, [key_item(name) for name in stay])
    passing: list[str] = []
    seen: list[tuple[str, str]] = []
    wanted: dict[str, Any] = {"limit": 3}
    for step in range(100):
        page = (await vouch.call("GET", CREDENTIALS, params=wanted)).json_body
        seen += places(page["data"])
        if page["next_cursor"] is None:
            break
        wanted["cursor"] = page["next_cursor"]
        # Before the place, behind it, and the very one that the page ended with.
        for name in (f"a {step}", f"stay {step:02} and a half", f"z {step}"):
            passing.append(new_id())
            await put(vouch, key_item(name), passing[-1])
        last = page["data"][-1]
        if last["name"] not in stay:
            assert (await vouch.call("DELETE", path(last["id"]))).status == 204
            passing.remove(last["id"])
    assert len(seen) == len(set(seen))
    assert [name for _kind, name in seen if name in stay] == stay


async def test_what_was_renamed_during_a_walk_is_never_twice_in_a_page(vouch: Vouch) -> None:
    made = [await put(vouch, key_item(f"{number:02}")) for number in range(10)]
    first = (await vouch.call("GET", CREDENTIALS, params={"limit": "5"})).json_body
    await put(vouch, key_item("zz"), made[0]["id"])
    rest = await walk(vouch, 5, cursor=first["next_cursor"])
    # It was there under its old name, and is there again under its new one: names are the order.
    assert [one["name"] for one in rest] == ["05", "06", "07", "08", "09", "zz"]
