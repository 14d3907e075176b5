"""The benchmarks measure what they say: equal bodies, every answer checked, nothing counted that did not happen."""

import json
from pathlib import Path

import aiohttp
import pytest

from benchmarks import processes, reads, report, verification
from benchmarks.load import Expected, WrongAnswer, connect, full_load, request
from benchmarks.report import Figure, Section, Target

RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: any\r\n\r\nright"


async def test_vouch_and_the_bare_handler_answer_the_same_bytes_and_every_answer_is_checked(tmp_path: Path) -> None:
    with reads.servers(tmp_path) as (service, file):
        bodies = await reads.fill(service, count=120)
        listed = json.loads(bodies["/v4/credentials?per_page=20"])
        assert len(listed["data"]) == 20
        assert listed["pagination_metadata"]["total_items"] == 120
        with reads.beside_bare(service, bodies, file) as pair:
            sections = [await pair.compare(read, 2, 1, 0.1) for read in reads.READS]
            pair.bodies = dict.fromkeys(bodies, b"{}")
            with pytest.raises(ExceptionGroup) as raised:
                await pair.load(1, reads.READS[0], 2, 0.1)
    assert raised.group_contains(WrongAnswer)
    for section in sections:
        figures = {one.what: one for one in section.figures}
        assert figures["vouch"].median > 0
        assert figures["bare aiohttp"].median > 0
        assert sum(one.target is not None for one in section.figures) == 1


async def test_the_generator_takes_no_401_for_an_answer(tmp_path: Path) -> None:
    with processes.vouch(tmp_path / "vouch", cores=processes.ALL_CORES) as service:
        asking = request("GET", "/v4/credentials", service.port, {"X-TILEDB-REST-API-KEY": "nobody's"})
        with pytest.raises(ExceptionGroup) as raised:
            await full_load(service.port, asking, Expected(b""), connections=1, seconds=0.1)
    assert raised.group_contains(WrongAnswer, match="401")


async def test_every_verification_reaches_the_provider(tmp_path: Path) -> None:
    section = await verification.one_at_a_time(tmp_path, rounds=1, each=2)
    figures = {one.what: one.median for one in section.figures}
    assert figures["the provider's own round trip, median"] >= verification.LATENCY
    assert figures["vouch, median"] >= verification.LATENCY
    assert figures["vouch: CPU for a verification"] > 0


async def test_the_stand_in_for_sts_answers_what_is_signed_and_nothing_else() -> None:
    with processes.server("provider", "1", cores=processes.ALL_CORES) as (_process, port):
        url = f"http://127.0.0.1:{port}/"
        async with aiohttp.ClientSession() as session:
            unsigned = await session.post(url, data=b"Action=GetCallerIdentity")
            assert (unsigned.status, verification.asked(port)) == (403, 0)
        headers = verification.signed(url)
        asking = request("POST", "/", port, headers, b"Action=GetCallerIdentity&Version=2011-06-15")
        client = await connect(port, asking, Expected(verification.IDENTITY))
        assert 0.001 <= await client.timed() < 5
        client.close()
        assert verification.asked(port) == 1


def test_an_answer_in_pieces_is_complete_with_its_last_byte() -> None:
    expected = Expected(b"right")
    assert [expected.complete(RIGHT[:end]) for end in range(len(RIGHT) + 1)] == [False] * len(RIGHT) + [True]


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT.replace(b"200 OK", b"201 Created"),
        RIGHT.replace(b"right", b"wrong"),
        RIGHT.replace(b": 5", b": 6"),
        RIGHT + b"more",
    ],
)
def test_another_status_length_or_body_is_refused(answer: bytes) -> None:
    with pytest.raises(WrongAnswer):
        Expected(b"right").complete(answer)


def test_the_median_is_held_against_the_target() -> None:
    low = Figure("latency", [1.0, 9.0, 2.0], "ms", target=Target(2))
    high = Figure("share", [0.5, 0.59, 0.7], target=Target(0.6, at_least=True))
    assert (low.median, low.reached, high.median, high.reached) == (2.0, True, 0.59, False)
    shown = report.table([Section("A title", [low, high, Figure("only told", [3.0])], ["a note"])], {"cores": 2})
    assert "1 of 2 targets reached." in shown
    assert "at least 0.6   NOT REACHED" in shown
    assert "a note" in shown


def test_the_results_name_the_machine_by_what_matters_and_not_by_itself() -> None:
    found = report.document([Section("A title", [Figure("one", [1.0], "s", target=Target(2))])], report.machine())
    assert {"cpu", "cores", "python"} <= found["machine"].keys()
    assert found["sections"][0]["figures"][0] == {
        "what": "one",
        "unit": "s",
        "median": 1.0,
        "lowest": 1.0,
        "highest": 1.0,
        "measurements": 1,
        "target": "at most 2",
        "reached": True,
    }
    assert str(Path.cwd()) not in json.dumps(found)
