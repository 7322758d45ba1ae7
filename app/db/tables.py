"""All tables, in pipeline order: who may pay, what was reported, what is wanted, what was tried, what was told."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_NOW = text("kassa_now()")


def _id() -> Column[object]:
    return Column("id", Uuid, primary_key=True)


def _merchant() -> Column[object]:
    return Column("merchant_id", Uuid, ForeignKey("merchants.id"), nullable=False)


def _at(name: str = "created_at") -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=_NOW)


def _maybe_at(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


def _json(name: str, default: str | None = None) -> Column[object]:
    if default is None:
        return Column(name, JSONB)
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))


installation = Table(
    "installation",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    Column("system_identifier", Text, nullable=False),
    Column("timeline", Integer, nullable=False),
    Column("database_oid", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False, server_default=text("1")),
    _maybe_at("epoch_opened_at"),
    Column("epoch_reason", Text),
    _maybe_at("forgotten_from"),
    _maybe_at("pruned_at"),
    Column("exchanges_pruned_to", Uuid),
    CheckConstraint("id = 1", name="single"),
)
"""Which database this is; another identity means a restore or a clone, and opens an epoch."""

merchants = Table(
    "merchants",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("inn", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    _json("vat", "{}"),
    _maybe_at("vat_reviewed_at"),
    _at(),
    _at("updated_at"),
    Column("unmapped", Text, nullable=False, server_default=text("'default'")),
    Column("nomenclature_version", Integer, nullable=False, server_default=text("0")),
    _maybe_at("nomenclature_at"),
)

vat_reviews = Table(
    "vat_reviews",
    metadata,
    _merchant(),
    Column("year", SmallInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("bound_year", SmallInteger, nullable=False),
    Column("percent", SmallInteger, nullable=False),
    Column("income", BigInteger, nullable=False),
    Column("bound", BigInteger, nullable=False),
    _at("told_at"),
    PrimaryKeyConstraint("merchant_id", "year", "kind", "bound_year", "percent"),
)
"""Shares of a bound that a merchant was told of: one message for each, for ever."""

branches = Table(
    "branches",
    metadata,
    _id(),
    _merchant(),
    Column("name", Text, nullable=False),
    Column("external_id", Text),
    Column("kassa_id", Uuid, ForeignKey("kassas.id")),
    Column("timezone", Text),
    _json("defaults", "{}"),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    _at(),
    _at("updated_at"),
    UniqueConstraint("merchant_id", "external_id"),
)

kassas = Table(
    "kassas",
    metadata,
    _id(),
    _merchant(),
    Column("name", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("base_url", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("ffd", Text, nullable=False),
    Column("taxation", ARRAY(Text), nullable=False),
    Column("place", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("internet", Boolean, nullable=False),
    Column("credentials", LargeBinary, nullable=False),
    _json("defaults", "{}"),
    Column("callback_secret_hash", LargeBinary, nullable=False),
    Column("callback_secret", LargeBinary, nullable=False),
    Column("test", Boolean, nullable=False, server_default=text("false")),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    _maybe_at("first_used_at"),
    _maybe_at("checked_at"),
    _json("check_report"),
    _at(),
    _at("updated_at"),
    Index("ix_kassas_merchant_id", "merchant_id"),
)

sources = Table(
    "sources",
    metadata,
    _id(),
    _merchant(),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("base_url", Text),
    Column("credentials", LargeBinary),
    _json("settings", "{}"),
    _json("defaults", "{}"),
    Column("branch_id", Uuid, ForeignKey("branches.id")),
    Column("kassa_id", Uuid, ForeignKey("kassas.id")),
    Column("path_secret_hash", LargeBinary),
    Column("fallback_contact", LargeBinary),
    Column("acquirer_fiscalizes", Boolean, nullable=False, server_default=text("false")),
    _maybe_at("starts_at"),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    _maybe_at("last_heard_at"),
    _at(),
    _at("updated_at"),
    Column("settlement_key_from", Text),
    Column("silent_after_hours", Integer),
    _maybe_at("silent_since"),
    _maybe_at("polled_to"),
    _maybe_at("polled_at"),
    _maybe_at("poll_failing_since"),
    Column("poll_failure", Text),
    Column("report_lane", Uuid),
    Column("unmapped", Text),
    Index("ix_sources_merchant_id", "merchant_id"),
    Index("uq_sources_built_in", "merchant_id", unique=True, postgresql_where=text("kind = 'api'")),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    Column("merchant_id", Uuid, ForeignKey("merchants.id")),
    Column("source_id", Uuid, ForeignKey("sources.id")),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("display", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("live", Boolean, nullable=False),
    _maybe_at("expires_at"),
    _maybe_at("revoked_at"),
    _maybe_at("last_used_at"),
    _at(),
    Index("ix_api_keys_merchant_id", "merchant_id"),
)

lanes = Table(
    "lanes",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    Column("merchant_id", Uuid),
    Column("provider", Text),
    Column("max_in_flight", Integer, nullable=False),
    Column("rate_per_second", Integer),
    _maybe_at("rate_from"),
    _maybe_at("paused_at"),
    Column("pause_cause", Text),
    _maybe_at("probe_at"),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    _maybe_at("resumed_at"),
)
"""A lane is a kassa, a webhook endpoint or a source: its id is theirs. Paused lanes are left out of the claim."""

event_identities = Table(
    "event_identities",
    metadata,
    Column("merchant_id", Uuid, nullable=False),
    Column("source_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("merchant_id", "source_id", "type", "external_id"),
)
"""Permanent: never partitioned, never pruned. A payment pressed again after a year is still a repeat."""

settlement_keys = Table(
    "settlement_keys",
    metadata,
    Column("merchant_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("settlement_key", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("source_id", Uuid),
    Column("amount", BigInteger),
    Column("sources", ARRAY(Uuid), nullable=False, server_default=text("'{}'::uuid[]")),
    Column("linked_event_id", Uuid),
    PrimaryKeyConstraint("merchant_id", "type", "settlement_key"),
)
"""The same money reported by two sources is one receipt: the first to come owns the key. `sources` have reported it,
`linked_event_id` is the last report that was linked: whoever is neither it nor the owner contradicts."""

chains = Table(
    "chains",
    metadata,
    _id(),
    Column("merchant_id", Uuid, nullable=False),
    Column("source_id", Uuid, nullable=False),
    Column("payment_id", Text, nullable=False),
    Column("sold", BigInteger, nullable=False, server_default=text("0")),
    Column("refunded", BigInteger, nullable=False, server_default=text("0")),
    Column("settled", BigInteger, nullable=False, server_default=text("0")),
    # A sale that another program printed, as its refunds told it.
    _json("original"),
    UniqueConstraint("merchant_id", "source_id", "payment_id"),
    CheckConstraint("refunded <= sold", name="refunded_within_sold"),
    CheckConstraint("settled <= sold", name="settled_within_sold"),
)
"""All receipts of one payment; locked before anything is looked up in it, receipts go in order within it."""

events = Table(
    "events",
    metadata,
    _id(),
    _merchant(),
    Column("source_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("payment_id", Text),
    Column("order_id", Text),
    Column("settlement_key", Text),
    Column("chain_id", Uuid),
    Column("status", Text, nullable=False),
    _json("reason"),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    _json("metadata", "{}"),
    Column("test", Boolean, nullable=False, server_default=text("false")),
    _at("received_at"),
    Column("linked_to", Uuid),
    Index("ix_events_linked_to", "linked_to", postgresql_where=text("linked_to IS NOT NULL")),
    Index("ix_events_merchant_id_received_at_id", "merchant_id", "received_at", "id"),
    Index("ix_events_chain_id", "chain_id"),
    Index("ix_events_order_id", "merchant_id", "order_id", postgresql_where=text("order_id IS NOT NULL")),
    Index("ix_events_payment_id", "merchant_id", "payment_id", postgresql_where=text("payment_id IS NOT NULL")),
    Index("ix_events_source_id", "source_id", "received_at", "id"),
    Index(
        "ix_events_type",
        "merchant_id",
        "type",
        "received_at",
        "id",
        postgresql_where=text("type <> 'payment.succeeded'"),
    ),
    Index(
        "ix_events_unplanned",
        "merchant_id",
        "status",
        "received_at",
        "id",
        postgresql_where=text("status <> 'planned'"),
    ),
)

PREPAID_SALE = (
    """operation = 'sell' AND document @? '$.items[*] ? (@.payment_method == "full_prepayment" """
    """|| @.payment_method == "prepayment" || @.payment_method == "advance")'::jsonpath"""
)
"""A sale that took money before handing over; an index answers only to these very words."""

