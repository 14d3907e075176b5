"""What an import does to a real store: once, again, over what is there, and with the provider asked first."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.bootstrap import operator
from service.cli.moving_wiring import Inside
from service.config import Config, LimitsConfig
from service.core.catalog import Preconditions
from service.moving.dqops import read_folder
from service.moving.entries import Incoming, Line, Source
from service.moving.files import MIB
from service.moving.running import INTERRUPTED
from service.moving.stopping import Stop
from tests.api.payloads import CANARY, KINDS
from tests.api.test_tiledb_verify import providers
from tests.cli.moving import (
    database,
    document,
    exported,
    moving_into,
    profiles,
    put_body,
    results,
    stored,
    take,
    text_body,
)
from tests.peers.aws_stub import CALLER_IDENTITY, AwsStub, Scripted, sts_error
from tests.peers.moto import Moto

ID = "11111111-2222-4333-8444-555555555555"
OTHER_ID = "11111111-2222-4333-8444-666666666666"
PAIR = "aws_access_key_id = {0}\naws_secret_access_key = {1}\n"


@pytest.fixture
async def inside(config: Config) -> AsyncIterator[Inside]:
    async with moving_into(config) as inside:
        yield inside


def everything() -> list[dict[str, Any]]:
    """One of each kind."""
    access = [put_body(kind, kind, allowed_in_tasks=True) for kind in KINDS]
    return [
        *access,
        put_body("gcp hmac", "in a team", teamspace_id="team", provider_default=True),
        text_body("text", f"{CANARY}\r\n"),
        {**text_body("binary", "AAEC/w=="), "type": "binary"},
    ]


async def test_everything_is_taken_once_and_is_unchanged_the_second_time(inside: Inside, config: Config) -> None:
    items = everything()
    first = await take(inside, document(*items))
    assert results(first) == [(one["name"], "taken") for one in items]
    before = database(config)
    for replacing in (False, True):
        again = await take(inside, document(*items), replace=replacing)
        assert results(again) == [(one["name"], "unchanged") for one in items]
    assert database(config) == before
    for kind in KINDS:
        record, secret = await stored(inside, kind)
        name = KINDS[kind][5]
        assert secret == ({name: KINDS[kind][4][name]} if name else {})
        assert record.allowed_in_tasks
    assert inside.into.shared.content((await stored(inside, "binary", kind="shared"))[1]) == b"\x00\x01\x02\xff"


async def test_an_export_without_its_secrets_changes_nothing_where_it_came_from(inside: Inside) -> None:
    await take(inside, document(*everything()))
    report = await take(inside, document(*await exported(inside)))
    assert report.counts == {"unchanged": len(everything())}


async def test_what_is_written_is_audited_as_the_operators_doing(inside: Inside, config: Config) -> None:
    await take(inside, document(put_body("gcp hmac", "one")))
    row = database(config)["audit"][-1]
    assert row[2:4] == ("operator", "command line")
    assert row[5:10] == ("ws_default", "", "access", "credential.create", (await stored(inside, "one"))[0].id)


# Over what is there


async def test_one_that_differs_is_left_alone_and_named_with_what_differs(inside: Inside, config: Config) -> None:
    await take(inside, document(*everything()))
    before = database(config)
    changed = [
        put_body("gcp hmac", "gcp hmac"),
        {**put_body("aws key", "aws key", allowed_in_tasks=True), "payload": {**KINDS["aws key"][4], "endpoint": None}},
        {**put_body("azure key", "azure key"), "payload": {"account_name": "storageacct", "account_key": "b" * 44}},
        {**put_body("aws role", "gcp service account")},
        text_body("text", "other"),
        {**text_body("binary", "text now")},
    ]
    report = await take(inside, document(*changed))
    assert results(report) == [(one["name"], "skipped") for one in changed]
    differing = [line.why.partition("differs in ")[2].partition(":")[0] for line in report.lines]
    assert differing == [
        "allowed_in_tasks",
        "payload.endpoint",
        "allowed_in_tasks, the secret",
        "provider, type, allowed_in_tasks, payload.account_id, payload.external_id, payload.key_id, payload.role_arn, "
        "payload.use_path_style, the secret",
        "the secret",
        "type, the secret",
    ]
    assert database(config) == before


async def test_with_replace_it_is_replaced_under_its_id(inside: Inside) -> None:
    await take(inside, document(put_body("azure key", "one"), text_body("text", "old")))
    old, _secret = await stored(inside, "one")
    new = {"account_name": "storageacct", "account_key": "b" * 44}
    report = await take(
        inside, document({**put_body("azure key", "one"), "payload": new}, text_body("text", "new")), replace=True
    )
    assert results(report) == [("one", "replaced"), ("text", "replaced")]
    record, secret = await stored(inside, "one")
    assert (record.id, record.version, secret) == (old.id, old.version + 1, {"account_key": "b" * 44})
    assert inside.into.shared.content((await stored(inside, "text", kind="shared"))[1]) == b"new"


async def test_a_source_that_tells_no_flags_and_types_leaves_them_as_they_are(inside: Inside, tmp_path: Path) -> None:
    pair = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "s" * 40}
    kept = {**put_body("aws key", "lake", allowed_in_tasks=True, provider_default=True), "payload": pair}
    await take(inside, document(kept, {**text_body("file", "eA=="), "type": "binary"}))
    (tmp_path / "file").write_bytes(b"x")
    same = f"[lake]\n{PAIR.format('AKIAIOSFODNN7EXAMPLE', 's' * 40)}"
    assert results(await take(inside, profiles(same), replace=True)) == [("lake", "unchanged")]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(b"x")
    assert results(await take(inside, read_folder(folder, MIB), replace=True)) == [("file", "unchanged")]
    other = f"[lake]\n{PAIR.format('AKIAIOSFODNN7EXAMPLE', 't' * 40)}"
    assert results(await take(inside, profiles(other), replace=True)) == [("lake", "replaced")]
    record, secret = await stored(inside, "lake")
    assert (record.allowed_in_tasks, record.provider_default) == (True, True)
    assert secret == {"secret_access_key": "t" * 40}


async def test_an_id_says_which_one_is_meant_and_a_new_name_renames_it(inside: Inside) -> None:
    body = put_body("gcp hmac", "old name", id=ID)
    assert results(await take(inside, document(body))) == [("old name", "taken")]
    assert (await stored(inside, "old name"))[0].id == ID
    renamed = {**body, "name": "new name"}
    assert results(await take(inside, document(renamed))) == [("new name", "skipped")]
    assert results(await take(inside, document(renamed), replace=True)) == [("new name", "replaced")]
    assert (await stored(inside, "new name"))[0].id == ID


async def test_what_a_put_would_refuse_is_refused_with_a_reason(inside: Inside) -> None:
    blank = {**put_body("gcp hmac", "blank")}
    blank["payload"] = {**blank["payload"], "secret_access_key": ""}
    await take(inside, document(put_body("gcp hmac", "one", id=ID), text_body("text", "x")))
    bad = [
        blank,
        text_body("empty", ""),
        put_body("gcp hmac", "one", id=OTHER_ID),
        {**text_body("moved", "x"), "id": ID},
        {**blank, "name": "one", "payload": {"access_key_id": "GOOG1OTHER", "secret_access_key": ""}},
        {**text_body("text", ""), "type": "binary"},
    ]
    for dry_run in (True, False):
        reports = [await take(inside, document(one), replace=True, dry_run=dry_run) for one in bad]
        lines = [line for report in reports for line in report.lines]
        assert [line.why for line in lines] == [
            "payload.secret_access_key: Nothing is stored for it: send the secret.",
            "payload.content: Nothing is stored for it: send the secret.",
            f"Another credential has the name, under the id {ID}.",
            "kind: There is one of the other kind under this id.",
            "payload.secret_access_key: Send the secret again: the other fields have changed.",
            "payload.content: Send the secret again: the other fields have changed.",
        ]
        assert {line.result for line in lines} == {"refused"}


async def test_what_the_source_has_twice_is_refused_the_second_time(inside: Inside) -> None:
    """Whichever came last would win, and so it would never be unchanged."""
    items = [
        put_body("gcp hmac", "one", id=ID, provider_default=True),
        put_body("gcp hmac", "one"),
        put_body("gcp hmac", "two", id=ID),
        put_body("gcp service account", "three", provider_default=True),
        put_body("gcp hmac", "one", teamspace_id="team", provider_default=True),
        text_body("one", "x"),
    ]
    report = await take(inside, document(*items))
    assert [line.result.value for line in report.lines] == ["taken", *["refused"] * 3, "taken", "taken"]
    assert [line.why for line in report.lines[1:4]] == [
        "a file, line 1 has this name already.",
        "a file, line 1 has this id already.",
        "a file, line 1 has the default of GCP already.",
    ]


async def test_the_flag_of_the_default_is_taken_from_another_only_with_replace(inside: Inside) -> None:
    await take(inside, document(put_body("gcp hmac", "old", provider_default=True)))
    new = document(put_body("gcp hmac", "new", provider_default=True))
    report = await take(inside, new)
    assert results(report) == [("new", "skipped")]
    assert report.lines[0].why == "old is this provider's default there: --replace takes that from it."
    report = await take(inside, document(put_body("gcp hmac", "new", provider_default=True)), replace=True)
    assert report.lines[0].why == "It takes the provider's default from old."
    assert not (await stored(inside, "old"))[0].provider_default


async def test_a_secret_that_does_not_open_is_replaced_by_a_whole_one(inside: Inside, config: Config) -> None:
    await take(inside, document(put_body("gcp hmac", "one")))
    with closing(sqlite3.connect(Path(config.data_dir) / "vouch.db")) as connection, connection:
        connection.execute("UPDATE envelope SET sealed = zeroblob(100)")
    body = put_body("gcp hmac", "one")
    assert results(await take(inside, document(body))) == [("one", "skipped")]
    assert results(await take(inside, document(body), replace=True)) == [("one", "replaced")]
    assert (await stored(inside, "one"))[1] == {"secret_access_key": body["payload"]["secret_access_key"]}


# Dry runs


async def test_a_dry_run_says_what_would_happen_and_writes_nothing(
    inside: Inside, config: Config, no_aws_identity: pytest.MonkeyPatch
) -> None:
    await take(inside, document(put_body("gcp hmac", "same"), put_body("gcp hmac", "other"), text_body("text", "x")))
    before = database(config)
    items = document(
        put_body("gcp hmac", "same"),
        put_body("gcp hmac", "other", allowed_in_tasks=True),
        put_body("aws role", "new"),
        text_body("text", "y"),
        b"broken",
    )
    report = await take(inside, items, replace=True, dry_run=True, verify=False)
    assert results(report) == [
        ("same", "unchanged"), ("other", "replaced"), ("new", "taken"), ("text", "replaced"), ("", "refused")
    ]  # fmt: skip
    # With --verify too: not even the secret that external ids are derived from is made.
    report = await take(inside, document(put_body("aws role", "new")), dry_run=True, verify=True)
    assert [(line.result, line.reason) for line in report.lines] == [("taken", "service_identity")]
    assert database(config) == before


async def test_a_dry_run_with_verify_asks_the_provider_about_what_would_be_saved(
    config: Config, aws_stub: AwsStub
) -> None:
    async with moving_into(providers(config, aws=aws_stub.url)) as inside:
        pair = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "s" * 40}
        body = {**put_body("aws key", "one"), "payload": pair}
        await take(inside, document(body, text_body("file", f"[default]\n{PAIR.format('AKIAX', 's' * 40)}")))
        before = database(config)
        # Their secrets are the stored ones: those are what is asked about.
        changed = [
            {**body, "allowed_in_tasks": True, "payload": {**pair, "secret_access_key": ""}},
            text_body("file", f"[default]\n{PAIR.format('AKIAY', 't' * 40)}"),
            {**body, "name": "two"},
        ]
        aws_stub.script(
            Scripted(200, CALLER_IDENTITY), sts_error("SignatureDoesNotMatch"), sts_error("InvalidClientTokenId")
        )
        report = await take(inside, document(*changed), replace=True, dry_run=True, verify=True)
        assert [(line.result, line.outcome) for line in report.lines] == [
            ("replaced", "verified"), ("refused", "failed"), ("refused", "failed")
        ]  # fmt: skip
        assert database(config) == before


# With the provider asked first


async def test_files_whose_names_break_the_rules_are_refused_and_those_that_decode_to_one_name_once(
    inside: Inside, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a%2Fb", "ws_x", "e\N{COMBINING ACUTE ACCENT}", "%3Ax", ":x", "good"):
        (folder / name).write_bytes(b"x")
    (folder / os.fsdecode(b"caf\xe9")).write_bytes(b"x")
    report = await take(inside, read_folder(folder, MIB))
    refused = {line.name: line.why for line in report.lines if line.result == "refused"}
    assert refused == {
        "a/b": "name: Must not contain a slash or a backslash, nor be . or .. alone.",
        "ws_x": "name: Must not start with ws_: that is kept for workspaces.",
        "e\N{COMBINING ACUTE ACCENT}": "name: Must be in Unicode normalization form C (NFC).",
        "caf\N{REPLACEMENT CHARACTER}": "name: Must not contain control characters or invalid UTF-8.",
        ":x": f"{folder}/%3Ax has this name already.",
    }
    assert report.counts["taken"] == 2
    orjson.dumps(report.to_dict())


async def test_verify_refuses_the_placeholder_that_dqops_ships(inside: Inside, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    text = f"[default]\n{PAIR.format('PLEASE_REPLACE_WITH_KEY', 'PLEASE_REPLACE_WITH_SECRET')}"
    (folder / "AWS_default_credentials").write_text(text)
    report = await take(inside, read_folder(folder, MIB), verify=True)
    assert [(line.result, line.reason) for line in report.lines] == [("refused", "malformed")]
    assert "still the placeholder" in report.lines[0].why
    assert results(await take(inside, read_folder(folder, MIB))) == [("AWS_default_credentials", "taken")]


async def test_verify_refuses_what_the_provider_refuses_and_keeps_the_verdict_on_the_others(
    config: Config, moto: Moto
) -> None:
    good, file = moto.user(), moto.user()
    async with moving_into(providers(config, aws=moto.url)) as inside:
        text = f"[good]\n{PAIR.format(*good[:2])}[bad]\n{PAIR.format(good.access_key_id, CANARY * 3)}"
        report = await take(inside, profiles(text), verify=True)
        assert [(line.name, line.result, line.outcome, line.reason) for line in report.lines] == [
            ("good", "taken", "verified", "ok"), ("bad", "refused", "failed", "bad_secret")
        ]  # fmt: skip
        assert report.lines[1].why.startswith("The access key is known, but the secret access key is not its secret.")
        assert (await stored(inside, "good"))[0].status == "verified"
        assert [one["name"] for one in await exported(inside)] == ["good"]
        # Nobody is asked about what is there already.
        again = await take(inside, profiles(text), verify=True)
        assert [(line.result, line.outcome) for line in again.lines] == [("unchanged", ""), ("refused", "failed")]
        shared = text_body("an AWS file", f"[default]\n{PAIR.format(*file[:2])}")
        report = await take(inside, document(shared), verify=True)
        assert [(line.result, line.outcome) for line in report.lines] == [("taken", "verified")]
        assert (await stored(inside, "an AWS file", kind="shared"))[0].status == "verified"


async def test_what_nobody_can_say_anything_about_is_saved_and_told(config: Config, aws_stub: AwsStub) -> None:
    async with moving_into(providers(config, aws=aws_stub.url)) as inside:
        aws_stub.script(Scripted(503, "busy"))
        pair = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "s" * 40}
        report = await take(
            inside,
            document({**put_body("aws key", "one"), "payload": pair}, text_body("a password", "of a database")),
            verify=True,
        )
        assert [(line.name, line.result, line.outcome) for line in report.lines] == [
            ("one", "taken", "unknown"), ("a password", "taken", "")
        ]  # fmt: skip
        assert report.lines[0].why.startswith("Not verified: ")
        assert report.lines[1].why == "Not verified: nobody can be asked about such a file."
        assert (await stored(inside, "one"))[0].status is None


async def test_a_full_quota_is_waited_for_and_an_interrupt_ends_the_wait(config: Config, aws_stub: AwsStub) -> None:
    config = replace(providers(config, aws=aws_stub.url), limits=LimitsConfig(verifications_per_caller=1))
    text = "".join(f"[{name}]\n{PAIR.format('AKIA' + name, 's' * 40)}" for name in ("one", "two", "three"))
    async with moving_into(config) as inside:
        aws_stub.script(Scripted(200, CALLER_IDENTITY))
        stop = Stop()
        asyncio.get_running_loop().call_later(0.3, stop.set)
        report = await take(inside, profiles(text), verify=True, stop=stop)
        assert (results(report), report.ended) == ([("one", "taken")], INTERRUPTED)
        assert len(aws_stub.received) == 1


# Interrupts, others, and the unexpected


async def test_an_interrupt_leaves_what_is_done_done_and_the_next_run_goes_on(inside: Inside) -> None:
    items = [put_body("gcp hmac", f"n{number:03}") for number in range(40)]
    stop = Stop()

    def tell(line: Line) -> None:
        if line.name == "n009":
            stop.set()

    report = await take(inside, document(*items), stop=stop, tell=tell)
    assert (report.ended, report.counts) == (INTERRUPTED, {"taken": 10})
    assert len(await exported(inside)) == 10
    report = await take(inside, document(*items))
    assert (report.ended, report.counts) == ("", {"unchanged": 10, "taken": 30})


async def test_broken_lines_alone_let_an_interrupt_through(inside: Inside) -> None:
    stop = Stop()
    asyncio.get_running_loop().call_soon(stop.set)
    report = await take(inside, document(*[b"broken"] * 1000), stop=stop)
    assert report.ended == INTERRUPTED
    assert len(report.lines) < 10


async def test_what_somebody_else_changes_meanwhile_is_not_overwritten(config: Config, aws_stub: AwsStub) -> None:
    async with moving_into(providers(config, aws=aws_stub.url)) as inside:
        pair = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "s" * 40}
        body = {**put_body("aws key", "one"), "payload": pair}

        async def meanwhile() -> Scripted:
            (entry,) = document({**body, "allowed_in_tasks": True}).entries
            assert isinstance(entry, Incoming)
            found = (await stored(inside, "one"))[0].id if is_there else ID
            await inside.into.catalog.put(
                operator("ws_default"), found, entry.item, conditions=Preconditions(), vets=None
            )
            return Scripted(200, CALLER_IDENTITY)

        for is_there in (False, True):
            aws_stub.script(meanwhile)
            source = document({**body, "payload": {**pair, "secret_access_key": "t" * 40 if is_there else "s" * 40}})
            report = await take(inside, source, replace=True, verify=True)
            assert results(report) == [("one", "refused")]
            assert report.lines[0].why.startswith("Somebody else changed it meanwhile")
            assert (await stored(inside, "one"))[1] == {"secret_access_key": "s" * 40}
            if is_there:
                continue
            await take(inside, document(body), replace=True)


async def test_a_store_that_cannot_write_ends_it_and_says_so(inside: Inside, config: Config) -> None:
    stop = Stop()
    with closing(sqlite3.connect(Path(config.data_dir) / "vouch.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.5, other.rollback)
        report = await take(inside, document(put_body("gcp hmac", "one")), stop=stop)
    assert results(report) == [("one", "taken")]
    await inside.store.close()
    report = await take(inside, document(put_body("gcp hmac", "two"), put_body("gcp hmac", "three")), stop=AtOnce())
    assert (results(report), report.ended) == ([("two", "refused")], "The store is not available.")


class AtOnce(Stop):
    """Waits for nothing."""

    async def pause(self, seconds: float) -> None:
        """Go on at once."""


async def test_the_unexpected_is_told_by_its_type_and_place_alone(inside: Inside) -> None:
    (entry,) = document(put_body("gcp hmac", "one")).entries
    assert isinstance(entry, Incoming)
    broken = replace(entry, item=replace(entry.item, draft=replace(entry.item.draft, payload=CANARY)))
    report = await take(inside, Source(iter([broken, entry])))
    assert [line.result.value for line in report.lines] == ["refused", "refused"]
    assert report.lines[0].why.startswith("Something went wrong in vouch: AttributeError at ")
    assert CANARY not in repr(report)


async def test_teamspaces_and_workspaces_stay_apart(inside: Inside, config: Config) -> None:
    await take(inside, document(put_body("gcp hmac", "one"), put_body("gcp hmac", "two"), teamspace="team"))
    await take(inside, document(put_body("gcp hmac", "one")))
    assert [(one["teamspace_id"], one["name"]) for one in await exported(inside)] == [
        ("", "one"), ("team", "one"), ("team", "two")
    ]  # fmt: skip
    assert await inside.store.list_teamspaces("ws_other") == []
    id_ = (await stored(inside, "one"))[0].id
    bodies = [put_body("gcp hmac", "one", id=id_), put_body("gcp hmac", "two")]
    report = await take(inside, document(*bodies), workspace="ws_other", replace=True)
    assert results(report) == [("one", "refused"), ("two", "taken")]
    assert "its id is another workspace's" in report.lines[0].why
