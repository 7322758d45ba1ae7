"""Composition root: settings become database, connections, registries and services. Nothing else builds them."""

import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from app import __version__
from app.db import installation
from app.db.group_commit import GroupCommitter
from app.db.migrate import head
from app.db.records import Acceptance, Accepted
from app.db.unit_of_work import Database
from app.infra.clock import DatabaseClock
from app.infra.dsn import Dsn
from app.infra.egress import EgressPolicy
from app.infra.failpoints import Failpoints
from app.infra.http import HttpClients, open_http
from app.infra.metrics import Metrics
from app.keys import Keys, SettingInvalid
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry, discover_kassas, discover_sources
from app.ports.source import SourceAdapter
from app.queue.accept import accept
from app.queue.mark import Mark, mark
from app.queue.notifier import Notifier
from app.queue.settle import Settlement, Verdict, settle
from app.services.access import Access
from app.services.actions import Actions
from app.services.bundle import Services
from app.services.catalog import Catalog
from app.services.deliver import Deliver
from app.services.drivers import Drivers
from app.services.endpoints import Endpoints
from app.services.fiscalize import Fiscalize
from app.services.health import Health
from app.services.idempotency import Idempotency
from app.services.inbound import Inbound
from app.services.intake import Intake
from app.services.kassas import Kassas
from app.services.merchants import Merchants
from app.services.overdue import Overdue
from app.services.pacing import Pacing
from app.services.plan import Planner
from app.services.poll import Poll
from app.services.providers import Providers
from app.services.reads import Reads
from app.services.reconcile import Reconcile
from app.services.settle import Settle
from app.services.sources import Sources
from app.settings import Settings
from app.worker.dispatch import Dispatch, Stages
from app.worker.maintenance import Maintenance
from app.worker.runner import Runner


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


@asynccontextmanager
async def open_runtime(settings: Settings, *, database_url: str, keys: Keys) -> AsyncIterator[Runtime]:
    """Open everything; on exit what waits is written and every connection closed.

    Raises SettingInvalid with one sentence naming the variable, PluginError for a broken driver file.
    """
    try:
        dsn = Dsn.parse(database_url)
    except ValueError as wrong:
        raise SettingInvalid(f"KASSA_DATABASE_URL: {wrong}") from None
    try:
        policy = EgressPolicy.parse(settings.egress_allow)
    except ValueError as wrong:
        raise SettingInvalid(f"KASSA_EGRESS_ALLOW: {wrong}") from None
    try:
        failpoints = Failpoints.parse(settings.failpoints if settings.testing else "")
    except ValueError as wrong:
        raise SettingInvalid(str(wrong)) from None
    async with AsyncExitStack() as stack:
        database = Database(dsn, pool_size=settings.db_pool_size)
        stack.push_async_callback(database.close)
        http = await stack.enter_async_context(open_http(policy, limit=max(settings.worker_slots, 50)))
        extra = settings.plugin_packages if settings.testing else ()
        kassas, sources = discover_kassas(*extra), discover_sources()
        clock, metrics = DatabaseClock(), Metrics()
        clock.sync(await database.now())
        intake_commits: GroupCommitter[Acceptance, Accepted] = GroupCommitter(
            "intake", database, accept, one_statement=True, max_waiting=settings.intake_queue
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
        )
        planner = Planner(database=database, catalog=catalog, intake=intake, box=keys.box)
        drivers = Drivers(kassas, http, keys.box, settings.public_url)
        services = Services(
            merchants=Merchants(database, catalog, clock),
            kassas=Kassas(database, catalog, drivers, keys.box, policy, clock),
            sources=Sources(database, catalog, sources, keys.box, policy, clock, settings.public_url or ""),
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
            actions=Actions(database=database, catalog=catalog, intake=intake, planner=planner),
            reads=Reads(database, keys.box, keys.hasher),
            idempotency=Idempotency(database, keys.box, metrics=metrics),
            inbound=Inbound(
                database=database,
                sources=sources,
                kassas=kassas,
                intake=intake,
                http=http,
                box=keys.box,
                metrics=metrics,
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
    marks: GroupCommitter[Mark, datetime | None] = GroupCommitter("mark", database, mark, one_statement=True)
    settlements: GroupCommitter[Settlement, Verdict] = GroupCommitter("settle", database, settle)
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
    settler = Settle(settlements, database, runtime.keys.box, clock, name, failpoints, runtime.metrics)
    state = await installation.recognise(database)
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
            restored_at=state.opened_at,
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
            rng=rng,
        ),
        inbound=runtime.services.inbound,
    )
    runner = Runner(
        database=database,
        dispatch=Dispatch(database, runtime.services.catalog, stages),
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
        overdue=Overdue(database, runtime.keys.box, s.refund_wait_seconds),
        idempotency=runtime.services.idempotency,
        metrics=runtime.metrics,
        rescue_seconds=s.rescue_every_seconds,
        sweep_seconds=s.sweep_every_seconds,
    )
    try:
        yield Worker(runner, maintenance)
    finally:
        await marks.close()
        await settlements.close()
