"""The simulator as a process of its own, with the bad habits that a chaos run needs.

`python -m tests.chaos.simulator CONFIG.json`. Beyond the simulator's own faults: documents that look-ups do not see at
once, callbacks that lie, answers after their callback, and a log of every call. The ledger is written with fsync.
"""

import asyncio
import gc
import hashlib
import json
import os
import random
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import httpx
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.simulator.faults import Call, Fault, Faults, MixRequest
from app.simulator.server import UVICORN_OPTIONS, SimulatorConfig, create_simulator
from app.simulator.simulator import Simulator
from app.simulator.tape import Document, Order

_RECEIPT = re.compile(r"/v2\.1/c_groups/(\d+)/receipts/(?:correction/)?([A-Za-z0-9]+)$")


class Habits:
    """Stands before the simulator and adds what its own faults cannot say."""

    def __init__(self, app: ASGIApp, simulator: Simulator, config: dict[str, Any], log: TextIO) -> None:
        self._app = app
        self._simulator = simulator
        self._seed = str(config["seed"])
        self._lookup = bool(config["lookup"])
        self._hide = float(config["hide_seconds"])
        self._lies = float(config["lying_callbacks"])
        self._lates = float(config["late_answers"])
        self._random = random.Random(f"{self._seed}/habits")
        self._log = log
        self._printed: dict[str, float] = {}
        self.on = True
        self._tasks: set[asyncio.Task[None]] = set()
        print_receipt = simulator.tape.print_receipt

        def printing(order: Order) -> Document:
            document = print_receipt(order)
            self._printed.setdefault(order.provider_id, time.monotonic())
            return document

        simulator.tape.print_receipt = printing  # type: ignore[method-assign]
        self._played: dict[tuple[str | None, str], list[str]] = {}
        take = Faults.take

        def taking(faults: Faults, call: Call) -> Fault | None:
            fault = take(faults, call)
            if fault is not None:
                self._played.setdefault((call.provider_id, call.action), []).append(fault.kind)
            return fault

        Faults.take = taking  # type: ignore[method-assign,assignment]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == "/quiet":
            self._simulator.faults.set_mix(MixRequest(mix={}))
            self.on = False
        found = _RECEIPT.search(scope["path"])
        if found is None:
            await self._app(scope, receive, send)
            return
        provider_id = found[2]
        action = "submit" if scope["method"] == "POST" else "lookup"
        answer = _Answer(send, late=self.on and action == "submit" and self._random.random() < self._lates)
        began = time.time()
        if action == "lookup" and (not self._lookup or self._hidden(provider_id)):
            await _not_found(answer.send)
        elif action == "submit" and self.on and self._random.random() < self._lies:
            await self._app(scope, self._lying(receive), answer.send)
        else:
            await self._app(scope, receive, answer.send)
        record: dict[str, Any] = {
            "at": began,
            "until": time.time(),
            "id": provider_id,
            "action": action,
            "status": answer.status,
        }
        record["faults"] = self._played.pop((provider_id, action), [])
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()

    def _hidden(self, provider_id: str) -> bool:
        """A third of the documents show up late, always the same ones."""
        at = self._printed.get(provider_id)
        draw = int(hashlib.sha256(f"{self._seed}/{provider_id}".encode()).hexdigest()[:8], 16) / 2**32
        return at is not None and draw < 1 / 3 and time.monotonic() - at < self._hide * draw * 3

    def _lying(self, receive: Receive) -> Receive:
        """The body as it comes; whoever is named in it for a callback hears of a document that does not exist."""
        whole = b""

        async def listening() -> Message:
            nonlocal whole
            message = await receive()
            whole += message.get("body", b"")
            if message["type"] == "http.request" and not message.get("more_body"):
                with suppress(ValueError, KeyError, TypeError):
                    task = asyncio.create_task(self._lie(json.loads(whole)["service"]["callback_url"]))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                whole = b""
            return message

        return listening

    async def _lie(self, url: str) -> None:
        doc = {"reg_time": "2026-01-01T00:00:00", "shift_num": 1, "index": 1, "fiscal_sign": 1, "fiscal_num": 999_999}
        cashbox = {"rn": "0" * 16, "ffd": "4", "fn_num": "0" * 16, "factory_num": "0"}
        with suppress(httpx.HTTPError):
            await self._simulator.http.post(
                url, json={"doc": doc, "cashbox": cashbox, "service": {"callback_url": url}}
            )


class _Answer:
    """Notes the status of an answer; keeps the connection within reach of the faults that cut it."""

    def __init__(self, send: Send, *, late: bool) -> None:
        self._send = send
        self._late = late
        self.transport = getattr(getattr(send, "__self__", None), "transport", None)
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            if self._late:
                await asyncio.sleep(0.3)
        await self._send(message)


async def _not_found(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b"[]"})


def _end_with_parent() -> None:
    """Standard input is the harness's: it ends when that was killed and could end nothing any more."""
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    settings = {"digitalkassa": {"dedup": config["dedup"], "groups": config["groups"]}}
    app = create_simulator(SimulatorConfig(tape_path=Path(config["ledger"]), settings=settings))
    simulator: Simulator = app.state.simulator
    simulator.faults.set_mix(MixRequest(mix=config["mix"], seed=config["mix_seed"], params=config["params"]))
    # All documents are kept: searching hundreds of thousands for cycles stops the register for seconds.
    gc.disable()
    with Path(config["calls"]).open("a") as log:
        uvicorn.run(
            Habits(app, simulator, config, log),
            host="127.0.0.1",
            port=config["port"],
            **UVICORN_OPTIONS,
            timeout_graceful_shutdown=1,
        )


if __name__ == "__main__":
    main()
