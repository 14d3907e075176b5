"""The registry: the built-in kinds, and those that installed packages bring."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from verifiers.base import Kind, Payload, Run, Verifier
from verifiers.fields import PayloadSchema, Secret
from verifiers.registry import BUILT_IN, GROUP, BrokenVerifier, Registry, load_registry
from verifiers.verdict import WORKS, Verdict

# The contract's table, section 1, and the service principal, which is in no slot of the wire.
TABLE: dict[tuple[str, str], tuple[tuple[str, str] | None, set[str]]] = {
    ("AWS", "key"): (("credential", "aws"), {"secret_access_key"}),
    ("AWS", "arn"): (("role", "aws"), set()),
    ("AZURE", "key"): (("credential", "azure"), {"account_key"}),
    ("AZURE", "azure_token"): (("token", "azure"), {"sas_token"}),
    ("AZURE", "service_principal"): (None, {"client_secret"}),
    ("GCP", "key"): (("credential", "gcp"), {"secret_access_key"}),
    ("GCP", "token"): (("token", "gcp"), {"key_text"}),
}
WIRE_FIELDS = {
    ("AWS", "key"): {"access_key_id", "secret_access_key", "endpoint", "use_path_style"},
    ("AWS", "arn"): {"role_arn", "external_id", "endpoint", "use_path_style"},
    ("AZURE", "key"): {"account_name", "account_key", "blob_endpoint"},
    ("AZURE", "azure_token"): {"account_name", "sas_token", "blob_endpoint"},
    ("AZURE", "service_principal"): {"tenant_id", "client_id", "client_secret", "account_name"},
    ("GCP", "key"): {"access_key_id", "secret_access_key"},
    ("GCP", "token"): {"key_text", "account_id", "key_id"},
}


class WeatherSchema(PayloadSchema):
    password = Secret(required=True)


async def probe(payload: Payload, run: Run) -> Verdict:
    return WORKS


WEATHER = Verifier(Kind("WEATHER", "key", "Weather station", WeatherSchema), probe)


@pytest.fixture
def plugin() -> Iterator[ModuleType]:
    """An installed package's module, importable by its name."""
    module = ModuleType("weather_verifier")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def entry(value: str, name: str = "weather") -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def refusal(entries: list[EntryPoint]) -> str:
    with pytest.raises(BrokenVerifier) as caught:
        load_registry(entries)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"entry point {entries[-1].name} ({entries[-1].value}) of {GROUP}: ")
    return message


def test_the_built_in_kinds_are_the_contracts() -> None:
    registry = load_registry([])
    assert [(kind.provider, kind.type) for kind in registry.kinds()] == list(TABLE)
    for key, (slot, secret) in TABLE.items():
        verifier = registry.get(*key)
        assert verifier is not None
        assert verifier.kind.slot == slot
        assert set(verifier.kind.wire_secret_fields) == secret
        assert set(verifier.kind.schema.for_wire(blank_secrets=False).fields) == WIRE_FIELDS[key]


def test_what_is_not_registered_is_none() -> None:
    registry = load_registry([])
    assert registry.get("AWS", "azure_token") is None
    assert registry.get("aws", "key") is None


def test_the_installed_packages_are_asked_when_nothing_is_given() -> None:
    assert load_registry().kinds()[: len(BUILT_IN)] == load_registry([]).kinds()


def test_an_installed_package_adds_a_kind(plugin: ModuleType) -> None:
    plugin.VERIFIER = WEATHER
    registry = load_registry([entry("weather_verifier:VERIFIER")])
    assert registry.get("WEATHER", "key") is WEATHER
    assert registry.kinds()[-1] is WEATHER.kind
    assert len(registry.kinds()) == len(BUILT_IN) + 1


