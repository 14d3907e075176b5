"""Patterns of subjects: what a star stands for, and that no pattern takes long."""

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.subjects import SubjectPattern

LOADER = "system:serviceaccount:etl:loader"


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        (LOADER, LOADER),
        ("system:serviceaccount:etl:*", LOADER),
        ("system:serviceaccount:*", LOADER),
        ("*:loader", LOADER),
        ("system:*:loader", LOADER),
        ("system:*:etl:*", LOADER),
        ("*etl*", LOADER),
        (f"{LOADER}*", LOADER),
        (f"*{LOADER}", LOADER),
        ("**loader**", LOADER),
        ("repo:org/*", "repo:org/name:ref:refs/heads/main"),
        ("repo:org/name:ref:refs/heads/*", "repo:org/name:ref:refs/heads/a/b"),
        ("a*a", "aa"),
        ("a*b*c", "abbc"),
        ("*ab*ab*", "abab"),
        ("a.c", "a.c"),
        ("[a]?", "[a]?"),
    ],
)
def test_a_pattern_matches_the_whole_of_a_subject(pattern: str, subject: str) -> None:
    assert SubjectPattern(pattern).matches(subject)


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        (LOADER, LOADER + "2"),
        (LOADER, "x" + LOADER),
        (LOADER, LOADER.upper()),
        (LOADER, ""),
        ("system:serviceaccount:etl:*", "system:serviceaccount:etl2:loader"),
        ("system:serviceaccount:etl:*", "system:serviceaccount:etl"),
        ("system:serviceaccount:etl:*", "SYSTEM:serviceaccount:etl:loader"),
        ("system:serviceaccount:etl:*", "a system:serviceaccount:etl:loader"),
        ("repo:org/*", "repo:organised/name:ref:refs/heads/main"),
        ("*:loader", "system:serviceaccount:etl:loader:more"),
        ("a*a", "a"),
        ("ab*ba", "aba"),
        ("*ab*b", "ab"),
        ("a*b*b", "ab"),
        ("a*b*c", "acb"),
        ("*ab*ab*", "aba"),
        ("a.c", "abc"),
        ("[a]", "a"),
        ("a?", "ab"),
        ("a", "A"),
    ],
)
def test_a_pattern_matches_nothing_else(pattern: str, subject: str) -> None:
    """Requirement 20: anchored at both ends, in this case of letters, and only a star is special."""
    assert not SubjectPattern(pattern).matches(subject)


@given(st.text("ab*", max_size=7), st.text("ab", max_size=7))
def test_a_pattern_means_what_a_shell_would_make_of_it(pattern: str, subject: str) -> None:
    assert SubjectPattern(pattern).matches(subject) == fnmatch.fnmatchcase(subject, pattern)


def test_no_pattern_takes_long() -> None:
    """A regular expression made of this one would not come to an end."""
    hard, subject = SubjectPattern("*a" * 120 + "*b"), "a" * 255
    started = time.perf_counter()
    for _ in range(1000):
        assert not hard.matches(subject)
    assert time.perf_counter() - started < 2
