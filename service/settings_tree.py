"""Any tree of frozen dataclasses from TOML tables and environment variables: names and types must be right."""

import tomllib
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from service.core.errors import RefusesToStart

ENV_PREFIX = "VOUCH_"


def overlay(root: type, table: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Put `VOUCH_SECTION__SETTING` of the environment into a table.

    A name without a double underscore is not ours (Kubernetes sets VOUCH_PORT for a service called vouch), but for
    VOUCH_DATA_DIR.

    Args:
        root: the dataclass that the table is for.
        table: changed in place.
        environ: the environment.

    Raises:
        RefusesToStart: naming a variable that is no setting, or is of the wrong type.
    """
    for name, text in environ.items():
        if not name.startswith(ENV_PREFIX) or ("__" not in name and name != "VOUCH_DATA_DIR"):
            continue
        *sections, setting = name.removeprefix(ENV_PREFIX).lower().split("__")
        kind: Any = root
        place = table
        for section in sections:
            kind = get_type_hints(kind).get(section)
            if not is_dataclass(kind):
                raise RefusesToStart(f"{name} is not a setting of vouch.")
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise RefusesToStart(f"{section} must be a section.")
        wanted = get_type_hints(kind).get(setting)
        if wanted is None or is_dataclass(wanted):
            raise RefusesToStart(f"{name} is not a setting of vouch.")
        place[setting] = _from_text(wanted, text, name)


def _from_text(wanted: Any, text: str, name: str) -> Any:
    """A value of the environment, as TOML would have it; a list may also be separated by commas."""
    if wanted is str:
        return text
    listed = get_origin(wanted) is tuple and not is_dataclass(get_args(wanted)[0])
    if listed and not text.lstrip().startswith("["):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return parts if get_args(wanted)[0] is str else [_from_text(int, part, name) for part in parts]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise RefusesToStart(f"{name} must be {_describe(wanted)}.") from None


def build(kind: Any, table: Mapping[str, Any], path: str = "") -> Any:
    """An instance of a dataclass whose every field has a default; a tuple of dataclasses is an array of tables.

    Raises:
        RefusesToStart: naming a setting that is unknown or of the wrong type.
    """
    hints = get_type_hints(kind)
    values = {}
    for name, value in table.items():
        where = f"{path}.{name}" if path else name
        if name not in hints:
            raise RefusesToStart(f"{where} is not a setting of vouch.")
        values[name] = _convert(hints[name], value, where)
    return replace(kind(), **values)


def _convert(wanted: Any, value: Any, where: str) -> Any:
    if is_dataclass(wanted):
        if isinstance(value, dict):
            return build(wanted, value, where)
    elif get_origin(wanted) is tuple:
        item = get_args(wanted)[0]
        if isinstance(value, list) and is_dataclass(item):
            return tuple(_convert(item, one, f"{where}[{index}]") for index, one in enumerate(value))
        if isinstance(value, list) and all(type(one) is item for one in value):
            return tuple(value)
    elif get_origin(wanted) is not None:
        if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
            return MappingProxyType(value)
    elif wanted is float and type(value) in (int, float):
        return float(value)
    elif type(value) is wanted:
        return value
    raise RefusesToStart(f"{where} must be {_describe(wanted)}.")


def _describe(wanted: Any) -> str:
    if is_dataclass(wanted):
        return "a section"
    if get_origin(wanted) is tuple:
        item = get_args(wanted)[0]
        return "a list of tables" if is_dataclass(item) else f"a list of {'numbers' if item is int else 'texts'}"
    if get_origin(wanted) is not None:
        return "a table of texts"
    return {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}[wanted]
