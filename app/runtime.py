"""Composition root: settings become database, connections, registries and services. Nothing else builds them."""

import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog

from app import __version__
from app.configured import deadline_policy_of, failpoints_of, tracing_of
from app.db import installation
from app.db.group_commit import GroupCommitter, Stops
from app.db.migrate import head
from app.db.records import Acceptance, Accepted
from app.db.trouble import Refusal
from app.db.unit_of_work import Database
from app.domain.vat_review import parse_bounds
from app.infra.clock import DatabaseClock
from app.infra.dsn import Dsn
from app.infra.egress import EgressPolicy
from app.infra.failpoints import Failpoints
from app.infra.http import HttpClients, WireStops, open_http
from app.infra.metrics import Metrics
from app.infra.page_links import PageLinks
from app.infra.tracing import Tracing
from app.keys import Keys, SettingInvalid
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry, discover_kassas, discover_sources
from app.ports.source import SourceAdapter
from app.queue.accept import accept
from app.queue.endings import Ended, Ending, end
from app.queue.mark import Mark, mark
from app.queue.notifier import Notifier
from app.queue.settle import Settlement, Verdict, settle
from app.services.access import Access
from app.services.actions import Actions
from app.services.bundle import Services
from app.services.by_hand import ByHand
from app.services.catalog import Catalog
from app.services.correction_batches import CorrectionBatches
from app.services.corrections import Corrections
from app.services.crm_reports import CrmReports
from app.services.deadlines import Deadlines
from app.services.deliver import Deliver
from app.services.drivers import Drivers
from app.services.endings import Endings
from app.services.endpoints import Endpoints
from app.services.evidence import Evidence
from app.services.explain import Explain
from app.services.fiscalize import Fiscalize
from app.services.health import Health
from app.services.idempotency import Idempotency
from app.services.inbound import Inbound
from app.services.intake import Intake
from app.services.kassas import Kassas
from app.services.known_sources import KnownSources
from app.services.late import Late
from app.services.merchants import Merchants
from app.services.missing_receipts import MissingReceipts
from app.services.nomenclature import Nomenclature
from app.services.nomenclature_diff import NomenclatureDiff
from app.services.nomenclature_import import NomenclatureImport
from app.services.notices import Notices
from app.services.overdue import Overdue
from app.services.pacing import Pacing
from app.services.plan import Planner
from app.services.poll import Poll
from app.services.prepayments import Prepayments
from app.services.previews import Previews
from app.services.providers import Providers
from app.services.reads import Reads
from app.services.receipt_page import ReceiptPages
from app.services.reconcile import Reconcile
from app.services.registrations import Registrations
from app.services.retention import Limits
from app.services.settle import Settle
from app.services.silence import Silence
from app.services.source_contexts import SourceContexts
from app.services.source_polls import SourcePolls
from app.services.sources import Sources
from app.services.vat import Vat
from app.settings import Settings
from app.worker.dispatch import Dispatch, Stages
from app.worker.maintenance import Maintenance
from app.worker.runner import Runner

log = structlog.get_logger(__name__)

_AT_ONCE = 32
"""Receipts in one mark or settlement: with all of a lane in one batch worker and database take turns at waiting."""


@dataclass(slots=True)
class Runtime:
    """Everything a process of the program shares; API and worker take what they need."""

    settings: Settings
    database: Database
    keys: Keys
    policy: EgressPolicy
    http: HttpClients
    kassas: Registry[KassaDriver]
    sources: Registry[SourceAdapter]
    clock: DatabaseClock
    metrics: Metrics
    services: Services
    planner: Planner
    drivers: Drivers
    failpoints: Failpoints
    links: PageLinks
    contexts: SourceContexts
    tracing: Tracing


