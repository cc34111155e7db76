"""`erpsyncd demo`: a small ERP, a storefront, the daemon between them and a business day, on this machine alone.

Invariant: whatever way the demo ends but by SIGKILL, no process and no temporary folder of it is left; after a SIGKILL
the helpers of `child` and `embedded` see to it. The daemon is an ordinary one: it knows its configuration, no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import asyncpg

from daemon.demo import seed
from daemon.demo.child import DaemonProcess, daemon_command, environment
from daemon.demo.embedded import Cluster
from daemon.demo.screen import Scene, Screen
from daemon.demo.setting import DEFAULT_PORT, HOST, demo_config, folder, free_port, shipped_config, write_config
from daemon.demo.shop import DemoShop
from daemon.demo.show import Show, Stage
from daemon.errors import EXIT_DONE

DATABASE: Final = "erp"


async def run_demo(for_s: float | None, port: int, dir: Path | None) -> int:
    """Run until Ctrl-C, or for `for_s` seconds and a comparison. Returns the exit code; raises ErpsyncError."""
    wanted, scene, stop = port, Scene(), asyncio.Event()
    port = free_port(wanted, strict=wanted != DEFAULT_PORT)
    with _signals(stop), folder(dir) as place:
        screen = Screen(scene)
        if port != wanted and wanted != 0:
            screen.say(f"Port {wanted} is taken; the status page is on {port} instead.")
        async with _stage(place, port, scene, screen, keep=dir is not None, stop=stop) as stage:
            if stage is None:
                return EXIT_DONE
            code = await Show(stage, scene, screen, stop).play(for_s)
        if dir is not None:
            screen.say(f"Kept in {place}: configuration, state, the shop's file, and the daemon's log.")
    return code


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _stage(
    place: Path, port: int, scene: Scene, screen: Screen, *, keep: bool, stop: asyncio.Event
) -> AsyncIterator[Stage | None]:
    """Build everything up, and take it down in the reverse order. None when `stop` came first."""
    async with contextlib.AsyncExitStack() as stack:
        cluster = Cluster(password=secrets.token_urlsafe(16))
        screen.say(f"Starting PostgreSQL {cluster.version} …")
        stack.push_async_callback(asyncio.to_thread, cluster.close)
        await asyncio.to_thread(cluster.start)
        password, token = secrets.token_urlsafe(16), secrets.token_urlsafe(24)
        await _fill_erp(cluster, password)
        shop = DemoShop(place / "shop.db", token)
        stack.push_async_callback(shop.close)
        await shop.start(HOST, 0)
        config = write_config(
            place / "config.toml",
            demo_config(
                shipped_config(),
                {
                    "ERPSYNCD_ERP_DSN": cluster.dsn(DATABASE, "erpsyncd", password),
                    "ERPSYNCD_STORE_URL": shop.api_url,
                    "ERPSYNCD_STORE_TOKEN": token,
                    "ERPSYNCD_STATE": str(place / "state.db"),
                    "ERPSYNCD_LISTEN": f"{HOST}:{port}",
                },
            ),
        )
        daemon = DaemonProcess(
            daemon_command(place / "config.toml"), place / "daemon.log", environment({}), None if keep else place
        )
        stack.push_async_callback(daemon.stop)
        if stop.is_set():
            yield None
            return
        await daemon.start()
        stage = Stage(shop, daemon, f"http://{HOST}:{port}", cluster.dsn(DATABASE), config["entity"])
        scene.places = [
            ("shop", shop.url),
            ("status", stage.status_url),
            ("ERP", stage.dsn),
            ("config", str(place / "config.toml")),
            ("log", str(place / "daemon.log")),
        ]
        screen.introduce()
        yield stage


async def _fill_erp(cluster: Cluster, password: str) -> None:
    admin = await asyncpg.connect(cluster.dsn())
    try:
        await admin.execute(f'create database "{DATABASE}"')
    finally:
        await admin.close()
    owner = await asyncpg.connect(cluster.dsn(DATABASE))
    try:
        await seed.create(owner)
        await owner.execute(f"alter role erpsyncd password '{password}'")  # URL-safe characters only
        await seed.fill(owner)
    finally:
        await owner.close()
