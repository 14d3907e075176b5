"""The page on operations says what the code does: every metric, every result, every event of the log."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from service.config import Config
from service.core.events import EventType
from service.core.lease_results import RESULTS as LEASE_RESULTS
from service.work.watcher import RESULTS as TURN_RESULTS
from tests.observe.promql import Exposed, faults

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
_CELL = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"`([^`]+)`")
_PLACEHOLDER = re.compile(r"%[sd]")
_SETTING = re.compile(r"\[(?P<section>[a-z_.]+)\] (?P<name>[a-z0-9_]+)")


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first column has this title, each as its cells."""
    lines = iter(PAGE.splitlines())
    for line in lines:
        if line.startswith(f"| {first} |"):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]])
    assert rows, first
    return rows


def results(heading: str) -> list[str]:
    """The first column of the table under a heading."""
    part = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    return re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)


def test_every_metric_is_told_with_its_type_and_labels_and_no_other_is(families: dict[str, Any]) -> None:
    told = {
        _CODE.findall(name)[0]: (type_, set(_CODE.findall(labels))) for name, type_, labels, _what in table("metric")
    }
    there = {}
    for name, family in families.items():
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        there[name] = (family.type, labels)
    assert told == there


def test_every_metric_says_of_itself_what_it_is(families: dict[str, Any]) -> None:
    for family in families.values():
        assert family.documentation


def test_what_can_become_of_a_lease_and_of_a_turn_is_told() -> None:
    assert results("What becomes of a lease") == list(LEASE_RESULTS)
    assert results("What becomes of a turn") == list(TURN_RESULTS)


def test_every_alert_names_only_what_is_exposed(exposed: Exposed) -> None:
    rows = table("when")
    assert len(rows) > 10
    for expression, lasting, what in rows:
        (code,) = _CODE.findall(expression)
        assert faults(code, exposed) == [], code
        assert re.fullmatch(r"(\d+m)?", lasting)
        assert what


def logged() -> Iterator[tuple[str, str]]:
    """Event and level of every call in the service that logs, with an ellipsis for what differs."""
    for path in sorted([*(ROOT / "service").rglob("*.py"), *(ROOT / "verifiers").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=receiver, attr=level), args=[what, *_]) if (
                    level in LEVELS and "log" in ast.unparse(receiver).lower()
                ):
                    yield from ((event, level) for event in _events(what))


def _events(what: ast.expr) -> list[str]:
    match what:
        case ast.Constant(value=str(text)):
            return [_PLACEHOLDER.sub("…", text)]
        case ast.Attribute(attr="value"):
            return [type_.value for type_ in EventType]
    raise AssertionError(f"an event must be a text of its own: {ast.unparse(what)}")


def test_every_event_of_the_log_is_told_with_its_level_and_no_other_is() -> None:
    told = {(_CODE.findall(event)[0], level) for event, level, _what in table("event")}
    there = set(logged())
    assert len(there) > 25
    assert told == there


def test_every_field_of_the_line_of_a_request_is_told() -> None:
    source = (ROOT / "service" / "api" / "middleware.py").read_text(encoding="utf-8")
    written = [
        {keyword.arg for keyword in node.keywords}
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "request_log.write"
    ]
    told = {name for names, _what in table("field of `request`") for name in _CODE.findall(names)}
    assert written == [told]


def test_every_setting_that_the_page_names_exists() -> None:
    named = [(one["section"], one["name"]) for one in _SETTING.finditer(PAGE)]
    assert len(named) > 8
    for section, name in named:
        part: Any = Config()
        for step in section.split("."):
            part = getattr(part, step)
        assert is_dataclass(part)
        assert name in {field.name for field in fields(part)}, (section, name)