@asynccontextmanager
async def open_runtime(settings: Settings, *, database_url: str, keys: Keys) -> AsyncIterator[Runtime]:
    """Open everything; on exit what waits is written and every connection closed.

    Raises SettingInvalid with one sentence naming the variable, PluginError for a broken driver file.
    """
    try:
        dsn = Dsn.parse(database_url)
    except ValueError as wrong:
        raise SettingInvalid(f"KASSA_DATABASE_URL: {wrong}") from None
    direct = settings.database_direct_url
    try:
        around = None if direct is None else Dsn.parse(direct.get_secret_value())
    except ValueError as wrong:
        raise SettingInvalid(f"KASSA_DATABASE_DIRECT_URL: {wrong}") from None
    try:
        policy = EgressPolicy.parse(settings.egress_allow)
    except ValueError as wrong:
        raise SettingInvalid(f"KASSA_EGRESS_ALLOW: {wrong}") from None
    failpoints = failpoints_of(settings)
    if failpoints.active:
        log.warning("failpoints.active", points=failpoints.active)
    elif settings.failpoints:
        log.warning("failpoints.ignored", why="KASSA_FAILPOINTS is for tests and acts only with KASSA_TESTING")
    async with AsyncExitStack() as stack:
        tracing = tracing_of(settings)
        stack.push_async_callback(tracing.close)
        metrics = Metrics()
        metrics.build_info.labels(__version__).set(1)
        for refusal in Refusal:
            # There from the start: of a series that begins with its first refusal nobody would see the increase.
            metrics.database_refusals.labels(refusal.value)
        database = Database(
            dsn,
            direct=around,
            pool_size=settings.db_pool_size,
            count_refusal=lambda reason: metrics.database_refusals.labels(reason).inc(),
        )
        stack.push_async_callback(database.close)
        http = await stack.enter_async_context(open_http(policy, limit=max(settings.worker_slots, 50)))
        extra = settings.plugin_packages if settings.testing else ()
        extra_sources = settings.source_packages if settings.testing else ()
        kassas, sources = discover_kassas(*extra), discover_sources(*extra_sources)
        clock = DatabaseClock()
        clock.sync(await database.now())
        links = PageLinks(keys.pepper, settings.public_url, on=settings.receipt_pages)
        intake_commits: GroupCommitter[Acceptance, Accepted] = GroupCommitter(
            "intake",
            database,
            accept,
            one_statement=True,
            max_waiting=settings.intake_queue,
            stops=Stops(
                before_write=failpoints.hook("api.before_insert"),
                before_commit=failpoints.hook("api.after_insert_before_commit"),
                after_commit=failpoints.hook("api.after_commit_before_response"),
            ),
            note=metrics.commits_of("intake"),
        )
        stack.push_async_callback(intake_commits.close)
        catalog = Catalog(database)
        intake = Intake(
            database=database,
            committer=intake_commits,
            catalog=catalog,
            registry=kassas,
            box=keys.box,
            hasher=keys.hasher,
            clock=clock,
            metrics=metrics,
            links=links,
            deadlines=deadline_policy_of(settings),
            tracing=tracing,
        )
        planner = Planner(
            database=database, catalog=catalog, intake=intake, box=keys.box, sources=sources, tracing=tracing
        )
        provider_stops = WireStops(
            connected=failpoints.hook("provider.after_connect"),
            written=failpoints.hook("provider.after_request_written"),
        )
        drivers = Drivers(kassas, http.stopping(provider_stops), keys.box, settings.public_url)
        actions = Actions(database=database, catalog=catalog, intake=intake, planner=planner)
        contexts = SourceContexts(database, sources, catalog, http, keys.box)
        known = KnownSources(database)
        await known.remember()
        missing = MissingReceipts(database=database, catalog=catalog, intake=intake, registry=kassas)
        connected = Sources(database, catalog, sources, keys.box, policy, clock, settings.public_url or "")
        nomenclature = Nomenclature(database, catalog, clock)
        services = Services(
            merchants=Merchants(database, catalog, clock),
            vat=Vat(database, catalog, clock, parse_bounds(settings.vat_bounds)),
            kassas=Kassas(database, catalog, drivers, keys.box, policy, clock),
            sources=connected,
            registrations=Registrations(connected, sources, http, settings.public_url),
            nomenclature=nomenclature,
            nomenclature_import=NomenclatureImport(database, catalog, clock, nomenclature),
            nomenclature_diff=NomenclatureDiff(database, catalog, keys.box, intake.sales),
            access=Access(database, keys.pepper, clock.now),
            endpoints=Endpoints(
                database,
                keys.box,
                policy,
                max_in_flight=settings.endpoint_max_in_flight,
                rotation_overlap_seconds=settings.rotation_overlap_seconds,
            ),
            providers=Providers(kassas, sources),
            health=Health(database, metrics, head()),
            catalog=catalog,
            intake=intake,
            previews=Previews(database=database, catalog=catalog, intake=intake, drivers=drivers, box=keys.box),
            actions=actions,
            by_hand=ByHand(database, intake),
            corrections=Corrections(
                database=database, catalog=catalog, intake=intake, planner=planner, registry=kassas, tracing=tracing
            ),
            missing=missing,
            correction_batches=CorrectionBatches(database=database, catalog=catalog, intake=intake, missing=missing),
            late=Late(database=database, catalog=catalog, intake=intake, planner=planner, registry=kassas),
            explain=Explain(database),
            reads=Reads(database, keys.box, keys.hasher, links),
            prepayments=Prepayments(database, keys.box, keys.hasher),
            pages=ReceiptPages(database, keys.box, links, metrics),
            idempotency=Idempotency(database, keys.box, metrics=metrics),
            inbound=Inbound(
                database=database,
                contexts=contexts,
                known=known,
                kassas=kassas,
                intake=intake,
                actions=actions,
                box=keys.box,
                metrics=metrics,
                failpoints=failpoints,
                retry_base_seconds=settings.retry_base_seconds,
                retry_cap_seconds=settings.retry_cap_seconds,
            ),
            notices=Notices(database),
            source_polls=SourcePolls(
                database=database,
                contexts=contexts,
                intake=intake,
                metrics=metrics,
                failpoints=failpoints,
                lease_seconds=settings.lease_seconds,
                retry_base_seconds=settings.retry_base_seconds,
                retry_cap_seconds=settings.retry_cap_seconds,
            ),
        )
        stack.push_async_callback(services.access.close)
        yield Runtime(
            settings,
            database,
            keys,
            policy,
            http,
            kassas,
            sources,
            clock,
            metrics,
            services,
            planner,
            drivers,
            failpoints,
            links,
            contexts,
            tracing,
        )


