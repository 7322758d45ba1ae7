"""The collectors: names by the rules of Prometheus, bounded labels, nothing shared between instances."""

import re

from prometheus_client.parser import text_string_to_metric_families

from app.infra.metrics import Metrics

BOUNDED = {
    *("method", "route", "status_class", "source", "result", "verdict", "status", "provider", "outcome", "kind"),
    *("operation", "reason", "state", "committer", "version"),
}


def test_names_and_labels_follow_the_rules():
    families = list(Metrics().registry.collect())
    assert len(families) > 20
    for family in families:
        assert re.fullmatch(r"kassa_[a-z_]+", family.name), family.name
        assert family.documentation
    for collector in vars(Metrics()).values():
        assert set(getattr(collector, "_labelnames", ())) <= BOUNDED


def test_two_processes_share_nothing():
    first, second = Metrics(), Metrics()
    first.idempotent_replays.inc()
    first.receipt_attempts.labels("digitalkassa", "unknown").inc(2)
    first.commit_rows.labels("intake").observe(7)
    assert first.registry.get_sample_value("kassa_idempotent_replays_total") == 1
    assert second.registry.get_sample_value("kassa_idempotent_replays_total") == 0
    labels = {"provider": "digitalkassa", "outcome": "unknown"}
    assert first.registry.get_sample_value("kassa_receipt_attempts_total", labels) == 2


def test_the_exposition_is_readable_text():
    metrics = Metrics()
    metrics.build_info.labels("0.1.0").set(1)
    body, media_type = metrics.exposition()
    assert media_type.startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"kassa_build_info", "kassa_receipt_fiscalization_seconds", "kassa_webhook_deliveries"} <= names
