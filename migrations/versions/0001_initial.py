"""The first schema: tables, the clock, ids made in SQL, the two roles and row-level security."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FUNCTIONS = (
    # The one clock of leases, delays and stored times; tests replace it to move time.
    """
    CREATE FUNCTION kassa_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
    AS $$ SELECT clock_timestamp() $$
    """,
    # UUIDv7 for rows that a statement fans out by itself; PostgreSQL has uuidv7() only from 18.
    """
    CREATE FUNCTION kassa_uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
    AS $$
      SELECT encode(
        set_bit(set_bit(
          overlay(uuid_send(gen_random_uuid())
            PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
            FROM 1 FOR 6),
          52, 1), 53, 1), 'hex')::uuid
    $$
    """,
    # Numbers of transactions begin anew in a restored database; plpgsql, because the table does not exist yet.
    """
    CREATE FUNCTION kassa_epoch() RETURNS integer LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$ BEGIN RETURN coalesce((SELECT epoch FROM installation WHERE id = 1), 1); END $$
    """,
)

TABLES = (
    """
    CREATE TABLE installation (
        id SMALLSERIAL NOT NULL,
        system_identifier TEXT NOT NULL,
        timeline INTEGER NOT NULL,
        database_oid BIGINT NOT NULL,
        epoch INTEGER DEFAULT 1 NOT NULL,
        epoch_opened_at TIMESTAMP WITH TIME ZONE,
        epoch_reason TEXT,
        CONSTRAINT pk_installation PRIMARY KEY (id),
        CONSTRAINT ck_installation_single CHECK (id = 1)
    )
    """,
    """
    CREATE TABLE merchants (
        id UUID NOT NULL,
        name TEXT NOT NULL,
        inn TEXT NOT NULL,
        status TEXT DEFAULT 'active' NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        CONSTRAINT pk_merchants PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE kassas (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        name TEXT NOT NULL,
        provider TEXT NOT NULL,
        base_url TEXT NOT NULL,
        group_key TEXT NOT NULL,
        ffd TEXT NOT NULL,
        taxation TEXT[] NOT NULL,
        place TEXT NOT NULL,
        timezone TEXT NOT NULL,
        internet BOOLEAN NOT NULL,
        credentials BYTEA NOT NULL,
        defaults JSONB DEFAULT '{}'::jsonb NOT NULL,
        callback_secret_hash BYTEA NOT NULL,
        callback_secret BYTEA NOT NULL,
        test BOOLEAN DEFAULT false NOT NULL,
        status TEXT DEFAULT 'active' NOT NULL,
        first_used_at TIMESTAMP WITH TIME ZONE,
        checked_at TIMESTAMP WITH TIME ZONE,
        check_report JSONB,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        CONSTRAINT pk_kassas PRIMARY KEY (id),
        CONSTRAINT fk_kassas_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_kassas_merchant_id ON kassas (merchant_id)",
    """
    CREATE TABLE branches (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        name TEXT NOT NULL,
        external_id TEXT,
        kassa_id UUID,
        timezone TEXT,
        defaults JSONB DEFAULT '{}'::jsonb NOT NULL,
        status TEXT DEFAULT 'active' NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        CONSTRAINT pk_branches PRIMARY KEY (id),
        CONSTRAINT uq_branches_merchant_id_external_id UNIQUE (merchant_id, external_id),
        CONSTRAINT fk_branches_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id),
        CONSTRAINT fk_branches_kassa_id FOREIGN KEY(kassa_id) REFERENCES kassas (id)
    )
    """,
    """
    CREATE TABLE sources (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        base_url TEXT,
        credentials BYTEA,
        settings JSONB DEFAULT '{}'::jsonb NOT NULL,
        defaults JSONB DEFAULT '{}'::jsonb NOT NULL,
        branch_id UUID,
        kassa_id UUID,
        path_secret_hash BYTEA,
        fallback_contact BYTEA,
        acquirer_fiscalizes BOOLEAN DEFAULT false NOT NULL,
        starts_at TIMESTAMP WITH TIME ZONE,
        status TEXT DEFAULT 'active' NOT NULL,
        last_heard_at TIMESTAMP WITH TIME ZONE,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        CONSTRAINT pk_sources PRIMARY KEY (id),
        CONSTRAINT fk_sources_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id),
        CONSTRAINT fk_sources_branch_id FOREIGN KEY(branch_id) REFERENCES branches (id),
        CONSTRAINT fk_sources_kassa_id FOREIGN KEY(kassa_id) REFERENCES kassas (id)
    )
    """,
    "CREATE INDEX ix_sources_merchant_id ON sources (merchant_id)",
    "CREATE UNIQUE INDEX uq_sources_built_in ON sources (merchant_id) WHERE kind = 'api'",
    """
    CREATE TABLE api_keys (
        id UUID NOT NULL,
        merchant_id UUID,
        source_id UUID,
        name TEXT NOT NULL,
        key_hash BYTEA NOT NULL,
        display TEXT NOT NULL,
        scopes TEXT[] NOT NULL,
        live BOOLEAN NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE,
        revoked_at TIMESTAMP WITH TIME ZONE,
        last_used_at TIMESTAMP WITH TIME ZONE,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        CONSTRAINT pk_api_keys PRIMARY KEY (id),
        CONSTRAINT fk_api_keys_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id),
        CONSTRAINT fk_api_keys_source_id FOREIGN KEY(source_id) REFERENCES sources (id),
        CONSTRAINT uq_api_keys_key_hash UNIQUE (key_hash)
    )
    """,
    "CREATE INDEX ix_api_keys_merchant_id ON api_keys (merchant_id)",
    """
    CREATE TABLE lanes (
        id UUID NOT NULL,
        kind TEXT NOT NULL,
        merchant_id UUID,
        provider TEXT,
        max_in_flight INTEGER NOT NULL,
        rate_per_second INTEGER,
        rate_from TIMESTAMP WITH TIME ZONE,
        paused_at TIMESTAMP WITH TIME ZONE,
        pause_cause TEXT,
        probe_at TIMESTAMP WITH TIME ZONE,
        failures INTEGER DEFAULT 0 NOT NULL,
        CONSTRAINT pk_lanes PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE event_identities (
        merchant_id UUID NOT NULL,
        source_id UUID NOT NULL,
        type TEXT NOT NULL,
        external_id TEXT NOT NULL,
        event_id UUID NOT NULL,
        content_hash BYTEA NOT NULL,
        CONSTRAINT pk_event_identities PRIMARY KEY (merchant_id, source_id, type, external_id)
    )
    """,
    """
    CREATE TABLE settlement_keys (
        merchant_id UUID NOT NULL,
        type TEXT NOT NULL,
        settlement_key TEXT NOT NULL,
        event_id UUID NOT NULL,
        CONSTRAINT pk_settlement_keys PRIMARY KEY (merchant_id, type, settlement_key)
    )
    """,
    """
    CREATE TABLE chains (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        source_id UUID NOT NULL,
        payment_id TEXT NOT NULL,
        sold BIGINT DEFAULT 0 NOT NULL,
        refunded BIGINT DEFAULT 0 NOT NULL,
        settled BIGINT DEFAULT 0 NOT NULL,
        CONSTRAINT pk_chains PRIMARY KEY (id),
        CONSTRAINT uq_chains_merchant_id_source_id_payment_id UNIQUE (merchant_id, source_id, payment_id),
        CONSTRAINT ck_chains_refunded_within_sold CHECK (refunded <= sold),
        CONSTRAINT ck_chains_settled_within_sold CHECK (settled <= sold)
    )
    """,
    """
    CREATE TABLE events (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        source_id UUID NOT NULL,
        type TEXT NOT NULL,
        external_id TEXT NOT NULL,
        payment_id TEXT,
        order_id TEXT,
        settlement_key TEXT,
        chain_id UUID,
        status TEXT NOT NULL,
        reason JSONB,
        amount BIGINT NOT NULL,
        currency TEXT NOT NULL,
        occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
        payload BYTEA NOT NULL,
        metadata JSONB DEFAULT '{}'::jsonb NOT NULL,
        test BOOLEAN DEFAULT false NOT NULL,
        received_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        CONSTRAINT pk_events PRIMARY KEY (id),
        CONSTRAINT fk_events_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_events_chain_id ON events (chain_id)",
    "CREATE INDEX ix_events_merchant_id_received_at_id ON events (merchant_id, received_at, id)",
    """
    CREATE TABLE receipts (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        branch_id UUID,
        kassa_id UUID,
        source_id UUID NOT NULL,
        event_id UUID,
        chain_id UUID,
        number INTEGER DEFAULT 1 NOT NULL,
        version INTEGER DEFAULT 1 NOT NULL,
        provider_id TEXT NOT NULL,
        provider_reference TEXT,
        operation TEXT NOT NULL,
        correction BOOLEAN DEFAULT false NOT NULL,
        status TEXT NOT NULL,
        sequence INTEGER DEFAULT 0 NOT NULL,
        total BIGINT NOT NULL,
        currency TEXT DEFAULT 'RUB' NOT NULL,
        taxation TEXT,
        order_id TEXT,
        external_id TEXT,
        document JSONB,
        customer BYTEA,
        email_hash BYTEA,
        phone_hash BYTEA,
        phone_tail_hash BYTEA,
        items_origin TEXT,
        fn TEXT,
        fd BIGINT,
        fpd TEXT,
        fiscal JSONB,
        failure JSONB,
        metadata JSONB DEFAULT '{}'::jsonb NOT NULL,
        marks INTEGER DEFAULT 0 NOT NULL,
        first_marked_at TIMESTAMP WITH TIME ZONE,
        due_at TIMESTAMP WITH TIME ZONE,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        CONSTRAINT pk_receipts PRIMARY KEY (id),
        CONSTRAINT uq_receipts_provider_id UNIQUE (provider_id),
        CONSTRAINT fk_receipts_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_receipts_chain_id ON receipts (chain_id) WHERE chain_id IS NOT NULL",
    "CREATE INDEX ix_receipts_email_hash ON receipts (email_hash) WHERE email_hash IS NOT NULL",
    "CREATE INDEX ix_receipts_event_id ON receipts (event_id) WHERE event_id IS NOT NULL",
    "CREATE INDEX ix_receipts_external_id ON receipts (merchant_id, external_id) WHERE external_id IS NOT NULL",
    "CREATE INDEX ix_receipts_fd ON receipts (merchant_id, fd) WHERE fd IS NOT NULL",
    "CREATE INDEX ix_receipts_fpd ON receipts (merchant_id, fpd) WHERE fpd IS NOT NULL",
    "CREATE INDEX ix_receipts_merchant_id_created_at_id ON receipts (merchant_id, created_at, id)",
    "CREATE INDEX ix_receipts_open ON receipts (status, updated_at) WHERE status IN ('held', 'queued', 'sending', 'accepted', 'unknown', 'needs_attention')",
    "CREATE INDEX ix_receipts_order_id ON receipts (merchant_id, order_id) WHERE order_id IS NOT NULL",
    "CREATE INDEX ix_receipts_phone_hash ON receipts (phone_hash) WHERE phone_hash IS NOT NULL",
    "CREATE INDEX ix_receipts_phone_tail_hash ON receipts (phone_tail_hash) WHERE phone_tail_hash IS NOT NULL",
    """
    CREATE TABLE attempts (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        receipt_id UUID NOT NULL,
        kassa_id UUID,
        kind TEXT NOT NULL,
        provider_id TEXT NOT NULL,
        worker TEXT NOT NULL,
        marked_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        outcome TEXT,
        cause TEXT,
        provider_code TEXT,
        provider_message TEXT,
        evidence JSONB,
        proven_absent BOOLEAN DEFAULT false NOT NULL,
        exchange BYTEA,
        CONSTRAINT pk_attempts PRIMARY KEY (id),
        CONSTRAINT fk_attempts_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_attempts_receipt_id ON attempts (receipt_id, marked_at)",
    """
    CREATE TABLE timeline (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        event_id UUID,
        receipt_id UUID,
        at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        what TEXT NOT NULL,
        status TEXT,
        actor TEXT NOT NULL,
        data JSONB DEFAULT '{}'::jsonb NOT NULL,
        CONSTRAINT pk_timeline PRIMARY KEY (id),
        CONSTRAINT fk_timeline_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_timeline_event_id ON timeline (event_id, at) WHERE event_id IS NOT NULL",
    "CREATE INDEX ix_timeline_receipt_id ON timeline (receipt_id, at) WHERE receipt_id IS NOT NULL",
    """
    CREATE TABLE jobs (
        id UUID NOT NULL,
        kind SMALLINT NOT NULL,
        lane UUID NOT NULL,
        chain UUID,
        ref UUID NOT NULL,
        run_at TIMESTAMP WITH TIME ZONE NOT NULL,
        attempt INTEGER DEFAULT 0 NOT NULL,
        lease_token UUID,
        lease_until TIMESTAMP WITH TIME ZONE,
        marked_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_jobs PRIMARY KEY (id),
        CONSTRAINT uq_jobs_ref UNIQUE (ref)
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX ix_jobs_leased ON jobs (lane, lease_until) WHERE lease_token IS NOT NULL",
    "CREATE INDEX ix_jobs_ready ON jobs (lane, run_at, id) WHERE lease_token IS NULL",
    """
    CREATE TABLE webhook_endpoints (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        url TEXT NOT NULL,
        types TEXT[] NOT NULL,
        description TEXT,
        secret BYTEA NOT NULL,
        previous_secret BYTEA,
        previous_secret_until TIMESTAMP WITH TIME ZONE,
        status TEXT DEFAULT 'active' NOT NULL,
        disabled_reason TEXT,
        failing_since TIMESTAMP WITH TIME ZONE,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        CONSTRAINT pk_webhook_endpoints PRIMARY KEY (id),
        CONSTRAINT fk_webhook_endpoints_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_webhook_endpoints_merchant_id ON webhook_endpoints (merchant_id)",
    """
    CREATE TABLE messages (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        receipt_id UUID,
        type TEXT NOT NULL,
        sequence INTEGER,
        body BYTEA NOT NULL,
        epoch INTEGER DEFAULT kassa_epoch() NOT NULL,
        txid BIGINT DEFAULT pg_current_xact_id()::text::bigint NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        CONSTRAINT pk_messages PRIMARY KEY (id),
        CONSTRAINT fk_messages_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_messages_feed ON messages (merchant_id, epoch, txid, id)",
    "CREATE INDEX ix_messages_receipt_id ON messages (receipt_id)",
    """
    CREATE TABLE message_endpoints (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        message_id UUID NOT NULL,
        endpoint_id UUID NOT NULL,
        status TEXT DEFAULT 'pending' NOT NULL,
        attempts INTEGER DEFAULT 0 NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        delivered_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_message_endpoints PRIMARY KEY (id),
        CONSTRAINT uq_message_endpoints_message_id_endpoint_id UNIQUE (message_id, endpoint_id),
        CONSTRAINT fk_message_endpoints_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_message_endpoints_endpoint_id ON message_endpoints (endpoint_id, id)",
    """
    CREATE TABLE deliveries (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        message_endpoint_id UUID NOT NULL,
        message_id UUID NOT NULL,
        endpoint_id UUID NOT NULL,
        at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        outcome TEXT NOT NULL,
        response_status INTEGER,
        reason TEXT,
        response_head TEXT,
        duration_ms INTEGER,
        CONSTRAINT pk_deliveries PRIMARY KEY (id),
        CONSTRAINT fk_deliveries_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_deliveries_endpoint_id ON deliveries (endpoint_id, at)",
    "CREATE INDEX ix_deliveries_message_endpoint_id ON deliveries (message_endpoint_id, at)",
    """
    CREATE TABLE notifications (
        id UUID NOT NULL,
        merchant_id UUID NOT NULL,
        source_id UUID NOT NULL,
        part TEXT NOT NULL,
        digest BYTEA NOT NULL,
        raw BYTEA NOT NULL,
        status TEXT DEFAULT 'received' NOT NULL,
        note TEXT,
        received_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        finished_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT pk_notifications PRIMARY KEY (id),
        CONSTRAINT uq_notifications_source_id_part_digest UNIQUE (source_id, part, digest),
        CONSTRAINT fk_notifications_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_notifications_merchant_id ON notifications (merchant_id, received_at, id)",
    """
    CREATE TABLE idempotency_keys (
        merchant_id UUID NOT NULL,
        key TEXT NOT NULL,
        fingerprint BYTEA NOT NULL,
        status_code SMALLINT,
        headers JSONB,
        body BYTEA,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_idempotency_keys PRIMARY KEY (merchant_id, key),
        CONSTRAINT fk_idempotency_keys_merchant_id FOREIGN KEY(merchant_id) REFERENCES merchants (id)
    )
    """,
    "CREATE INDEX ix_idempotency_keys_expires_at ON idempotency_keys (expires_at)",
    """
    CREATE TABLE workers (
        id TEXT NOT NULL,
        version TEXT NOT NULL,
        started_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        seen_at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        CONSTRAINT pk_workers PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE audit (
        id UUID NOT NULL,
        merchant_id UUID,
        at TIMESTAMP WITH TIME ZONE DEFAULT kassa_now() NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        object_id TEXT,
        data JSONB DEFAULT '{}'::jsonb NOT NULL,
        CONSTRAINT pk_audit PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX ix_audit_merchant_id ON audit (merchant_id, at)",
)

CREATED = (
    "installation",
    "merchants",
    "kassas",
    "branches",
    "sources",
    "api_keys",
    "lanes",
    "event_identities",
    "settlement_keys",
    "chains",
    "events",
    "receipts",
    "attempts",
    "timeline",
    "jobs",
    "webhook_endpoints",
    "messages",
    "message_endpoints",
    "deliveries",
    "notifications",
    "idempotency_keys",
    "workers",
    "audit",
)

TENANT_TABLES = (
    "branches",
    "kassas",
    "sources",
    "api_keys",
    "events",
    "receipts",
    "attempts",
    "timeline",
    "webhook_endpoints",
    "messages",
    "message_endpoints",
    "deliveries",
    "notifications",
    "idempotency_keys",
)

ROLES = (
    # Roles belong to the cluster, not to the database: another installation may have made them.
    """
    DO $$ BEGIN CREATE ROLE kassa_api NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
    """,
    """
    DO $$ BEGIN CREATE ROLE kassa_pipeline NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END $$
    """,
    "DO $$ BEGIN EXECUTE format('GRANT kassa_api, kassa_pipeline TO %I', current_user); END $$",
    "GRANT kassa_api TO kassa_pipeline",
    "GRANT USAGE ON SCHEMA public TO kassa_api, kassa_pipeline",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO kassa_pipeline",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO kassa_api",
    "REVOKE ALL ON installation, lanes, jobs, workers, audit, chains, event_identities, settlement_keys FROM kassa_api",
    "GRANT SELECT (id, epoch) ON installation TO kassa_api",
)

NOBODY = "nullif(current_setting('kassa.merchant', true), '')::uuid"
"""The tenant of this transaction; an unset setting is NULL and therefore matches no row."""


def upgrade() -> None:
    for statement in (*FUNCTIONS, *TABLES, *ROLES):
        op.execute(statement)
    for table in ("merchants", *TENANT_TABLES):
        column = "id" if table == "merchants" else "merchant_id"
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant ON {table} TO kassa_api USING ({column} = {NOBODY})")
        # The pipeline's batches cross merchants. A policy does what BYPASSRLS does, and needs no superuser to grant.
        op.execute(f"CREATE POLICY pipeline ON {table} TO kassa_pipeline USING (true) WITH CHECK (true)")


def downgrade() -> None:
    for table in reversed(CREATED):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION kassa_epoch()")
    op.execute("DROP FUNCTION kassa_uuid7()")
    op.execute("DROP FUNCTION kassa_now()")