receipts = Table(
    "receipts",
    metadata,
    _id(),
    _merchant(),
    Column("branch_id", Uuid),
    Column("kassa_id", Uuid),
    Column("source_id", Uuid, nullable=False),
    Column("event_id", Uuid),
    Column("chain_id", Uuid),
    Column("number", Integer, nullable=False, server_default=text("1")),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("provider_id", Text, nullable=False),
    Column("provider_reference", Text),
    Column("operation", Text, nullable=False),
    Column("correction", Boolean, nullable=False, server_default=text("false")),
    Column("status", Text, nullable=False),
    Column("sequence", Integer, nullable=False, server_default=text("0")),
    Column("total", BigInteger, nullable=False),
    Column("currency", Text, nullable=False, server_default=text("'RUB'")),
    Column("taxation", Text),
    Column("order_id", Text),
    Column("external_id", Text),
    _json("document"),
    Column("customer", LargeBinary),
    Column("email_hash", LargeBinary),
    Column("phone_hash", LargeBinary),
    Column("phone_tail_hash", LargeBinary),
    Column("items_origin", Text),
    Column("fn", Text),
    Column("fd", BigInteger),
    Column("fpd", Text),
    _json("fiscal"),
    _json("failure"),
    _json("metadata", "{}"),
    Column("marks", Integer, nullable=False, server_default=text("0")),
    _maybe_at("first_marked_at"),
    _maybe_at("due_at"),
    _maybe_at("limit_at"),
    _maybe_at("alarm_at"),
    Column("contact_fallback", Boolean, nullable=False, server_default=text("false")),
    _json("correction_draft"),
    _at(),
    _at("updated_at"),
    Column("prepayment_closed", Boolean, nullable=False, server_default=text("false")),
    _json("remarks"),
    # By which version of which rules the lines were filled.
    _json("nomenclature"),
    UniqueConstraint("provider_id"),
    Index("ix_receipts_merchant_id_created_at_id", "merchant_id", "created_at", "id"),
    Index("ix_receipts_chain_id", "chain_id", postgresql_where=text("chain_id IS NOT NULL")),
    Index("ix_receipts_event_id", "event_id", postgresql_where=text("event_id IS NOT NULL")),
    Index("ix_receipts_order_id", "merchant_id", "order_id", postgresql_where=text("order_id IS NOT NULL")),
    Index("ix_receipts_external_id", "merchant_id", "external_id", postgresql_where=text("external_id IS NOT NULL")),
    # A fallback contact stands on every tenth receipt: in the order of the list, no search sorts what it finds.
    Index("ix_receipts_email_hash", "email_hash", "created_at", "id", postgresql_where=text("email_hash IS NOT NULL")),
    Index("ix_receipts_phone_hash", "phone_hash", "created_at", "id", postgresql_where=text("phone_hash IS NOT NULL")),
    Index(
        "ix_receipts_phone_tail_hash",
        "phone_tail_hash",
        "created_at",
        "id",
        postgresql_where=text("phone_tail_hash IS NOT NULL"),
    ),
    Index("ix_receipts_fd", "merchant_id", "fd", postgresql_where=text("fd IS NOT NULL")),
    Index("ix_receipts_fpd", "merchant_id", "fpd", postgresql_where=text("fpd IS NOT NULL")),
    Index("ix_receipts_kassa_id", "kassa_id", "created_at", "id", postgresql_where=text("kassa_id IS NOT NULL")),
    Index("ix_receipts_branch_id", "branch_id", "created_at", "id", postgresql_where=text("branch_id IS NOT NULL")),
    Index(
        "ix_receipts_operation",
        "merchant_id",
        "operation",
        "created_at",
        "id",
        postgresql_where=text("operation <> 'sell'"),
    ),
    # What stands still until a person acts is asked every minute whether it is time to remind; what moves by itself is
    # found by its state, and pays for no further index.
    Index(
        "ix_receipts_alarm_at",
        "alarm_at",
        postgresql_where=text("status = ANY (ARRAY['held', 'needs_attention', 'rejected'])"),
    ),
    Index(
        "ix_receipts_prepaid",
        "merchant_id",
        "prepayment_closed",
        "created_at",
        "id",
        postgresql_where=text(PREPAID_SALE),
    ),
    Index(
        "ix_receipts_unfinished",
        "status",
        "merchant_id",
        "created_at",
        "id",
        postgresql_where=text("status <> 'fiscalized'"),
    ),
)

