"""Sources are polled, told of results and watched; money that two sources report is compared; alarms are told once."""

from app.db import online

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

LINKED_TO = ("linked_to", "UUID")

# Keys from before are compared from now on; of one whose event is gone nothing is known, so nothing is linked to it.
OWNERS = """
UPDATE settlement_keys k SET source_id = e.source_id, amount = e.amount, sources = ARRAY[e.source_id]
FROM events e WHERE e.id > :after AND e.id <= :upto AND k.event_id = e.id AND k.source_id IS NULL
  AND k.merchant_id = e.merchant_id AND k.type = e.type AND k.settlement_key = e.settlement_key
"""
LINKS = """
UPDATE events e SET linked_to = k.event_id FROM settlement_keys k
WHERE e.id > :after AND e.id <= :upto AND e.status = 'linked' AND e.linked_to IS NULL AND k.event_id <> e.id
  AND k.merchant_id = e.merchant_id AND k.type = e.type AND k.settlement_key = e.settlement_key
"""
REPORTERS = """
UPDATE settlement_keys k SET sources = k.sources || x.sources
FROM (SELECT k.merchant_id, k.type, k.settlement_key, array_agg(DISTINCT e.source_id) AS sources
      FROM events e JOIN settlement_keys k ON k.merchant_id = e.merchant_id AND k.type = e.type
        AND k.settlement_key = e.settlement_key AND e.source_id <> ALL (k.sources)
      WHERE e.id > :after AND e.id <= :upto AND e.status = 'linked'
      GROUP BY k.merchant_id, k.type, k.settlement_key) x
WHERE k.merchant_id = x.merchant_id AND k.type = x.type AND k.settlement_key = x.settlement_key
"""

INDEXES = (
    ("ix_events_linked_to", "events (linked_to) WHERE linked_to IS NOT NULL"),
    ("ix_notifications_source_id", "notifications (source_id, received_at, id)"),
    (
        "ix_notifications_unprocessed",
        "notifications (merchant_id, status, received_at, id) WHERE status <> 'processed'",
    ),
)

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

ALARMS_BY_EVENT = "CREATE INDEX ix_alarms_event_id ON alarms (event_id) WHERE event_id IS NOT NULL"


def upgrade() -> None:
    online.add_columns("sources", *SOURCE_COLUMNS)
    online.add_columns("settlement_keys", *KEY_COLUMNS)
    online.add_columns("events", LINKED_TO)
    for change in (OWNERS, LINKS, REPORTERS):
        online.fill("events", change)
    for name, definition in INDEXES:
        online.create_index(name, definition)
    rights = [statement for table in TABLES for statement in online.of_tenants(table)]
    online.create_tables(tuple(TABLES), *TABLES.values(), ALARMS_BY_EVENT, *rights)


def downgrade() -> None:
    for name, _ in INDEXES:
        online.drop_index(name)
    online.drop_columns("events", LINKED_TO)
    online.drop_columns("settlement_keys", *KEY_COLUMNS)
    online.drop_columns("sources", *SOURCE_COLUMNS)
    online.drop_tables(*reversed(TABLES))
