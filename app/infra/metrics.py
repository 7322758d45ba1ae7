"""What Prometheus may ask of one process: collectors by name; labels are bounded, never an id, URL or contact."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_FISCALIZATION = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 86400)
_EXCHANGE = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
_REQUEST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


Labelled = TypeVar("Labelled", Counter, Gauge, Histogram)


@lru_cache(maxsize=4096)
def labelled(collector: Labelled, *values: str) -> Labelled:
    """The child of these labels, kept: finding it costs more than what is noted in it."""
    return collector.labels(*values)


class Metrics:
    """The collectors of one process in a registry of their own: two instances never share a number."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        # In
        self.http_request_seconds = Histogram(
            "kassa_http_request_seconds",
            "Time to answer an API request, by route template.",
            ["method", "route", "status_class"],
            buckets=_REQUEST,
            registry=r,
        )
        self.events_received = Counter(
            "kassa_events_received_total",
            "Events, by kind of source and result: accepted, duplicate, conflict, refused.",
            ["source", "result"],
            registry=r,
        )
        self.notifications_received = Counter(
            "kassa_notifications_received_total",
            "Raw webhooks of sources, by kind and verdict: genuine, forged.",
            ["source", "verdict"],
            registry=r,
        )
        self.idempotent_replays = Counter(
            "kassa_idempotent_replays_total", "First answers given once more for an Idempotency-Key.", registry=r
        )
        self.source_polls = Counter(
            "kassa_source_polls_total",
            "Listings of sources, by outcome: listed, failed.",
            ["source", "outcome"],
            registry=r,
        )
        self.sources_silent = Gauge(
            "kassa_sources_silent", "Sources that nothing is heard of for too long.", ["source"], registry=r
        )
        # Receipts
        self.receipts = Gauge("kassa_receipts", "Receipts now in each state.", ["status"], registry=r)
        self.receipts_overdue = Gauge(
            "kassa_receipts_overdue", "Unfinished receipts past the legal deadline.", registry=r
        )
        self.receipt_attempts = Counter(
            "kassa_receipt_attempts_total",
            "Exchanges about receipts, by outcome: accepted, fiscalized, pending, rejected, unavailable, unknown.",
            ["provider", "outcome"],
            registry=r,
        )
        self.receipt_fiscalization_seconds = Histogram(
            "kassa_receipt_fiscalization_seconds",
            "From the event's arrival to the fiscal document.",
            ["provider"],
            buckets=_FISCALIZATION,
            registry=r,
        )
        self.reconcile_mismatches = Counter(
            "kassa_reconcile_mismatches_total",
            "Documents found under our id that differ from what was asked, by the field that differs.",
            ["kind"],
            registry=r,
        )
        self.doubles_suspected = Counter(
            "kassa_doubles_suspected_total", "Receipts with evidence of a second document.", ["provider"], registry=r
        )
        self.receipt_pages = Counter(
            "kassa_receipt_pages_total",
            "Public receipt pages asked for: shown, refused (a token that was not given out), gone, off.",
            ["result"],
            registry=r,
        )
        # Providers
        self.provider_request_seconds = Histogram(
            "kassa_provider_request_seconds",
            "Time of one exchange; status_class is 2xx…5xx, not_sent or maybe_sent.",
            ["provider", "operation", "status_class"],
            buckets=_EXCHANGE,
            registry=r,
        )
        self.provider_circuit_state = Gauge(
            "kassa_provider_circuit_state",
            "Worst breaker among the provider's lanes: 0 closed, 1 half-open, 2 open.",
            ["provider"],
            registry=r,
        )
        self.lanes_paused = Gauge("kassa_lanes_paused", "Paused lanes, by reason.", ["kind", "reason"], registry=r)
        # Queue
        self.queue_depth = Gauge(
            "kassa_queue_depth", "Jobs, by kind and state: ready, scheduled, leased.", ["kind", "state"], registry=r
        )
        self.queue_oldest_age_seconds = Gauge(
            "kassa_queue_oldest_age_seconds", "Age of the oldest ready job.", ["kind"], registry=r
        )
        self.job_lease_expired = Counter(
            "kassa_job_lease_expired_total", "Jobs taken back from a worker that did not finish.", ["kind"], registry=r
        )
        self.worker_heartbeat = Gauge(
            "kassa_worker_heartbeat_timestamp_seconds", "Unix time of the last turn of the worker's loop.", registry=r
        )
        self.commit_rows = Histogram(
            "kassa_group_commit_rows", "Rows written by one group commit.", ["committer"], buckets=_ROWS, registry=r
        )
        self.commit_seconds = Histogram(
            "kassa_group_commit_seconds", "Time of one group commit.", ["committer"], buckets=_REQUEST, registry=r
        )
        self.database_refusals = Counter(
            "kassa_database_refusals_total",
            "Transactions that the database could not take: disk_full, out_of_memory, too_many_connections, read_only, "
            "starting, away.",
            ["reason"],
            registry=r,
        )
        # Out
        self.webhook_deliveries = Counter(
            "kassa_webhook_deliveries_total", "Posts, by outcome: delivered, retry, gone.", ["outcome"], registry=r
        )
        self.webhook_delivery_seconds = Histogram(
            "kassa_webhook_delivery_seconds", "Time of one post.", buckets=_EXCHANGE, registry=r
        )
        self.webhook_endpoints_disabled = Gauge(
            "kassa_webhook_endpoints_disabled", "Endpoints that were switched off.", registry=r
        )
        self.crm_reports = Counter(
            "kassa_crm_reports_total",
            "Results told to CRMs, by outcome: reported, retry, failed, nothing (the CRM has no place for it).",
            ["source", "outcome"],
            registry=r,
        )
        self.build_info = Gauge("kassa_build_info", "Always 1.", ["version"], registry=r)

    def commits_of(self, committer: str) -> Callable[[int, float], None]:
        """Takes note of one group commit: its rows and its seconds."""
        rows, took = self.commit_rows.labels(committer), self.commit_seconds.labels(committer)

        def note(number: int, seconds: float) -> None:
            rows.observe(number)
            took.observe(seconds)

        return note

    def exposition(self) -> tuple[bytes, str]:
        """The text of `/metrics` and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4
