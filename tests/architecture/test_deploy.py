"""`deploy/` against the program, offline: every metric, label, command, setting and address that it names exists."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.root import app as commands
from app.infra.metrics import Metrics
from app.queue.jobs import JobKind
from app.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SETTINGS = {f"KASSA_{name.upper()}" for name in Settings.model_fields}

_METRIC = re.compile(r"\bkassa_\w+")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
_BY = re.compile(r"\bby \(([^)]*)\)")
_LEGEND = re.compile(r"\{\{(\w+)\}\}")


def exported() -> dict[str, set[str]]:
    """Series name → its labels, as Prometheus would store what `/metrics` tells."""
    found: dict[str, set[str]] = {}
    for collector in Metrics().registry._collector_to_names:
        labels = set(collector._labelnames)  # type: ignore[attr-defined]
        for family in collector.describe():
            match family.type:
                case "histogram":
                    found |= {f"{family.name}_bucket": labels | {"le"}}
                    found |= {f"{family.name}_{part}": labels for part in ("sum", "count")}
                case "counter":
                    found[f"{family.name}_total"] = labels
                case _:
                    found[family.name] = labels
    return found


SERIES = exported()


def wrong(expression: str) -> Iterator[str]:
    """What an expression asks for and nobody exports."""
    named = _METRIC.findall(expression)
    if not named:
        yield "names no metric"
    labels = set.union(*(SERIES.get(name, set()) for name in named)) if named else set()
    yield from (f"{name} is not exported" for name in named if name not in SERIES)
    for label, value in _MATCHER.findall(expression):
        if label not in labels:
            yield f"{label} is no label of {named}"
        of_jobs = label == "kind" and any(name.startswith("kassa_queue") for name in named)
        if of_jobs and value not in {kind.name.lower() for kind in JobKind}:
            yield f"{value} is no kind of job"
    for group in _BY.findall(expression):
        yield from (
            f"{label.strip()} is no label of {named}" for label in group.split(",") if label.strip() not in labels
        )
    if expression.count("(") != expression.count(")"):
        yield "brackets do not match"


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "crm-kassa.json").read_text(encoding="utf-8"))
    return found


def manifests() -> list[dict[str, Any]]:
    return [one for file in MANIFESTS for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [one for one in manifests() if one["kind"] == kind]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_exported_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert not list(wrong(rule["expr"]))
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]


def test_alerts_are_told_apart() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 10


@pytest.mark.parametrize("panel", dashboard()["panels"], ids=lambda panel: panel["title"])
def test_a_panel_draws_what_is_exported(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert not list(wrong(target["expr"]))
        grouped = {label.strip() for group in _BY.findall(target["expr"]) for label in group.split(",")}
        assert set(_LEGEND.findall(target["legendFormat"])) <= grouped, "a legend names what was summed away"


def test_panels_have_a_place_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("max(kassa_receipts_late)", "kassa_receipts_late is not exported"),
        ('max(kassa_receipts{state="held"})', "state is no label of ['kassa_receipts']"),
        ("sum by (queue) (kassa_queue_depth)", "queue is no label of ['kassa_queue_depth']"),
        ('max(kassa_queue_depth{kind="print"})', "print is no kind of job"),
        ("sum(rate(kassa_events_received[5m]))", "kassa_events_received is not exported"),
        ("max((kassa_receipts)", "brackets do not match"),
        ("vector(1)", "names no metric"),
    ],
)
def test_what_is_not_exported_is_named(expression: str, found: str) -> None:
    assert found in list(wrong(expression))


def containers() -> Iterator[dict[str, Any]]:
    for kind in ("Deployment", "Job"):
        for one in of_kind(kind):
            yield from one["spec"]["template"]["spec"]["containers"]


def test_every_container_runs_a_command_of_ours_as_nobody() -> None:
    known = {command.name or command.callback.__name__ for command in commands.registered_commands}
    found = list(containers())
    assert {one["args"][0] for one in found} == {"api", "worker", "migrate"} <= known
    for one in found:
        guarded = one["securityContext"]
        assert guarded["readOnlyRootFilesystem"]
        assert not guarded["allowPrivilegeEscalation"]
        assert guarded["capabilities"] == {"drop": ["ALL"]}
        assert {part for source in one["envFrom"] for part in source} == {"configMapRef", "secretRef"}
        assert one["resources"]["requests"]


def test_every_setting_that_is_named_exists() -> None:
    (config,) = of_kind("ConfigMap")
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    named = set(config["data"])
    for service in compose["services"].values():
        named |= {name for name in service.get("environment", {}) if name.startswith("KASSA_")}
    assert named >= {"KASSA_DATABASE_URL", "KASSA_LOG_FORMAT", "KASSA_DRAIN_SECONDS"}
    assert named <= SETTINGS
    # As the program itself would read them.
    Settings.model_validate({name.removeprefix("KASSA_").lower(): value for name, value in config["data"].items()})


def test_probes_ask_what_they_mean() -> None:
    """Liveness never asks the database: its outage must not restart every pod."""
    api, worker = (next(one for one in containers() if one["name"] == name) for name in ("api", "worker"))
    assert worker["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "watch"}
    (config,) = of_kind("ConfigMap")
    assert worker["ports"] == [{"name": "watch", "containerPort": int(config["data"]["KASSA_WORKER_PORT"])}]
    assert api["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert api["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {port["name"] for port in api["ports"]} == {"http"}
    assert all(api[f"{name}Probe"]["httpGet"]["port"] == "http" for name in ("startup", "liveness", "readiness"))
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert "/readyz" in compose["services"]["api"]["healthcheck"]["test"][-1]


def test_a_stop_is_given_the_time_that_it_needs() -> None:
    (config,) = of_kind("ConfigMap")
    needed = sum(float(config["data"][name]) for name in ("KASSA_DRAIN_SECONDS", "KASSA_SHUTDOWN_SECONDS"))
    for one in of_kind("Deployment"):
        assert one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > needed, one["metadata"]["name"]


def test_what_refers_to_something_refers_to_what_is_there() -> None:
    deployments = {one["metadata"]["name"]: one for one in of_kind("Deployment")}
    for one in deployments.values():
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for one in (*of_kind("Service"), *of_kind("PodDisruptionBudget")):
        selector = one["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        chosen = [
            d for d in deployments.values() if selector.items() <= d["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert [d["metadata"]["name"] for d in chosen] == [one["metadata"]["name"]]
    for scaler in of_kind("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] in deployments
        (metric,) = scaler["spec"]["metrics"]
        asked = metric["external"]["metric"]
        assert asked["name"] in SERIES
        assert set(asked["selector"]["matchLabels"]) <= SERIES[asked["name"]]
        assert asked["selector"]["matchLabels"]["kind"] in {kind.name.lower() for kind in JobKind}


def test_compose_starts_the_program_after_its_schema() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert {name: one["command"] for name, one in services.items() if "command" in one} == {
        name: [name] for name in ("migrate", "api", "worker")
    }
    for name in ("api", "worker"):
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["api"]["ports"] == ["127.0.0.1:8080:8080"], "TLS ends at a proxy: the port is not for everybody"
