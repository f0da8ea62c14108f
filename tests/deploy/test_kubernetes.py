"""The manifests: rendered by kubectl, judged by the schemas of the API, and by what the service needs."""

import copy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from ingest.cli import cli
from tests.deploy.pods import OVERLAYS, bytes_of, matches, pod, pods, settings_in
from tests.deploy.tools import K8S, fetched_module, of_kind, rendered

FOLDERS = ("base", "database", "prometheus", "grafana", *OVERLAYS)
VERSIONS = ("1.34", "1.35", "1.36", "1.37")
"""The oldest has what `unhealthyPodEvictionPolicy` and the retention of claims need."""
OPERATOR = "monitoring.coreos.com/v1"
OPTIONAL = {"ingest-alerts", "ingest-http"}
SECRETS = {"ingest-owner", "ingest-writer", "ingest-reader"}
START_AND_STOP_S = 10
KILL_S = 5


def mistakes(resource: dict[str, Any], version: str) -> str:
    """Where a resource is not what its schema says, or says more; empty when it is right."""
    if resource["apiVersion"] == OPERATOR:
        return operator_mistakes(resource)
    judge = fetched_module("kubernetes_validate")
    try:
        judge.validate(resource, version, strict=True)
    except judge.ValidationError as error:
        return str(error.message)
    return ""


def operator_mistakes(resource: dict[str, Any]) -> str:
    models = fetched_module("cloudcoil.models.prometheus_operator.v1")
    try:
        model = getattr(models, resource["kind"]).model_validate(resource)
    except ValidationError as error:
        return str(error)
    # What the model does not know it leaves out.
    known = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return "" if known == resource else "there is more in it than the operator knows"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_resource_is_what_its_schema_says(folder: str) -> None:
    """Strictly: no field that the API does not know, none of a wrong type, in any version still served."""
    resources = rendered(folder)

    assert resources or folder == "grafana"
    for resource in resources:
        for version in VERSIONS:
            assert mistakes(resource, version) == ""


