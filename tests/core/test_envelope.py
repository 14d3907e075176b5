"""Envelopes: what opens them, and that nothing else does."""

import re
from itertools import combinations

import pytest

from service.core.envelope import NONCE_BYTES, Envelope, binding, check_canary, decrypt, joined, seal_canary
from service.core.errors import EnvelopeBroken, RefusesToStart
from service.core.model import Sealed
from service.keyrings.file import FileKeyRing
from tests.contracts.records import a_credential

SECRET = b'{"secret_access_key":"canary-secret"}'
BOUND = b"bound to this"
KEYS = {"k1": b"1" * 32, "k2": b"2" * 32}


@pytest.fixture
def envelope() -> Envelope:
    """Seals with the first of two keys."""
    return Envelope(FileKeyRing("k1", KEYS))


@pytest.mark.parametrize("plaintext", [b"", b"x", SECRET, bytes(1_000_000)])
async def test_what_was_sealed_opens_again(envelope: Envelope, plaintext: bytes) -> None:
    sealed = await envelope.seal(plaintext, BOUND)
    assert sealed.key_id == "k1"
    assert await envelope.open(sealed, BOUND) == plaintext


async def test_the_sealed_bytes_say_their_format_and_key_and_not_the_secret(envelope: Envelope) -> None:
    """Requirement 24."""
    sealed = await envelope.seal(SECRET, BOUND)
    assert sealed.envelope.startswith(b"\x01\x02k1")
    assert b"canary" not in sealed.envelope
    header, wrapped = 4, 2 + 12 + 32 + 16
    assert len(sealed.envelope) == header + wrapped + 12 + len(SECRET) + 16


async def test_no_two_envelopes_share_a_data_key_or_a_nonce(envelope: Envelope) -> None:
    """Requirement 24."""
    ones = [(await envelope.seal(SECRET, BOUND)).envelope for _ in range(50)]
    wrapped, nonces = {one[6:66] for one in ones}, {one[66 : 66 + NONCE_BYTES] for one in ones}
    assert len(wrapped) == len(nonces) == 50
    ring = FileKeyRing("k1", KEYS)
    assert len({await ring.unwrap(Sealed("k1", one), BOUND) for one in wrapped}) == 50


async def assert_broken(envelope: Envelope, sealed: Sealed, bound: bytes = BOUND) -> None:
    """It does not open, and the error says nothing of why (requirement 28)."""
    with pytest.raises(EnvelopeBroken) as raised:
        await envelope.open(sealed, bound)
    error = raised.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert str(error) == "Something went wrong on our side."


async def test_no_flipped_bit_goes_unnoticed(envelope: Envelope) -> None:
    """Requirement 28."""
    key_id, content = await envelope.seal(SECRET, BOUND)
    for at in range(len(content)):
        for bit in (1, 0x80):
            spoilt = bytearray(content)
            spoilt[at] ^= bit
            await assert_broken(envelope, Sealed(key_id, bytes(spoilt)))


async def test_nothing_shorter_or_longer_opens(envelope: Envelope) -> None:
    """Requirement 28."""
    key_id, content = await envelope.seal(SECRET, BOUND)
    for length in range(len(content)):
        await assert_broken(envelope, Sealed(key_id, content[:length]))
    await assert_broken(envelope, Sealed(key_id, content + b"\x00"))


async def test_it_opens_with_its_own_binding_alone(envelope: Envelope) -> None:
    """Requirement 25."""
    sealed = await envelope.seal(SECRET, BOUND)
    for other in (b"", BOUND[:-1], BOUND + b"\x00", b"\x00" + BOUND):
        await assert_broken(envelope, sealed, other)


@pytest.mark.parametrize("key_id", ["k2", "", "k", "k11", "K1", "k\u0661", "\ud800", "k" * 300])
async def test_the_row_and_the_sealed_bytes_must_name_the_same_key(envelope: Envelope, key_id: str) -> None:
    _, content = await envelope.seal(SECRET, BOUND)
    await assert_broken(envelope, Sealed(key_id, content))


async def test_renaming_the_key_in_both_places_does_not_open_it(envelope: Envelope) -> None:
    """The second key must not open what the first one sealed, nor a key that has the first one's bytes."""
    _, content = await envelope.seal(SECRET, BOUND)
    await assert_broken(envelope, Sealed("k2", content.replace(b"k1", b"k2", 1)))
    same_bytes = Envelope(FileKeyRing("k2", {"k2": KEYS["k1"]}))
    await assert_broken(same_bytes, Sealed("k2", content.replace(b"k1", b"k2", 1)))


