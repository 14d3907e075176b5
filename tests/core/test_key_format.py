"""API keys can be told from other texts without asking anybody (requirement 15)."""

import hashlib
import re
import secrets

import pytest

from service.core import key_format


def test_a_key_reads_vouch_id_secret() -> None:
    """Requirement 15."""
    made = key_format.make()
    assert re.fullmatch(r"vouch_[0-9a-f]{16}_[0-9A-Za-z]{39}", made.text)
    assert made.text.startswith(f"vouch_{made.id}_")


def test_a_key_parses_to_its_id_and_the_hash_that_was_made_with_it() -> None:
    made = key_format.make()
    parsed = key_format.parse(made.text)
    assert parsed == (made.id, made.secret_hash)
    assert made.secret_hash == hashlib.sha256(made.text.rpartition("_")[2].encode()).digest()


def test_a_thousand_keys_are_all_different_and_all_parse() -> None:
    made = [key_format.make() for _ in range(1000)]
    assert len({one.id for one in made}) == len({one.secret_hash for one in made}) == 1000
    assert all(key_format.parse(one.text) is not None for one in made)


def test_a_new_key_does_not_show_its_secret_in_its_repr() -> None:
    """Requirement 30."""
    made = key_format.make()
    assert made.text not in repr(made)
    assert made.text not in f"{made}"


def test_every_single_mistyped_character_is_noticed_by_the_checksum() -> None:
    """Requirement 15: a checkable form."""
    text = key_format.make().text
    for place in range(len("vouch_"), len(text)):
        other = "a" if text[place] != "a" else "b"
        assert key_format.parse(text[:place] + other + text[place + 1 :]) is None, place


@pytest.mark.parametrize("cut", [1, 2, 6, 7])
def test_a_truncated_key_is_not_the_key(cut: int) -> None:
    made = key_format.make()
    parsed = key_format.parse(made.text[:-cut])
    assert parsed is None or parsed.secret_hash != made.secret_hash


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vouch_",
        "vouch__",
        "vouch_abc",
        "vouch_abc_",
        "vouch_abc_tooshort",
        "vouch_ABC_" + "a" * 40,
        "vouch_abc_" + "a" * 129,
        "vouch_" + "a" * 33 + "_" + "a" * 40,
        "Vouch_abc_" + "a" * 40,
        "vouch_abc_" + "é" * 40,
        "vouch_é_" + "a" * 40,
        "vouch_١٢٣_" + "a" * 40,
        "vouch_abc_" + "a" * 39 + "\udce9",
        "vouch_abc_" + "a" * 40 + "\n",
        " vouch_abc_" + "a" * 40,
        "vouch_abc_" + "a" * 20 + "\0" + "a" * 20,
    ],
)
def test_what_does_not_look_like_a_key_is_none_and_never_an_exception(text: str) -> None:
    """Requirement 15; a key with an accent is wrong, not an error of ours."""
    assert key_format.parse(text) is None


def test_an_operator_may_bring_a_key_of_another_maker() -> None:
    secret = secrets.token_urlsafe(32)
    parsed = key_format.parse(f"vouch_bootstrap_{secret}")
    assert parsed == ("bootstrap", hashlib.sha256(secret.encode()).digest())
