"""The files of the stack fit together; checked without any of its programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.stack import programs
from examples.stack.stack import COLLECTOR_FLAGS

ROOT = Path(__file__).parents[2]
OTEL = ROOT / "otel"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.otel.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DASHBOARDS = sorted((OTEL / "grafana" / "dashboards").glob("*.json"))
# Of the compose specification, as far as this file needs it.
SERVICE_KEYS = {
    "build", "cap_add", "cap_drop", "command", "depends_on", "environment", "extra_hosts",
    "healthcheck", "image", "init", "logging", "mem_limit", "ports", "profiles", "restart",
    "security_opt", "user", "volumes",
}  # fmt: skip


def text_of(value: object) -> str:
    """Return all texts of a nested value."""
    return json.dumps(value)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_of_the_compose_file_is_complete(name: str) -> None:
    """Pinned image, memory limit, health, least privilege; ports on this machine only."""
    service = SERVICES[name]
    assert set(service) <= SERVICE_KEYS
    image = service["image"]
    assert re.search(r":v?\d+\.\d+", image) or image == "glam-shop:dev", image
    assert "latest" not in image
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["cap_drop"] == ["ALL"]
    for port in service.get("ports", ()):
        assert port.startswith("${STACK_BIND:-127.0.0.1}:"), port
    assert "healthcheck" in service or name == "collector", "its neighbour collector-ready asks"
    assert set(service["profiles"]) <= {"core", "all"}


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_is_there_and_can_be_healthy(name: str) -> None:
    """`depends_on` names services of the same profiles, by health where they have one."""
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert set(SERVICES[name]["profiles"]) <= set(SERVICES[other]["profiles"])
        wanted = "service_healthy" if "healthcheck" in SERVICES[other] else "service_started"
        assert how["condition"] == wanted


def test_every_mount_leads_to_a_file_or_a_named_volume() -> None:
    """No empty directory is mounted where a file was meant, and no volume is without a name."""
    used = set()
    for service in SERVICES.values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), mount
                assert mount.endswith(":ro"), mount
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_an_image_is_built_by_one_service() -> None:
    """Several that build the same image at the same time collide when they export it."""
    built = [service["image"] for service in SERVICES.values() if "build" in service]
    assert built == ["glam-shop:dev"]


def test_postgres_is_healthy_when_its_databases_are_there() -> None:
    """Its start-up script runs beside a server that answers on the socket only."""
    assert "-h" in SERVICES["postgres"]["healthcheck"]["test"]


def test_whoever_may_look_at_grafana_may_follow_its_links() -> None:
    """They lead to Explore, which is for editors, and show more lines than the plugin's 50."""
    assert SERVICES["grafana"]["environment"]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Editor"
    sources = yaml.safe_load(
        (OTEL / "grafana/provisioning/datasources/datasources.yml").read_text()
    )["datasources"]
    lines = {source["uid"]: source["jsonData"].get("maxLines") for source in sources}
    assert lines["logs"] >= 1000


def test_a_service_outside_the_containers_can_be_scraped() -> None:
    """The tutorial names `host.docker.internal`, which Linux knows only when told."""
    hosts = SERVICES["prometheus"]["extra_hosts"]
    assert hosts == ["host.docker.internal:host-gateway"]
    tutorial = (ROOT / "docs/tutorials/first-trace.md").read_text()
    assert "host.docker.internal" in tutorial


def test_lines_are_asked_for_by_level_the_name_that_each_version_of_the_store_has() -> None:
    """VictoriaLogs called the field `severity` once, then `severity_text`; `level` is ours."""
    texts = [file.read_text() for file in DASHBOARDS]
    texts += [file.read_text() for file in (ROOT / "docs/tutorials").glob("*.md")]
    assert not [text for text in texts if "severity:" in text or "severity_text" in text]
    for name in ("collector", "gateway"):
        content = yaml.safe_load((OTEL / "collector" / f"{name}.yaml").read_text())
        assert "transform/level" in content["service"]["pipelines"]["logs"]["processors"]


def test_the_profile_core_is_what_a_laptop_needs() -> None:
    """Jaeger, Prometheus, logs and the Collector; under 4 GB together."""
    core = {name for name, service in SERVICES.items() if "core" in service["profiles"]}
    assert core == {"collector", "collector-ready", "jaeger", "prometheus", "logs"}
    unit = {"m": 1, "g": 1024}
    total = sum(
        int(SERVICES[name]["mem_limit"][:-1]) * unit[SERVICES[name]["mem_limit"][-1]]
        for name in core
    )
    assert total < 4096


@pytest.mark.parametrize("name", ["collector", "jaeger"])
def test_each_variable_that_compose_sets_is_read_by_the_mounted_file(name: str) -> None:
    """A misspelt STACK_ variable would leave a part on loopback, unreachable."""
    file = {"collector": "collector/collector.yaml", "jaeger": "jaeger/jaeger.yaml"}[name]
    read = set(re.findall(r"\$\{env:(\w+)", (OTEL / file).read_text()))
    given = {key for key in SERVICES[name]["environment"] if key.startswith("STACK_")}
    assert given <= read