settlement_parts = Table(
    "settlement_parts",
    metadata,
    Column("receipt_id", Uuid, nullable=False),
    Column("chain_id", Uuid, ForeignKey("chains.id", ondelete="CASCADE"), nullable=False),
    _merchant(),
    Column("amount", BigInteger, nullable=False),
    Column("items", JSONB, nullable=False),
    _at(),
    Column("moved", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("receipt_id", "chain_id"),
    Index("ix_settlement_parts_chain_id", "chain_id"),
)
"""What closings of whole orders, and payments with an offset (`moved`), took from earlier payments; outlives the
receipt, so that nothing reopens."""

attempts = Table(
    "attempts",
    metadata,
    _id(),
    _merchant(),
    Column("receipt_id", Uuid, nullable=False),
    Column("kassa_id", Uuid),
    Column("kind", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("worker", Text, nullable=False),
    _at("marked_at"),
    _maybe_at("finished_at"),
    Column("outcome", Text),
    Column("cause", Text),
    Column("provider_code", Text),
    Column("provider_message", Text),
    _json("evidence"),
    Column("proven_absent", Boolean, nullable=False, server_default=text("false")),
    Column("exchange", LargeBinary),
    _json("found"),
    Index("ix_attempts_receipt_id", "receipt_id", "marked_at"),
)

timeline = Table(
    "timeline",
    metadata,
    _id(),
    _merchant(),
    Column("event_id", Uuid),
    Column("receipt_id", Uuid),
    _at("at"),
    Column("what", Text, nullable=False),
    Column("status", Text),
    Column("actor", Text, nullable=False),
    _json("data", "{}"),
    Index("ix_timeline_receipt_id", "receipt_id", "at", postgresql_where=text("receipt_id IS NOT NULL")),
    Index("ix_timeline_event_id", "event_id", "at", postgresql_where=text("event_id IS NOT NULL")),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("kind", SmallInteger, nullable=False),
    Column("lane", Uuid, nullable=False),
    Column("chain", Uuid),
    Column("ref", Uuid, nullable=False),
    Column("run_at", DateTime(timezone=True), nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("lease_token", Uuid),
    _maybe_at("lease_until"),
    _maybe_at("marked_at"),
    Column("hinted", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("ref"),
    Index("ix_jobs_ready", "lane", "run_at", "id", postgresql_where=text("lease_token IS NULL")),
    Index("ix_jobs_leased", "lane", "lease_token", postgresql_where=text("lease_token IS NOT NULL")),
)
"""Narrow and short: a finished job is deleted, a follow-up is the same row changed; so one order exists per receipt."""

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    _id(),
    _merchant(),
    Column("url", Text, nullable=False),
    Column("types", ARRAY(Text), nullable=False),
    Column("description", Text),
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary),
    _maybe_at("previous_secret_until"),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    Column("disabled_reason", Text),
    _maybe_at("failing_since"),
    _at(),
    _at("updated_at"),
    Index("ix_webhook_endpoints_merchant_id", "merchant_id"),
)

messages = Table(
    "messages",
    metadata,
    _id(),
    _merchant(),
    Column("receipt_id", Uuid),
    Column("type", Text, nullable=False),
    Column("sequence", Integer),
    Column("body", LargeBinary, nullable=False),
    Column("epoch", Integer, nullable=False, server_default=text("kassa_epoch()")),
    Column("txid", BigInteger, nullable=False, server_default=text("pg_current_xact_id()::text::bigint")),
    _at(),
    Index("ix_messages_feed", "merchant_id", "epoch", "txid", "id"),
    Index("ix_messages_receipt_id", "receipt_id"),
)
"""One state change told: one id, one body, frozen in the transaction that made the change."""

message_endpoints = Table(
    "message_endpoints",
    metadata,
    _id(),
    _merchant(),
    Column("message_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _at(),
    _maybe_at("delivered_at"),
    UniqueConstraint("message_id", "endpoint_id"),
    Index("ix_message_endpoints_endpoint_id", "endpoint_id", "id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    _merchant(),
    Column("message_endpoint_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    _at("at"),
    Column("outcome", Text, nullable=False),
    Column("response_status", Integer),
    Column("reason", Text),
    Column("response_head", Text),
    Column("duration_ms", Integer),
    Index("ix_deliveries_message_endpoint_id", "message_endpoint_id", "at"),
    Index("ix_deliveries_endpoint_id", "endpoint_id", "at"),
)

notifications = Table(
    "notifications",
    metadata,
    _id(),
    _merchant(),
    Column("source_id", Uuid, nullable=False),
    Column("part", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'received'")),
    Column("note", Text),
    _at("received_at"),
    _maybe_at("finished_at"),
    UniqueConstraint("source_id", "part", "digest"),
    Index("ix_notifications_merchant_id", "merchant_id", "received_at", "id"),
    Index("ix_notifications_source_id", "source_id", "received_at", "id"),
    Index(
        "ix_notifications_unprocessed",
        "merchant_id",
        "status",
        "received_at",
        "id",
        postgresql_where=text("status <> 'processed'"),
    ),
)
"""Raw inbound webhooks, stored before they are acted on."""

crm_reports = Table(
    "crm_reports",
    metadata,
    _id(),
    _merchant(),
    Column("source_id", Uuid, nullable=False),
    Column("receipt_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("reason", Text),
    _at(),
    _maybe_at("finished_at"),
    UniqueConstraint("receipt_id", "event_id", "version", "status"),
)
"""What a source is told of a receipt: once for each version and state, under the event that this source reported."""

alarms = Table(
    "alarms",
    metadata,
    _id(),
    _merchant(),
    Column("source_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("event_id", Uuid),
    Column("reason", Text, nullable=False),
    Column("reason_ru", Text, nullable=False),
    _at(),
    UniqueConstraint("merchant_id", "source_id", "type", "external_id", "code"),
    Index("ix_alarms_event_id", "event_id", postgresql_where=text("event_id IS NOT NULL")),
)
"""What changed at a source after it was reported: told to people once for each event and code."""

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _merchant(),
    Column("key", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status_code", SmallInteger),
    _json("headers"),
    Column("body", LargeBinary),
    _at(),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("merchant_id", "key"),
    Index("ix_idempotency_keys_expires_at", "expires_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", Text, nullable=False),
    _at("started_at"),
    _at("seen_at"),
)

audit = Table(
    "audit",
    metadata,
    _id(),
    Column("merchant_id", Uuid),
    _at("at"),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object_id", Text),
    _json("data", "{}"),
    Index("ix_audit_merchant_id", "merchant_id", "at"),
)

corrections = Table(
    "corrections",
    metadata,
    _id(),
    _merchant(),
    Column("receipt_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("chain_id", Uuid, nullable=False),
    Column("case", Text, nullable=False),
    Column("basis", JSONB, nullable=False),
    _json("other_document"),
    Column("reason", Text),
    _json("differences", "[]"),
    _json("notes", "[]"),
    Column("actor", Text, nullable=False),
    _at(),
    UniqueConstraint("event_id"),
    Index("ix_corrections_chain_id", "chain_id"),
)
"""Which event's documents put which receipt right; `other_document` is a second print of it that we never made."""

correction_batches = Table(
    "correction_batches",
    metadata,
    _id(),
    _merchant(),
    Column("source_id", Uuid, nullable=False),
    Column("token_hash", LargeBinary, nullable=False),
    Column("documents", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    _at(),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    _maybe_at("confirmed_at"),
    Column("confirmed_by", Text),
    Index("ix_correction_batches_merchant_id", "merchant_id", "created_at"),
)

correction_rows = Table(
    "correction_rows",
    metadata,
    _id(),
    _merchant(),
    Column("batch_id", Uuid, ForeignKey("correction_batches.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("external_id", Text),
    Column("amount", BigInteger),
    Column("state", Text, nullable=False),
    _json("findings", "[]"),
    Column("digest", LargeBinary),
    Column("payload", LargeBinary),
    Column("event_id", Uuid),
    UniqueConstraint("batch_id", "number"),
)
"""One payment of a list; what was told of it is kept, sealed, until it is sent."""

nomenclature_rules = Table(
    "nomenclature_rules",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("since", Integer, nullable=False),
    Column("until", Integer),
    _merchant(),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("source_id", Uuid, ForeignKey("sources.id")),
    Column("branch_id", Uuid, ForeignKey("branches.id")),
    Column("payment_type", Text),
    Column("sku", Text),
    Column("pattern", Text),
    Column("name", Text),
    Column("payment_object", Text),
    Column("payment_method", Text),
    Column("vat", Text),
    Column("measure", Text),
    _json("agent"),
    Column("override", Boolean, nullable=False, server_default=text("false")),
    Column("comment", Text),
    Column("actor", Text, nullable=False),
    _at(),
    _at("changed_at"),
    PrimaryKeyConstraint("id", "since"),
    Index("ix_nomenclature_rules_merchant_id", "merchant_id", "created_at", "id"),
)
"""Rules in all their versions: a set is what began by its number (`since`) and had not ended before it (`until`)."""

TENANT_TABLES = tuple(
    name
    for name, table in metadata.tables.items()
    if "merchant_id" in table.columns
    and name not in {"lanes", "event_identities", "settlement_keys", "chains", "audit"}
)
"""Tables that the API reads under row-level security."""
