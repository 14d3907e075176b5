"""The Kubernetes manifests: valid, confined, consistent with each other, and vouch starts with what they say."""

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.config import load_config
from service.core.errors import RefusesToStart
from service.keyrings.file import FileKeyRing
from tests.deploy.containerfile import CONTAINERFILE, ROOT, settings, stages
from tests.deploy.pages import PAGE, make_secrets
from tests.deploy.services import serves
from tests.deploy.test_containerfile import program
from tests.peers.postgres import Postgres

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS = {
    one["kind"]: one for name in KUSTOMIZATION["resources"] for one in [yaml.safe_load((FOLDER / name).read_text())]
}
DEPLOYMENT = OBJECTS["Deployment"]["spec"]
POD = DEPLOYMENT["template"]["spec"]
(CONTAINER,) = POD["containers"]
IMAGE = settings(stages(CONTAINERFILE.read_text())[-1])


def volumes() -> dict[str, dict[str, Any]]:
    """Every volume by where the container has it."""
    named = {one["name"]: one for one in POD["volumes"]}
    return {one["mountPath"]: named[one["name"]] for one in CONTAINER["volumeMounts"]}


def env() -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in CONTAINER["env"]}


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """The mounts of a pod, below a folder, as the manifests have them and with the secrets that the page makes."""
    secrets = make_secrets(tmp_path)
    for place, volume in volumes().items():
        folder = tmp_path / place.lstrip("/")
        folder.mkdir(parents=True)
        if "configMap" in volume:
            for name, text in OBJECTS["ConfigMap"]["data"].items():
                (folder / name).write_text(_below(text, tmp_path))
        for item in volume.get("secret", {}).get("items", ()):
            path = folder / item["path"]
            path.write_bytes((secrets / item["key"]).read_bytes())
            path.chmod(volume["secret"]["defaultMode"])
    return tmp_path


def _below(text: str, folder: Path) -> str:
    """A configuration whose paths are below a folder: what is mounted at /x in a pod is at FOLDER/x here."""
    places = "|".join(re.escape(place) for place in volumes())
    return re.sub(f'"({places})', lambda found: f'"{folder}{found[1]}', text)


# Valid