def test_the_collector_that_is_proved_is_the_one_that_compose_runs() -> None:
    """One version in the compose file, in the builder's list and in the programs."""
    version = SERVICES["collector"]["image"].split(":")[1]
    built = yaml.safe_load((ROOT / "examples/stack/collector-builder.yaml").read_text())
    assert built["dist"]["version"] == version
    assert f"v{version}" == programs.COLLECTOR.version
    parts = [p["gomod"] for k in ("extensions", "receivers", "exporters") for p in built[k]]
    assert all(part.endswith(f" v{version}") for part in parts)


def test_the_collector_runs_with_the_same_flags_in_both_ways() -> None:
    """What keeps a crash from losing lines is set in the compose file, too."""
    assert set(COLLECTOR_FLAGS) <= set(SERVICES["collector"]["command"])


@pytest.mark.parametrize("file", sorted((OTEL / "collector").glob("*.yaml")), ids=lambda f: f.stem)
def test_a_collector_file_uses_what_it_declares(file: Path) -> None:
    """Memory limiter first; queues on disk that try forever; no CORS; nothing unused."""
    content = yaml.safe_load(file.read_text())
    declared = {
        kind: set(content.get(kind, ())) for kind in ("receivers", "processors", "exporters")
    }
    connectors = set(content.get("connectors", ()))
    used: dict[str, set[str]] = {kind: set() for kind in declared}
    for pipeline in content["service"]["pipelines"].values():
        assert pipeline["processors"][0] == "memory_limiter"
        for kind in declared:
            used[kind] |= set(pipeline[kind])
    assert used["receivers"] - connectors == declared["receivers"]
    assert used["exporters"] - connectors == declared["exporters"]
    assert used["processors"] == declared["processors"]
    assert set(content["service"]["extensions"]) == set(content["extensions"])
    assert "cors" not in text_of(content["receivers"])
    for name, exporter in content["exporters"].items():
        if name != "prometheus_remote_write":
            assert exporter["sending_queue"]["storage"] == "file_storage", name
            assert exporter["sending_queue"]["batch"], name
            assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s", name


def test_the_links_of_jaeger_name_attributes_that_spans_have() -> None:
    """Each link pattern's key is a telemetry name, and leads to the log store's page."""
    names = (ROOT / "docs/reference/telemetry.md").read_text()
    patterns = json.loads((OTEL / "jaeger" / "ui.json").read_text())["linkPatterns"]
    assert {pattern["type"] for pattern in patterns} == {"traces", "tags"}
    for pattern in patterns:
        assert pattern["url"].startswith("http://127.0.0.1:9428/select/vmui/#/?query=")
        if pattern["type"] == "tags":
            assert f"`{pattern['key']}`" in names


def test_grafana_finds_everything_that_its_dashboards_and_links_name() -> None:
    """Data sources have fixed ids, and nothing refers to another one."""
    sources = yaml.safe_load(
        (OTEL / "grafana/provisioning/datasources/datasources.yml").read_text()
    )["datasources"]
    ids = {source["uid"] for source in sources}
    assert ids == {"prometheus", "jaeger", "logs"}
    hosts = {re.match(r"http://([a-z]+):", source["url"])[1] for source in sources}  # type: ignore[index]
    assert hosts <= set(SERVICES)
    links = re.findall(r'"datasourceUid": "(\w+)"', text_of(sources))
    assert set(links) == {"jaeger", "logs", "prometheus"}
    plugin = SERVICES["grafana"]["environment"]["GF_PLUGINS_PREINSTALL_SYNC"]
    assert re.fullmatch(r"victoriametrics-logs-datasource@\d+\.\d+\.\d+", plugin)
    for file in DASHBOARDS:
        used = set(re.findall(r'"uid": "(\w+)"', text_of(json.loads(file.read_text())["panels"])))
        assert used <= ids, file.name


def test_there_are_six_dashboards_with_names_of_their_own() -> None:
    """Services, HTTP, database, messaging, runtime, telemetry; each panel asks something."""
    uids = set()
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        uids.add(dashboard["uid"])
        assert dashboard["uid"] == file.stem
        titles = [panel["title"] for panel in dashboard["panels"]]
        assert len(titles) == len(set(titles))
        assert all(panel["targets"] for panel in dashboard["panels"])
    assert len(uids) == 6


def test_each_metric_of_a_dashboard_or_an_alert_is_one_that_somebody_writes() -> None:
    """A renamed metric may not leave a panel or an alert behind that says nothing."""
    reference = (ROOT / "docs/reference/telemetry.md").read_text()
    ours = {name.replace(".", "_") for name in re.findall(r"`([a-z_.]+)`", reference)}
    texts = [file.read_text() for file in DASHBOARDS]
    texts.append((OTEL / "prometheus/rules/alerts.yml").read_text())
    areas = "http_server|http_client|db_client|messaging|glam|cpython|otel_sdk"
    used = set(re.findall(rf"\b((?:{areas})_[a-z_]+)(?=[{{\[)])", "\n".join(texts)))
    suffix = r"(_seconds|_bytes)?(_total|_bucket|_sum|_count)?$"
    assert len(used) > 40
    unknown = {n for n in used if n not in ours and re.sub(suffix, "", n) not in ours}
    assert unknown == set()