@dataclass(slots=True)
class Worker:
    """One worker of this process: its loop and its maintenance."""

    runner: Runner
    maintenance: Maintenance


def worker_name(pid: int, number: int) -> str:
    """By which a worker's heartbeat and its attempts are told apart from all others."""
    return f"{socket.gethostname()}-{pid}-{number}"


@asynccontextmanager
async def open_worker(runtime: Runtime, *, number: int = 1) -> AsyncIterator[Worker]:
    """A worker over the runtime; on exit its committers write what waits."""
    s, database, clock = runtime.settings, runtime.database, runtime.clock
    name = worker_name(os.getpid(), number)
    marks: GroupCommitter[Mark, datetime | None] = GroupCommitter(
        "mark",
        database,
        mark,
        one_statement=True,
        by_index=True,
        max_batch=_AT_ONCE,
        at_a_turn=_AT_ONCE // 4,
        stops=Stops(before_commit=runtime.failpoints.hook("lease.renew")),
        note=runtime.metrics.commits_of("mark"),
    )
    settlements: GroupCommitter[Settlement, Verdict] = GroupCommitter(
        "settle", database, settle, by_index=True, max_batch=_AT_ONCE, note=runtime.metrics.commits_of("settle")
    )
    ends: GroupCommitter[Ending, Ended] = GroupCommitter(
        "end", database, end, by_index=True, max_batch=1024, note=runtime.metrics.commits_of("end")
    )
    endings = Endings(ends, database)
    rng = random.Random()  # noqa: S311
    pacing = Pacing(
        database,
        retry_base_seconds=s.retry_base_seconds,
        retry_cap_seconds=s.retry_cap_seconds,
        freshness_seconds=s.freshness_seconds,
        visibility_seconds=s.visibility_seconds,
        pause_after_failures=s.pause_after_failures,
        probe_base_seconds=s.probe_base_seconds,
        probe_cap_seconds=s.probe_cap_seconds,
        rng=rng,
    )
    failpoints = runtime.failpoints
    settler = Settle(settlements, database, runtime.keys.box, clock, name, failpoints, runtime.metrics, runtime.links)
    state = await installation.recognise(database)
    crm_reports = CrmReports(
        database=database,
        contexts=runtime.contexts,
        links=runtime.links,
        metrics=runtime.metrics,
        failpoints=failpoints,
        worker=name,
        retry_base_seconds=s.retry_base_seconds,
        call_seconds=s.lease_seconds / 2,
        rng=rng,
    )
    stages = Stages(
        fiscalize=Fiscalize(
            database=database,
            marks=marks,
            settle=settler,
            drivers=runtime.drivers,
            pacing=pacing,
            clock=clock,
            failpoints=failpoints,
            freshness_seconds=s.freshness_seconds,
            wire_margin_seconds=s.wire_margin_seconds,
            installation=installation.Known(database, state),
        ),
        poll=Poll(
            database=database,
            settle=settler,
            drivers=runtime.drivers,
            pacing=pacing,
            clock=clock,
            limit_seconds=s.accepted_limit_seconds,
        ),
        reconcile=Reconcile(
            database=database,
            settle=settler,
            drivers=runtime.drivers,
            pacing=pacing,
            clock=clock,
            failpoints=failpoints,
            limit_seconds=s.unknown_limit_seconds,
        ),
        planner=runtime.planner,
        deliver=Deliver(
            database=database,
            http=runtime.http,
            box=runtime.keys.box,
            clock=clock,
            failpoints=failpoints,
            timeout_seconds=s.delivery_timeout_seconds,
            metrics=runtime.metrics,
            endings=endings,
            tracing=runtime.tracing,
            rng=rng,
        ),
        inbound=runtime.services.inbound,
        evidence=Evidence(database=database, registry=runtime.kassas, box=runtime.keys.box, links=runtime.links),
        source_polls=runtime.services.source_polls,
        crm_reports=crm_reports,
    )
    runner = Runner(
        database=database,
        dispatch=Dispatch(runtime.services.catalog, stages, endings, runtime.tracing),
        notifier=Notifier(database),
        clock=clock,
        failpoints=failpoints,
        name=name,
        version=__version__,
        slots=s.worker_slots,
        lease_seconds=s.lease_seconds,
        poll_seconds=s.worker_poll_seconds,
        shutdown_seconds=s.shutdown_seconds,
    )
    maintenance = Maintenance(
        database=database,
        overdue=Overdue(database, runtime.keys.box, runtime.links, s.refund_wait_seconds),
        deadlines=Deadlines(
            database=database,
            catalog=runtime.services.catalog,
            planner=runtime.planner,
            box=runtime.keys.box,
            links=runtime.links,
            hold_late=s.hold_late_receipts,
        ),
        vat=runtime.services.vat,
        idempotency=runtime.services.idempotency,
        source_polls=runtime.services.source_polls,
        crm_reports=crm_reports,
        silence=Silence(database),
        metrics=runtime.metrics,
        rescue_seconds=s.rescue_every_seconds,
        sweep_seconds=s.sweep_every_seconds,
        limits=Limits(s.retention_days, s.retention_receipts_years) if s.prune_daily else None,
    )
    try:
        yield Worker(runner, maintenance)
    finally:
        await marks.close()
        await settlements.close()
        await ends.close()
