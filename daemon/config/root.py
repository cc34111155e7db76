"""The whole configuration, and the rules between its tables.

Invariant: names that one table uses for another exist, every entity has a way to learn of changes in the chosen mode,
and the digest is the same for the same effective configuration, whatever its secrets.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, PrivateAttr, ValidationInfo

from daemon.config.entity import Entity, kind_of
from daemon.config.outlet import Batch, Store
from daemon.config.pack import Pack
from daemon.config.problems import suggestion
from daemon.config.section import Finding, Raw, Section
from daemon.config.source import Erp, Log, Mode, State, Status
from daemon.config.values import plain
from daemon.model import Lane, QueueName

_NAMED = ("entity", "store", "batch")
_POLL_OVERLAP = 60.0


class Config(Section):
    """config.toml, checked and complete."""

    erp: Erp = Field(description="The ERP's database and how its changes are read.")
    state: State = Field(default_factory=State, description="Where the daemon keeps its own state.")
    status: Status = Field(default_factory=Status, description="The status server: page, API, metrics.")
    log: Log = Field(default_factory=Log, description="What is written to standard output.")
    entity: dict[str, Entity] = Field(min_length=1, description="What is kept true, one table an entity.")
    store: dict[str, Store] = Field(min_length=1, description="Storefronts, one table each.")
    batch: dict[str, Batch] = Field(default_factory=dict, description="Jobs by the clock, one table each.")

    _pack: Pack | None = PrivateAttr(default=None)

    @property
    def pack(self) -> Pack | None:
        """The ERP pack whose entities lie under those of the file, if any."""
        return self._pack

    def remember(self, pack: Pack | None) -> None:
        """Keep the pack that this configuration was laid on."""
        self._pack = pack

    @property
    def digest(self) -> str:
        """Twelve hex digits that stand for the effective configuration without its secrets."""
        text = json.dumps(dump_redacted(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def queues(self) -> list[QueueName]:
        """Every (store, entity) pair, in the order of the file."""
        return [QueueName(name, entity) for name, store in self.store.items() for entity in store.entities]

    def slot_name(self) -> str:
        """The replication slot, derived from the database's name where none was given."""
        return self.erp.slot

    def watched_tables(self) -> list[str]:
        """All watched tables, as "schema.table", sorted."""
        return sorted({table for entity in self.entity.values() for table in entity.watched_tables()})

    @classmethod
    def rules(cls, raw: Raw, _info: ValidationInfo, /) -> Iterator[Finding]:
        entities = _tables(raw, "entity")
        for section in _NAMED:
            for name, table in _tables(raw, section).items():
                if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
                    yield (
                        (section, name),
                        "a name here has lower-case letters, digits, '_' and '-' and starts with a letter",
                    )
                if "name" in table:
                    yield (
                        (section, name, "name"),
                        f'unknown key "name"; the name stands in the header: [{section}.{name}]',
                    )
        erp = raw.get("erp")
        yield from _sources(entities, isinstance(erp, Mapping) and erp.get("mode") == Mode.POLL)
        for name, store in _tables(raw, "store").items():
            for index, entity in enumerate(_list(store.get("entities"))):
                if isinstance(entity, str) and entity not in entities:
                    yield (
                        ("store", name, "entities", index),
                        f"there is no [entity.{entity}]{suggestion(entity, entities)}",
                    )
        for name, batch in _tables(raw, "batch").items():
            yield from _batch(name, batch.get("entity"), entities)

    @classmethod
    def prepared(cls, raw: Raw) -> Raw:
        whole = dict(raw)
        for section in _NAMED:
            if isinstance(tables := raw.get(section), Mapping):
                whole[section] = {
                    name: {**table, "name": name} if isinstance(table, Mapping) else table
                    for name, table in tables.items()
                }
        erp = raw.get("erp")
        if isinstance(erp, Mapping) and erp.get("mode") == Mode.POLL:
            for table in _tables(whole, "entity").values():
                if isinstance(polls := table.get("poll"), list | tuple):
                    table["poll"] = [
                        {"overlap": _POLL_OVERLAP, **poll} if isinstance(poll, Mapping) else poll for poll in polls
                    ]
        return whole


def dump_redacted(config: Config) -> dict[str, Any]:
    """The effective configuration with all defaults, as JSON values; durations in seconds, no secrets."""
    dumped: dict[str, Any] = plain(config.model_dump(mode="json"))
    return dumped


def json_schema() -> dict[str, Any]:
    """JSON Schema of config.toml, with a description for every key."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "erpsyncd config.toml"}


def _tables(raw: Raw, section: str) -> dict[str, Any]:
    tables = raw.get(section)
    if not isinstance(tables, Mapping):
        return {}
    return {str(name): table for name, table in tables.items() if isinstance(table, Mapping)}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _sources(entities: Mapping[str, Any], polling: bool) -> Iterator[Finding]:
    for name, entity in entities.items():
        if polling and not entity.get("poll"):
            yield (
                ("entity", name, "poll"),
                f'is missing: in mode "poll" changes are seen by [[entity.{name}.poll]] alone',
            )
        elif not polling and not entity.get("watch") and not entity.get("poll"):
            yield (
                ("entity", name, "watch"),
                f"is missing: no change would be seen; add [[entity.{name}.watch]] or .poll",
            )


def _batch(name: str, entity: Any, entities: Mapping[str, Any]) -> Iterator[Finding]:
    if not isinstance(entity, str):
        return
    place = ("batch", name, "entity")
    if entity not in entities:
        yield place, f"there is no [entity.{entity}]{suggestion(entity, entities)}"
        return
    lane = entities[entity].get("lane", Lane.FAST)
    if "lane" not in entities[entity] and kind_of(entity, entities[entity].get("kind")) == "content":
        lane = Lane.BATCH
    if lane != Lane.BATCH:
        yield place, f'is in the fast lane and sent at once; set entity.{entity}.lane = "batch" or drop this job'
