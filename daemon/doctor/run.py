"""The order of the checks.

Invariant: a check that fails, or that fails to be made, becomes a result and the next one is made; nothing but a result
leaves here, whatever went wrong. Without a configuration there is nothing to look at, without the ERP its part is left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from daemon import config as configuration
from daemon.config import Config, InvalidConfigError
from daemon.config.outlet import Store
from daemon.doctor import asking, local
from daemon.doctor.facts import MappingFacts, ServerFacts, SlotFacts
from daemon.doctor.judge_local import judge_clock, judge_secrets, judge_state, sslmode
from daemon.doctor.judge_mapping import judge_mapping, judge_plans, judge_privileges, judge_samples
from daemon.doctor.judge_pack import judge_pack
from daemon.doctor.judge_server import (
    judge_failover,
    judge_limits,
    judge_others,
    judge_role,
    judge_room,
    judge_tls,
    judge_version,
)
from daemon.doctor.judge_source import judge_our_slot, judge_publication, judge_wal_level, told
from daemon.doctor.result import Result, fail, failed, good
from daemon.erp import Erp
from daemon.errors import ErpsyncError
from daemon.gate import adapter_of, kinds_of
from daemon.preflight import Findings, examine
from daemon.slot import Position, SlotKeeper


class Visit:
    """One run of the doctor. `results` grows in the order of the checks."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.results: list[Result] = []

    def say(self, results: Iterable[Result]) -> None:
        self.results.extend(results)

    @asynccontextmanager
    async def guarded(
        self, check: str, remedy: str = "See the message; the other checks went on."
    ) -> AsyncIterator[None]:
        """What goes wrong inside is a result of this check."""
        try:
            yield
        except ErpsyncError as exc:
            self.results.append(failed(check, exc, remedy))
        except Exception as exc:  # noqa: BLE001 -- the doctor tells of its own faults as of others
            message = f"the check itself failed: {type(exc).__name__}: {exc}"
            self.results.append(fail(check, message, "Please report this as a fault of erpsyncd."))

    async def run(self) -> None:
        config, path = self._configuration()
        if config is None:
            return
        position: Position | None = None
        async with self.guarded("secrets"):
            self.say(judge_secrets(config, local.look(path), local.secret_files(config, path.absolute().parent)))
        async with self.guarded("state"):
            state, position = local.state_facts(config.state.path)
            self.say(judge_state(state))
        async with self.guarded("connection", "Does the server run, and does this machine reach its host and port?"):
            await self._erp(config, position)
        for store in config.store.values():
            async with self.guarded("store", f"Check store.{store.name}.url and .token."):
                await _reach(store, config)
                self.say([good("store", f"{store.name}: reached at {store.url}, the token is accepted")])

    def _configuration(self) -> tuple[Config | None, Path]:
        path = Path("config.toml")
        try:
            path = configuration.find_config(self._path)
            config = configuration.load(path)
        except InvalidConfigError as exc:
            remedy = "docs/configuration.md explains every key."
            self.say(fail("configuration", str(problem), remedy) for problem in exc.problems)
            return None, path
        except ErpsyncError as exc:
            self.say([failed("configuration", exc, "docs/configuration.md explains every key.")])
            return None, path
        self.say([good("configuration", f"{path}: {len(config.entity)} entities, {len(config.store)} stores")])
        return config, path

    async def _erp(self, config: Config, position: Position | None) -> None:
        erp = Erp(config.erp.dsn.reveal(), connections=1, statement_timeout_s=config.erp.statement_timeout)
        try:
            await erp.open()
            self.say([good("connection", f"connected as {config.erp.dsn.redacted()}")])
            await self._server(config, erp, position)
        finally:
            await erp.close()

    async def _server(self, config: Config, erp: Erp, position: Position | None) -> None:
        server = await asking.server_facts(erp, config.slot_name())
        self.say(judge_tls(server.link, sslmode(config.erp.dsn.reveal())))
        findings: Findings | None = None
        async with self.guarded("privileges"):
            findings = await examine(erp, config)
        problems = findings.problems if findings is not None else []
        self.say(told(problems, "server_version"))
        self.say(judge_version(server))
        if config.erp.mode == "stream":
            if findings is not None:
                self.say(judge_wal_level(problems))
            await self._stream(config, erp, server, findings, position)
        async with self.guarded("write_privileges"):
            separate = config.erp.replication_dsn.user != config.erp.dsn.user
            self.say(judge_role(await asking.role_facts(erp), separate or config.erp.mode == "poll"))
        facts = MappingFacts()
        async with self.guarded("mapping"):
            facts = await asking.mapping_facts(erp, config, findings.smallest if findings is not None else None)
            self.say(judge_privileges(facts, config.erp.dsn.user, problems))
            self.say(judge_mapping(facts, problems))
            self.say(judge_plans(facts.queries))
            self.say(judge_samples(facts.samples))
        if config.pack is not None:
            async with self.guarded("options"):
                self.say(judge_pack(config.pack, await asking.index_facts(erp, config.pack), problems))
        async with self.guarded("clock"):
            clock = await erp.clock()
            self.say(judge_clock(clock.offset_s, clock.round_trip_s))

    async def _stream(
        self, config: Config, erp: Erp, server: ServerFacts, findings: Findings | None, position: Position | None
    ) -> None:
        async with self.guarded("publication"):
            if findings is not None:  # else why not was told, and nothing is known
                publication = await asking.publication_facts(erp, config.erp.publication, server.major)
                self.say(judge_publication(config, publication, findings))
        dsn, place = config.erp.replication_dsn, config.erp.stream_place
        async with self.guarded("replication_login", f"Check {place}, the role and pg_hba.conf."):
            link = await asking.replication_login(dsn.reveal(), place)
            self.say([good("replication_login", f"{dsn.redacted()} may stream")])
            if dsn != config.erp.dsn:
                self.say(judge_tls(link, sslmode(dsn.reveal()), place))
        slot: SlotFacts | None = None
        keeper = SlotKeeper(dsn.reveal(), config.slot_name(), place=place)
        try:
            async with self.guarded("slot"):
                slot = await asking.slot_facts(keeper, position)
                self.say(judge_our_slot(config, slot))
        finally:
            await keeper.close()
        there = slot.slot if slot is not None else None
        self.say(judge_room(server, there is not None, there is not None and there.active_pid is not None))
        if findings is not None:
            self.say(told(findings.problems, "max_slot_wal_keep_size"))
        self.say(judge_limits(server, config, there.safe_bytes if there is not None else None))
        self.say(judge_failover(server, config))
        self.say(judge_others(server.slots))


async def _reach(store: Store, config: Config) -> None:
    """Ask a store. Raises StoreError, or ConfigError for what its adapter cannot use."""
    adapter = adapter_of(store, kinds_of(config))
    try:
        await adapter.open()
        await adapter.check()
    finally:
        await adapter.close()


async def diagnose(path: Path | None) -> list[Result]:
    """All checks, in order."""
    visit = Visit(path)
    await visit.run()
    return visit.results
