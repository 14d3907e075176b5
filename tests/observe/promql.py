"""What an expression of PromQL names: enough of the language to hold ours to what is exposed."""

import re
from typing import NamedTuple

_METRIC = re.compile(r"\b(?P<name>(?:vouch|process|python)_[a-z_]+)(?P<braces>\{[^}]*\})?")
_MATCHER = re.compile(r'(?P<label>\w+)\s*(?P<how>=~|!~|!=|=)\s*"(?P<value>[^"]*)"')
_LABELS = re.compile(r"\b(?:by|without|on|ignoring)\s*\((?P<labels>[^)]*)\)")
_WORDS = re.compile(r"[A-Za-z_]\w*")
_RANGE = re.compile(r"\[[^\]]*\]")

FUNCTIONS = frozenset({"sum", "min", "max", "rate", "increase", "histogram_quantile", "time"})
_SYNTAX = frozenset({"by", "on", "ignoring", "group_left"})
OF_THE_SCRAPE = frozenset({"job", "instance"})
"""Labels that Prometheus gives to everything that it scrapes."""


class Named(NamedTuple):
    """A metric in an expression, and the labels with the operators and values that choose among its series."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


def metrics(expression: str) -> list[Named]:
    """Every metric that it names."""
    return [
        Named(one["name"], tuple(found.groups() for found in _MATCHER.finditer(one["braces"] or "")))
        for one in _METRIC.finditer(expression)
    ]


def grouped_by(expression: str) -> set[str]:
    """The labels that it aggregates or joins by."""
    return {label for one in _LABELS.finditer(expression) for label in _WORDS.findall(one["labels"])}


def unknown_words(expression: str) -> set[str]:
    """What is left of it that is neither a metric, a label nor a function: a slip of the pen, most likely."""
    rest = _RANGE.sub("", _LABELS.sub("", _METRIC.sub("", expression)))
    return set(_WORDS.findall(rest)) - FUNCTIONS - _SYNTAX


Exposed = dict[str, dict[str, set[str]]]
"""The labels of every sample and the values that each can have, by the sample's name."""


def faults(expression: str, exposed: Exposed) -> list[str]:
    """What is wrong with an expression, given what there is."""
    used = metrics(expression)
    found = [f"unknown: {word}" for word in sorted(unknown_words(expression))]
    for opening, closing in ("()", "{}", "[]"):
        if expression.count(opening) != expression.count(closing):
            found.append(f"unbalanced {opening}{closing}")
    for one in used:
        if one.name not in exposed:
            found.append(f"no metric {one.name}")
            continue
        found += [fault for matcher in one.matchers if (fault := _mismatch(one.name, exposed[one.name], *matcher))]
    theirs = set().union(*(exposed.get(one.name, {}) for one in used)) | OF_THE_SCRAPE
    found += [f"nothing there has the label {label}" for label in sorted(grouped_by(expression) - theirs)]
    return found if used else [*found, "names no metric"]


def _mismatch(name: str, labels: dict[str, set[str]], label: str, how: str, value: str) -> str | None:
    if label in OF_THE_SCRAPE:
        return None
    if label not in labels:
        return f"{name} has no label {label}"
    wanted = value.split("|") if "~" in how else [re.escape(value)]
    unmet = [one for one in wanted if not any(re.fullmatch(one, known) for known in labels[label])]
    return f"{label} of {name} is never {unmet}" if unmet else None