def test_packages_come_in_the_order_of_their_names(plugin: ModuleType) -> None:
    plugin.A = Verifier(Kind("A", "key", "A", WeatherSchema), probe)
    plugin.B = Verifier(Kind("B", "key", "B", WeatherSchema), probe)
    entries = [entry("weather_verifier:B", "b"), entry("weather_verifier:A", "a")]
    for found in (entries, entries[::-1]):
        assert [kind.provider for kind in load_registry(found).kinds()[-2:]] == ["A", "B"]


def test_a_registry_can_be_made_of_few_verifiers() -> None:
    registry = Registry([WEATHER])
    assert registry.kinds() == (WEATHER.kind,)
    assert registry.get("WEATHER", "key") is WEATHER


@pytest.mark.parametrize("value", ["no_such_module_anywhere:VERIFIER", "weather_verifier:MISSING"])
def test_a_package_that_does_not_load_stops_the_start(plugin: ModuleType, value: str) -> None:
    assert "it does not load: " in refusal([entry(value)])


def test_a_package_that_raises_while_it_loads_is_told_in_one_line(plugin: ModuleType) -> None:
    def explode(name: str) -> object:
        raise RuntimeError("first line\nsecond line " + "x" * 1000)

    plugin.__getattr__ = explode  # type: ignore[method-assign]
    message = refusal([entry("weather_verifier:VERIFIER")])
    assert "RuntimeError: first line second line" in message
    assert len(message) < 400


class NotOurs:
    pass


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "not a verifiers.base.Verifier"),
        (NotOurs(), "not a verifiers.base.Verifier"),
        (Verifier, "not a verifiers.base.Verifier"),
        (WEATHER.kind, "not a verifiers.base.Verifier"),
        (Verifier(None, probe), "not a verifiers.base.Verifier"),
        (Verifier(WEATHER.kind, None), "not a verifiers.base.Verifier"),
        (Verifier(Kind("", "key", "x", WeatherSchema), probe), "must be words"),
        (Verifier(Kind("X", 5, "x", WeatherSchema), probe), "must be words"),
        (Verifier(Kind("X", "key", "x", WeatherSchema, slot=("credential", 5)), probe), "must be words"),
        (Verifier(Kind("X", "key", "x", NotOurs), probe), "not a verifiers.fields.PayloadSchema"),
        (Verifier(Kind("X", "key", "x", None), probe), "not a verifiers.fields.PayloadSchema"),
    ],
)
def test_what_is_no_verifier_stops_the_start(plugin: ModuleType, given: object, says: str) -> None:
    plugin.VERIFIER = given
    assert says in refusal([entry("weather_verifier:VERIFIER")])


def test_a_package_can_not_take_the_place_of_a_built_in_verifier(plugin: ModuleType) -> None:
    plugin.VERIFIER = Verifier(Kind("AWS", "key", "Mine", WeatherSchema), probe)
    assert "provider AWS and type key already" in refusal([entry("weather_verifier:VERIFIER")])


def test_a_package_can_not_take_a_slot_of_a_built_in_verifier(plugin: ModuleType) -> None:
    plugin.VERIFIER = Verifier(Kind("WEATHER", "key", "Mine", WeatherSchema, slot=("token", "gcp")), probe)
    assert "slot token.gcp already" in refusal([entry("weather_verifier:VERIFIER")])


def test_two_packages_can_not_bring_the_same_kind(plugin: ModuleType) -> None:
    plugin.VERIFIER = WEATHER
    entries = [entry("weather_verifier:VERIFIER", "a"), entry("weather_verifier:VERIFIER", "b")]
    assert "provider WEATHER and type key already" in refusal(entries)


def test_several_kinds_can_do_without_a_slot(plugin: ModuleType) -> None:
    plugin.A = Verifier(Kind("A", "key", "A", WeatherSchema), probe)
    plugin.B = Verifier(Kind("B", "key", "B", WeatherSchema), probe)
    registry = load_registry([entry("weather_verifier:A", "a"), entry("weather_verifier:B", "b")])
    assert registry.get("A", "key") is plugin.A
    assert registry.get("B", "key") is plugin.B
