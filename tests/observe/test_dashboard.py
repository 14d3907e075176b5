"""The Grafana dashboard, held to what a running vouch exposes."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.observe.promql import Exposed, faults, metrics

FILE = Path(__file__).parent.parent.parent / "deploy" / "grafana" / "dashboard.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in GRAPHS for target in panel["targets"]]

OF_NO_PANEL = {
    "process_virtual_memory_bytes",
    "python_gc_objects_collected_total",
    "python_gc_objects_uncollectable_total",
    "python_gc_collections_total",
}


def test_every_metric_label_and_value_that_a_panel_names_is_exposed(exposed: Exposed) -> None:
    assert len(EXPRESSIONS) > 20
    wrong = {expression: found for expression in EXPRESSIONS if (found := faults(expression, exposed))}
    assert wrong == {}


def test_every_metric_has_a_panel(families: dict[str, Any]) -> None:
    named = {one.name.removesuffix("_bucket") for expression in EXPRESSIONS for one in metrics(expression)}
    assert set(families) - named == OF_NO_PANEL


def test_every_panel_has_an_id_of_its_own_and_a_place_where_no_other_is() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _y in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_question_goes_to_the_chosen_source_and_the_chosen_instances() -> None:
    for panel in GRAPHS:
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for expression in EXPRESSIONS:
        for one in metrics(expression):
            assert {("job", "=~", "$job"), ("instance", "=~", "$instance")} <= set(one.matchers), expression


def test_its_variables_ask_for_a_metric_that_every_vouch_has(exposed: Exposed) -> None:
    source, *others = DASHBOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert [one["name"] for one in others] == ["job", "instance"]
    for one in others:
        assert one["query"]["query"] == one["definition"]
        assert one["definition"].startswith("label_values(vouch_build_info")
    assert "vouch_build_info" in exposed


def test_a_counter_is_shown_as_a_rate_and_a_gauge_is_not() -> None:
    for expression in EXPRESSIONS:
        for one in metrics(expression):
            inner = expression.partition(one.name)[0]
            is_rate = inner.endswith(("rate(", "increase("))
            assert is_rate == one.name.endswith(("_total", "_bucket")), expression


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(vouch_none_total[5m])", "no metric vouch_none_total"),
        ('vouch_ready{color="red"}', "vouch_ready has no label color"),
        ('vouch_ready{part="roof"}', "part of vouch_ready is never ['roof']"),
        ('vouch_ready{part=~"store|roof"}', "part of vouch_ready is never ['roof']"),
        ("sum by (color) (vouch_ready)", "nothing there has the label color"),
        ("summ(vouch_ready)", "unknown: summ"),
        ("sum(vouch_ready", "unbalanced ()"),
        ("time()", "names no metric"),
    ],
)
def test_the_check_finds_what_it_looks_for(expression: str, fault: str) -> None:
    """That nothing was found above says something only if the check works."""
    ready = {"vouch_ready": {"part": {"store", "key_ring"}}}
    assert faults(expression, ready) == [fault]
    assert faults('min by (part) (vouch_ready{part="store",job="x"}) == 0', ready) == []