@pytest.mark.parametrize(
    "kind", ["StatefulSet", "CronJob", "NetworkPolicy", "ServiceMonitor", "PrometheusRule"]
)
def test_judgement_finds_a_misspelt_field(kind: str) -> None:
    """The check is one: a letter too much is refused."""
    (resource, *_) = of_kind("overlays/prod", kind)
    wrong = copy.deepcopy(resource)
    name, value = next(iter(wrong["spec"].items()))
    wrong["spec"] |= {f"{name}s": value}

    assert mistakes(wrong, VERSIONS[-1])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_that_resources_call_each_other_by_are_there(overlay: str) -> None:
    """Claims and configurations exist; secrets too, or they are the ones that the README has made."""
    have = {(each["kind"], each["metadata"]["name"]) for each in rendered(overlay)}
    made_by_hand = OPTIONAL | (SECRETS if overlay == "overlays/prod" else set())
    for each in pods(overlay):
        for volume in each.spec["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in have
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in have
            if "secret" in volume:
                name = volume["secret"]["secretName"]
                assert ("Secret", name) in have or name in made_by_hand
        for variable in each.container["env"]:
            if "valueFrom" in variable:
                secret = variable["valueFrom"]["secretKeyRef"]
                assert ("Secret", secret["name"]) in have or secret["name"] in made_by_hand
                assert secret.get("optional", False) == (secret["name"] in OPTIONAL)
        assert each.spec.get("serviceAccountName", "ingest") == "ingest"
    assert ("ServiceAccount", "ingest") in have


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_may_do_no_more_than_they_must(overlay: str) -> None:
    """No root, no capabilities, nothing to write but the volumes, no token, no foreign variables."""
    for each in pods(overlay):
        security, own = each.spec["securityContext"], each.container["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert each.spec["automountServiceAccountToken"] is False
        assert each.spec["enableServiceLinks"] is False
        assert each.container["resources"]["limits"]["memory"]
        assert "cpu" not in each.container["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_namespace_holds_pods_to_that(overlay: str) -> None:
    """The admission of the cluster refuses what is less restricted."""
    (namespace,) = of_kind(overlay, "Namespace")

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", ["ingest", "ingest-migrate", "ingest-deadman"])
def test_program_understands_its_configuration(tmp_path: Path, overlay: str, name: str) -> None:
    """File and variables together are right, the command exists, the password is nobody else's to read."""
    found = pod(overlay, name)
    settings_in(found, tmp_path)
    command, *options = found.container["args"]
    said = CliRunner().invoke(cli, [command, "--help"])

    assert said.exit_code == 0
    assert all(option in said.output for option in options if option.startswith("--"))
    assert found.mounted("/run/secrets/ingest")["secret"]["defaultMode"] == 0o440
    assert found.spec["securityContext"]["fsGroup"] == found.spec["securityContext"]["runAsGroup"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_pod_logs_in_with_its_own_role(overlay: str) -> None:
    """Who only looks cannot write, and who writes cannot change the schema."""
    roles = {"ingest": "ingest-writer", "ingest-migrate": "ingest-owner", "ingest-deadman": "ingest-reader"}
    for name, secret in roles.items():
        found = pod(overlay, name)
        names = {
            each["valueFrom"]["secretKeyRef"]["name"]
            for each in found.container["env"]
            if each["name"] == "INGEST_DATABASE_URL"
        } | {found.mounted("/run/secrets/ingest")["secret"]["secretName"]}
        assert len(names) == 1
        assert names.pop().startswith(secret)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ingester_writes_where_a_volume_is_and_listens_where_it_is_asked(
    tmp_path: Path, overlay: str
) -> None:
    """Data folder, port and address of the configuration are those of the manifest."""
    found = pod(overlay, "ingest")
    service = settings_in(found, tmp_path).service
    claims = {each["metadata"]["name"] for each in found.owner["spec"]["volumeClaimTemplates"]}

    assert found.mounted(str(service.data_dir))["name"] in claims
    assert found.container["ports"] == [{"name": "http", "containerPort": service.http_port}]
    assert service.http_host == "0.0.0.0"
    assert service.log_format == "json"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_ask_the_right_one_of_three_questions(overlay: str) -> None:
    """Only a loop that stands is started anew; what is not ready waits; what is not fresh is for people."""
    container = pod(overlay, "ingest").container
    asked = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")
    }
    patience_s = container["livenessProbe"]["periodSeconds"] * container["livenessProbe"]["failureThreshold"]

    assert asked == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert patience_s >= 60


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_drain_fits_into_the_grace_period(tmp_path: Path, overlay: str) -> None:
    """The kubelet kills later than the service has promised to be gone."""
    found = pod(overlay, "ingest")
    stop_s = settings_in(found, tmp_path).service.stop_deadline_s

    assert found.spec["terminationGracePeriodSeconds"] >= stop_s + START_AND_STOP_S


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_volume_holds_what_the_spools_may_take(tmp_path: Path, overlay: str) -> None:
    """With a quarter on top for boards, budget and the files' own overhead."""
    found = pod(overlay, "ingest")
    settings = settings_in(found, tmp_path)
    (claim,) = found.owner["spec"]["volumeClaimTemplates"]
    capture_mib = settings.capture.keep_mib if settings.capture.enabled else 0
    needed = (settings.service.shards * settings.spool.max_mib + capture_mib) * 2**20

    assert bytes_of(claim["spec"]["resources"]["requests"]["storage"]) >= 1.25 * needed


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_memory_holds_what_the_buffers_may_take(tmp_path: Path, overlay: str) -> None:
    """Processes as measured (ingest/docs/costs.md), and every buffer full."""
    found = pod(overlay, "ingest")
    settings = settings_in(found, tmp_path)
    needed_mib = 95 + settings.service.shards * (190 + settings.batch.buffer_mib)

    assert bytes_of(found.container["resources"]["limits"]["memory"]) >= 1.25 * needed_mib * 2**20


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_there_is_never_a_second_ingester(overlay: str) -> None:
    """Two would share neither spool nor budget."""
    (ingester,) = (each for each in of_kind(overlay, "StatefulSet") if each["metadata"]["name"] == "ingest")

    assert ingester["spec"]["replicas"] == 1
    assert ingester["spec"]["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }


def test_selectors_find_the_ingester() -> None:
    """Service, budget of disruptions, monitor: all mean the one pod, and none of the others."""
    overlay = "overlays/prod"
    (service,) = of_kind(overlay, "Service")
    (budget,) = of_kind(overlay, "PodDisruptionBudget")
    (monitor,) = of_kind(overlay, "ServiceMonitor")
    for each in pods(overlay):
        is_it = each.name == "ingest"
        assert matches({"matchLabels": service["spec"]["selector"]}, each.labels) == is_it
        assert matches(budget["spec"]["selector"], each.labels) == is_it
    (endpoint,) = monitor["spec"]["endpoints"]
    ports = {each["name"]: each["targetPort"] for each in service["spec"]["ports"]}
    assert matches(monitor["spec"]["selector"], service["metadata"]["labels"])
    assert ports[endpoint["port"]] == "http"
    assert endpoint["path"] == "/metrics"
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "ingest"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert pod(overlay, "ingest").owner["spec"]["serviceName"] == service["metadata"]["name"]


def ways_out(overlay: str, name: str) -> set[int]:
    """The ports that a pod may reach anywhere."""
    labels = pod(overlay, name).labels
    return {
        port["port"]
        for policy in of_kind(overlay, "NetworkPolicy")
        if matches(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get("egress", [])
        for port in rule["ports"]
    }


def ways_in(overlay: str, name: str) -> set[int]:
    """The ports at which anybody may reach a pod."""
    labels = pod(overlay, name).labels
    return {
        port["port"]
        for policy in of_kind(overlay, "NetworkPolicy")
        if matches(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get("ingress", [])
        for port in rule["ports"]
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_network_lets_through_what_is_needed_and_nothing_else(tmp_path: Path, overlay: str) -> None:
    """Names, the database, the exchange's own ports; in comes Prometheus, to the ingester."""
    settings = settings_in(pod(overlay, "ingest"), tmp_path)
    exchange = {9443, 443}
    assert settings.spot.ws_url.endswith(":9443")

    assert ways_out(overlay, "ingest") == {53, 5432, 465, 587} | exchange
    assert ways_out(overlay, "ingest-deadman") == {53, 5432, 465, 587} | exchange
    assert ways_out(overlay, "ingest-migrate") == {53, 5432}
    assert ways_in(overlay, "ingest") == {settings.service.http_port}
    assert ways_in(overlay, "ingest-migrate") == ways_in(overlay, "ingest-deadman") == set()
    everything = [
        policy
        for policy in of_kind(overlay, "NetworkPolicy")
        if policy["metadata"]["name"] == "ingest-nothing-else"
    ]
    assert all(matches(everything[0]["spec"]["podSelector"], each.labels) for each in pods(overlay))
    assert everything[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_dead_mans_switch_ends_before_its_next_turn(tmp_path: Path, overlay: str) -> None:
    """Its own deadline comes before the job's, that before the next look; it remembers what it has told."""
    found = pod(overlay, "ingest-deadman")
    deadline_s = settings_in(found, tmp_path).deadman.deadline_s
    job = found.owner["spec"]["jobTemplate"]["spec"]
    state = Path(found.container["args"][-1]).parent

    assert found.owner["spec"]["schedule"] == "*/5 * * * *"
    assert found.owner["spec"]["concurrencyPolicy"] == "Forbid"
    assert deadline_s + KILL_S < job["activeDeadlineSeconds"] < 300
    assert job["backoffLimit"] == 0
    assert "persistentVolumeClaim" in found.mounted(str(state))
    term = found.spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]
    assert matches(term["podAffinityTerm"]["labelSelector"], pod(overlay, "ingest").labels)


def test_migration_has_the_time_that_it_asks_for() -> None:
    """The job is not ended before the command gives up by itself."""
    job = pod("overlays/prod", "ingest-migrate").owner["spec"]

    assert job["activeDeadlineSeconds"] >= 600


def test_production_brings_no_secret_along() -> None:
    """Passwords are made in the cluster, never in the repository."""
    assert of_kind("overlays/prod", "Secret") == []
    assert "password=" not in "".join(
        path.read_text(encoding="utf-8") for path in (K8S / "overlays" / "prod").iterdir()
    )


def test_alerts_of_production_lead_to_one_place_where_the_runbook_can_be_read(tmp_path: Path) -> None:
    """A whole address, said once in the overlay; what the service itself sends leads there, too."""
    (rules,) = of_kind("overlays/prod", "PrometheusRule")
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    address = settings_in(pod("overlays/prod", "ingest"), tmp_path).alerts.runbook_url

    assert address.startswith("https://")
    assert {alert["annotations"]["runbook_url"].partition("#")[0] for alert in alerts} == {address}
    assert all(alert["annotations"]["runbook_url"].partition("#")[2] for alert in alerts)


def test_one_image_is_named_once() -> None:
    """Migration, ingester and switch are of one version."""
    images = {each.container["image"] for each in pods("overlays/prod") if each.is_ours}

    assert len(images) == 1
