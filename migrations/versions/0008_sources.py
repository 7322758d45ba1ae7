"""Sources are polled, told of results and watched; money that two sources report is compared; alarms are told once."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SOURCE_COLUMNS = (
    ("settlement_key_from", "TEXT"),
    ("silent_after_hours", "INTEGER"),
    ("silent_since", "TIMESTAMP WITH TIME ZONE"),
    ("polled_to", "TIMESTAMP WITH TIME ZONE"),
    ("polled_at", "TIMESTAMP WITH TIME ZONE"),
    ("poll_failing_since", "TIMESTAMP WITH TIME ZONE"),
    ("poll_failure", "TEXT"),
    ("report_lane", "UUID"),
)
KEY_COLUMNS = (
    ("source_id", "UUID"),
    ("amount", "BIGINT"),
    ("sources", "UUID[] DEFAULT '{}'::uuid[] NOT NULL"),
    ("linked_event_id", "UUID"),
)

# Keys from before are compared from now on; of one whose event is gone nothing is known, so nothing is linked to it.
OWNERS = """
UPDATE settlement_keys k SET source_id = e.source_id, amount = e.amount, sources = ARRAY[e.source_id]
FROM events e WHERE e.id = k.event_id AND e.merchant_id = k.merchant_id
"""
LINKS = """
UPDATE events e SET linked_to = k.event_id FROM settlement_keys k
WHERE e.status = 'linked' AND k.merchant_id = e.merchant_id AND k.type = e.type
  AND k.settlement_key = e.settlement_key AND k.event_id <> e.id
"""
REPORTERS = """
UPDATE settlement_keys k SET sources = x.sources
FROM (SELECT k.merchant_id, k.type, k.settlement_key, array_agg(DISTINCT e.source_id) || k.sources AS sources
      FROM events e JOIN settlement_keys k ON k.merchant_id = e.merchant_id AND k.type = e.type
        AND k.settlement_key = e.settlement_key
      WHERE e.status = 'linked' GROUP BY k.merchant_id, k.type, k.settlement_key, k.sources) x
WHERE k.merchant_id = x.merchant_id AND k.type = x.type AND k.settlement_key = x.settlement_key
"""

TABLES = {
    "crm_reports": """
        CREATE TABLE crm_reports (
          id UUID NOT NULL,
          merchant_id UUID NOT NULL,
          source_id UUID NOT NULL,
          receipt_id UUID NOT NULL,
          event_id UUID NOT NULL,
          version INTEGER NOT NULL,
          status TEXT NOT NULL,
          state TEXT DEFAULT 'waiting' NOT NULL,
          attempts INTEGER DEFAULT 0 NOT NULL,
          reason TEXT,
          created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
          finished_at TIMESTAMP WITH TIME ZONE,
          CONSTRAINT pk_crm_reports PRIMARY KEY (id),
          CONSTRAINT uq_crm_reports_receipt_id_event_id_version_status UNIQUE (receipt_id, event_id, version, status),
          CONSTRAINT fk_crm_reports_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
        )
        """,
    "alarms": """
        CREATE TABLE alarms (
          id UUID NOT NULL,
          merchant_id UUID NOT NULL,
          source_id UUID NOT NULL,
          type TEXT NOT NULL,
          external_id TEXT NOT NULL,
          code TEXT NOT NULL,
          event_id UUID,
          reason TEXT NOT NULL,
          reason_ru TEXT NOT NULL,
          created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
          CONSTRAINT pk_alarms PRIMARY KEY (id),
          CONSTRAINT uq_alarms_merchant_id_source_id_type_external_id_code
            UNIQUE (merchant_id, source_id, type, external_id, code),
          CONSTRAINT fk_alarms_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
        )
        """,
}

NOBODY = "nullif(current_setting('kassa.merchant', true), '')::uuid"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    for name, kind in SOURCE_COLUMNS:
        op.execute(f"ALTER TABLE sources ADD COLUMN {name} {kind}")
    for name, kind in KEY_COLUMNS:
        op.execute(f"ALTER TABLE settlement_keys ADD COLUMN {name} {kind}")
    op.execute("ALTER TABLE events ADD COLUMN linked_to UUID")
    op.execute(OWNERS)
    op.execute(LINKS)
    op.execute(REPORTERS)
    op.execute("CREATE INDEX ix_events_linked_to ON events (linked_to) WHERE linked_to IS NOT NULL")
    for name, statement in TABLES.items():
        op.execute(statement)
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO kassa_pipeline")
        op.execute(f"GRANT SELECT ON {name} TO kassa_api")
        op.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {name} TO kassa_api USING (merchant_id = {NOBODY})")
        op.execute(f"CREATE POLICY pipeline ON {name} TO kassa_pipeline USING (true) WITH CHECK (true)")
    op.execute("CREATE INDEX ix_alarms_event_id ON alarms (event_id) WHERE event_id IS NOT NULL")
    op.execute("CREATE INDEX ix_notifications_source_id ON notifications (source_id, received_at, id)")
    op.execute(
        "CREATE INDEX ix_notifications_unprocessed ON notifications (merchant_id, status, received_at, id) "
        "WHERE status <> 'processed'"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("DROP INDEX ix_notifications_unprocessed")
    op.execute("DROP INDEX ix_notifications_source_id")
    for name in reversed(TABLES):
        op.execute(f"DROP TABLE {name}")
    op.execute("DROP INDEX ix_events_linked_to")
    op.execute("ALTER TABLE events DROP COLUMN linked_to")
    for name, _ in reversed(KEY_COLUMNS):
        op.execute(f"ALTER TABLE settlement_keys DROP COLUMN {name}")
    for name, _ in reversed(SOURCE_COLUMNS):
        op.execute(f"ALTER TABLE sources DROP COLUMN {name}")