async def test_a_key_that_is_not_in_the_ring_opens_nothing(envelope: Envelope) -> None:
    sealed = await envelope.seal(SECRET, BOUND)
    await assert_broken(Envelope(FileKeyRing("k2", {"k2": KEYS["k2"]})), sealed)
    await assert_broken(Envelope(FileKeyRing("k1", {"k1": KEYS["k2"]})), sealed)


async def test_a_ring_opens_what_an_older_of_its_keys_sealed(envelope: Envelope) -> None:
    """Requirement 26."""
    sealed = await envelope.seal(SECRET, BOUND)
    assert await Envelope(FileKeyRing("k2", KEYS)).open(sealed, BOUND) == SECRET


async def test_a_wrapped_data_key_of_another_envelope_does_not_open_it(envelope: Envelope) -> None:
    first, second = [await envelope.seal(SECRET, BOUND) for _ in range(2)]
    await assert_broken(envelope, Sealed("k1", first.envelope[:66] + second.envelope[66:]))


@pytest.mark.parametrize(
    "content", [b"", b"\x01", b"\x02\x02k1", b"\x01\x02k1\xff\xff", b"\x01\x02k1\x00\x00" + bytes(28)]
)
async def test_garbage_does_not_open(envelope: Envelope, content: bytes) -> None:
    await assert_broken(envelope, Sealed("k1", content))


def test_a_key_of_the_wrong_length_decrypts_nothing() -> None:
    assert decrypt(b"short", bytes(64), b"") is None


def test_every_part_of_a_binding_counts() -> None:
    """Requirement 25."""
    one = a_credential(teamspace="t")
    changes = {
        "id": "another",
        "workspace": "ws_other",
        "teamspace": "",
        "version": 2,
        "provider": "GCP",
        "type": "arn",
        "public": '{"access_key_id":"AKIAEXAMPLE","endpoint":"https://thief.example"}',
    }
    bindings = [binding(one), *(binding(one._replace(**{field: value})) for field, value in changes.items())]
    assert len(set(bindings)) == len(bindings)


def test_what_may_change_without_the_secret_is_not_part_of_a_binding() -> None:
    one = a_credential()
    other = one._replace(name="new", provider_default=True, allowed_in_tasks=False, revision=9, status="failed")
    assert binding(other) == binding(one)


def test_text_that_moves_from_one_part_to_the_next_changes_a_binding() -> None:
    moved = [("ws_a", "b", "c"), ("ws_ab", "", "c"), ("ws_a", "bc", ""), ("ws_a", "", "bc"), ("ws_", "ab", "c")]
    made = [
        binding(a_credential(id=id_)._replace(workspace=workspace, teamspace=teamspace))
        for workspace, teamspace, id_ in moved
    ]
    assert {"".join(one) for one in moved} == {"ws_abc"}
    assert all(one != other for one, other in combinations(made, 2))
    assert joined(b"a", b"b") != joined(b"ab", b"") != joined(b"", b"ab") != joined(b"ab")


async def test_a_canary_opens_for_the_ring_that_sealed_it(envelope: Envelope) -> None:
    canary = await seal_canary(envelope)
    await check_canary(envelope, canary)
    await check_canary(Envelope(FileKeyRing("k2", KEYS)), canary)


@pytest.mark.parametrize("keys", [{"k1": KEYS["k2"]}, {"k3": KEYS["k1"]}])
async def test_another_ring_refuses_to_start_in_one_line(envelope: Envelope, keys: dict[str, bytes]) -> None:
    """Requirement 27."""
    canary = await seal_canary(envelope)
    with pytest.raises(RefusesToStart, match=r"^The key ring does not match the store: [^\n]+$") as raised:
        await check_canary(Envelope(FileKeyRing(next(iter(keys)), keys)), canary)
    assert raised.value.__cause__ is None


async def test_a_secret_of_a_credential_is_no_canary(envelope: Envelope) -> None:
    sealed = await envelope.seal(SECRET, binding(a_credential()))
    with pytest.raises(RefusesToStart):
        await check_canary(envelope, sealed)


async def test_no_text_of_an_envelope_or_a_ring_has_a_key_in_it(envelope: Envelope) -> None:
    """Requirement 30."""
    ring = FileKeyRing("k1", KEYS)
    assert repr(ring) == "FileKeyRing(active='k1', ids=['k1', 'k2'])"
    assert not re.search("1111|2222", f"{envelope!r} {envelope} {ring!r} {ring}")