@pytest.mark.parametrize("name", KUSTOMIZATION["resources"])
def test_every_manifest_is_valid_to_kubernetes_strictly(name: str) -> None:
    done = subprocess.run(
        [program("kubernetes-validate"), "--strict", FOLDER / name],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_kubernetes_does_not_know_is_found(tmp_path: Path) -> None:
    bad = tmp_path / "deployment.yaml"
    bad.write_text((FOLDER / "deployment.yaml").read_text().replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))
    done = subprocess.run(
        [program("kubernetes-validate"), "--strict", bad], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode != 0


def test_every_manifest_is_in_the_kustomization_and_says_no_namespace_of_its_own() -> None:
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert there == set(KUSTOMIZATION["resources"])
    assert KUSTOMIZATION["namespace"] == OBJECTS["Namespace"]["metadata"]["name"]
    assert [kind for kind, one in OBJECTS.items() if "namespace" in one["metadata"]] == []


def test_every_object_is_about_the_same_pods() -> None:
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    assert DEPLOYMENT["selector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["spec"]["selector"] == labels
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert all(one["labelSelector"]["matchLabels"] == labels for one in POD["topologySpreadConstraints"])
    assert POD["serviceAccountName"] == OBJECTS["ServiceAccount"]["metadata"]["name"]


# Confined


def test_the_pod_is_as_confined_as_the_restricted_standard_asks() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a read-only root."""
    assert OBJECTS["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    confined = CONTAINER["securityContext"]
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & POD.keys()
    assert all(one.keys() & {"configMap", "secret", "emptyDir"} for one in POD["volumes"])


def test_it_runs_as_the_images_own_user() -> None:
    context = POD["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == IMAGE.user
    assert context["fsGroup"] == context["runAsGroup"]


def test_no_token_of_the_cluster_is_mounted() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert OBJECTS["ServiceAccount"]["automountServiceAccountToken"] is False


def test_only_data_and_tmp_can_be_written() -> None:
    writable = {place for place, volume in volumes().items() if "emptyDir" in volume}
    assert writable == {"/var/lib/vouch", "/tmp"}
    assert all(one.get("readOnly") for one in CONTAINER["volumeMounts"] if one["mountPath"] not in writable)


def test_no_secret_is_in_the_manifests() -> None:
    assert "Secret" not in OBJECTS
    assert all("value" not in one for one in CONTAINER["env"])
    told = {volume["secret"]["secretName"] for volume in volumes().values() if "secret" in volume}
    told.add(env()["VOUCH_STORE__URL"]["valueFrom"]["secretKeyRef"]["name"])
    made = {
        word
        for line in PAGE.splitlines()
        if "create secret generic" in line
        for word in line.split()
        if "vouch-" in word
    }
    assert told == made == {"vouch-keys", "vouch-bootstrap", "vouch-database"}


# Networks


def test_nothing_gets_in_or_out_but_what_is_said() -> None:
    policy = OBJECTS["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all(one["ports"] and (one.get("from") or one.get("to")) for one in policy["ingress"] + policy["egress"])
    (inwards,) = policy["ingress"]
    assert [one["port"] for one in inwards["ports"]] == [CONTAINER["ports"][0]["containerPort"]]
    assert {one["port"] for rule in policy["egress"] for one in rule["ports"]} == {53, 443, 5432}


def test_the_public_rule_admits_no_address_that_the_guard_denies() -> None:
    """Requirement 2, once more and by somebody else."""
    from ipaddress import ip_address, ip_network

    from verifiers.addresses import is_denied

    (public,) = (one for one in OBJECTS["NetworkPolicy"]["spec"]["egress"] if one["ports"][0]["port"] == 443)
    blocks = [one["ipBlock"] for one in public["to"]]

    def admitted(text: str) -> bool:
        address = ip_address(text)
        return any(
            address in ip_network(one["cidr"]) and not any(address in ip_network(no) for no in one.get("except", ()))
            for one in blocks
        )

    inside = [
        "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "168.63.129.16", "100.100.100.200", "127.0.0.1",
        "192.0.0.192", "fd00:ec2::254", "fe80::1", "::1", "fd20:ce::254",
    ]  # fmt: skip
    assert [one for one in inside if not is_denied(ip_address(one))] == []
    assert [one for one in inside if admitted(one)] == []
    assert admitted("52.94.0.1")
    assert admitted("2600:1f00::1")


# Life


def test_the_probes_ask_what_there_is_on_the_port_that_it_listens_on(pod: Path) -> None:
    """Requirement 36: liveness depends on nothing; readiness on the parts."""
    config = load_config(pod / "etc/vouch/config.toml", {})
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": config.server.port}]
    assert IMAGE.ports == [str(config.server.port)]
    paths = {name: CONTAINER[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: one["path"] for name, one in paths.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {one["port"] for one in paths.values()} == {"http"}
    (port,) = OBJECTS["Service"]["spec"]["ports"]
    assert port["targetPort"] == "http"


def test_a_pod_is_left_the_time_that_its_end_takes(pod: Path) -> None:
    """Requirement 35."""
    config = load_config(pod / "etc/vouch/config.toml", {})
    before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before >= 2
    assert POD["terminationGracePeriodSeconds"] > before + config.server.shutdown_seconds


def test_an_upgrade_or_a_drain_never_leaves_nobody() -> None:
    assert DEPLOYMENT["replicas"] >= 2
    assert DEPLOYMENT["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert OBJECTS["PodDisruptionBudget"]["spec"]["maxUnavailable"] < DEPLOYMENT["replicas"]
    assert {one["topologyKey"] for one in POD["topologySpreadConstraints"]} >= {"kubernetes.io/hostname"}


def test_it_asks_for_what_it_needs_and_has_an_upper_limit_of_memory() -> None:
    resources = CONTAINER["resources"]
    assert resources["requests"].keys() == {"cpu", "memory"}
    assert resources["limits"].keys() == {"memory"}


# vouch with this configuration


def test_every_setting_of_the_config_map_exists_and_the_file_is_read_where_the_image_reads_it(pod: Path) -> None:
    assert IMAGE.workdir in volumes()
    config = load_config(pod / "etc/vouch/config.toml", {"VOUCH_STORE__URL": "postgresql://vouch:x@db/vouch"})
    assert config.on_postgres
    assert config.data_dir == str(pod / "var/lib/vouch")
    assert config.server.host == "0.0.0.0"


def test_a_setting_that_does_not_exist_is_found(pod: Path) -> None:
    path = pod / "etc/vouch/config.toml"
    path.write_text(path.read_text() + "\n[auth.oauth3]\n")
    with pytest.raises(RefusesToStart, match=r"auth\.oauth3"):
        load_config(path, {})


def test_the_mounted_key_ring_is_readable_by_its_group_and_accepted(pod: Path) -> None:
    config = load_config(pod / "etc/vouch/config.toml", {})
    assert config.key_file.stat().st_mode & 0o777 == 0o440
    assert FileKeyRing.load(config.key_file).ids


def test_a_pod_starts_serves_and_ends_and_a_second_one_does_so_too(pod: Path, postgres: Postgres) -> None:
    """On a database that has nothing in it, with the ring and the admin key of the mounted secrets."""
    database = asyncio.run(postgres.make_database("template0"))
    secrets = pod / "deploy/secrets"
    for _ in range(2):
        serves(
            pod / "etc/vouch", {"VOUCH_STORE__URL": postgres.url(database)}, (secrets / "admin-key").read_text().strip()
        )
    left = {path.name for place in ("var/lib/vouch", "tmp") for path in (pod / place).iterdir()}
    assert left == set(), "the store is elsewhere: nothing is kept in the pod"
