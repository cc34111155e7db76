"""Judge publication, routing and slot: whether every change that matters reaches us, and breaks nothing on its way.

Invariant: pure. What preflight found is told first, under the check that it belongs to; a check without findings passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daemon.catalogue import quote, quote_name
from daemon.config import Config
from daemon.doctor.facts import PublicationFacts, SlotFacts
from daemon.doctor.judge_server import some
from daemon.doctor.result import Result, fail, failed, good, warn
from daemon.errors import ErpsyncError
from daemon.model import format_lsn
from daemon.preflight import Findings
from daemon.slot import Create, Gap, Standby, Start, check_slot, judge_slot
from daemon.words import format_bytes

_CHECKS = {
    "E-WAL-LEVEL": "wal_level",
    "E-SLOT-UNBOUNDED": "max_slot_wal_keep_size",
    "E-PUBLICATION": "publication",
    "E-PUBLICATION-ALL": "publication",
    "E-PUBLICATION-TABLE": "publication_tables",
    "E-IDENTITY": "replica_identity",
    "E-COLUMN-LIST": "column_lists",
    "E-ROW-FILTER": "row_filters",
    "E-SOURCE-PRIVILEGE": "privileges",
    "E-SOURCE": "server_version",
}
_SETUP = "Run what `erpsyncd sql setup` prints."


def check_of(problem: ErpsyncError) -> str:
    """The check that a finding of preflight belongs to."""
    if problem.where.startswith("erp.options."):
        return "options"
    if problem.where.startswith("entity."):
        return {"E-PUBLICATION-TABLE": "publication_tables", "E-SOURCE-PRIVILEGE": "privileges"}.get(
            problem.code, "mapping"
        )
    return _CHECKS.get(problem.code, "mapping")


def told(problems: Sequence[ErpsyncError], *checks: str) -> Iterator[Result]:
    """Findings of preflight that belong to these checks."""
    seen = set()
    for problem in problems:
        check = check_of(problem)
        result = failed(check, problem, _SETUP)
        if check in checks and result not in seen:
            seen.add(result)
            yield result


def judge_wal_level(problems: Sequence[ErpsyncError]) -> Iterator[Result]:
    found = list(told(problems, "wal_level"))
    yield from found or [good("wal_level", "logical")]


def judge_publication(config: Config, facts: PublicationFacts, findings: Findings) -> Iterator[Result]:
    name, problems = config.erp.publication, findings.problems
    found = list(told(problems, "publication"))
    yield from found
    if any(result.message.endswith("does not exist [E-PUBLICATION]") for result in found):
        return
    if not found:
        yield good("publication", f'"{name}" publishes {len(facts.tables)} tables')
    yield from _membership(config, facts, findings)
    found = list(told(problems, "replica_identity"))
    yield from found or [good("replica_identity", "every published table can be updated")]
    yield from _routing(findings)
    yield from _lists(config, facts, problems)


def _membership(config: Config, facts: PublicationFacts, findings: Findings) -> Iterator[Result]:
    name = quote_name(config.erp.publication)
    found = list(told(findings.problems, "publication_tables"))
    yield from found
    watched = set(config.watched_tables())
    spare = sorted(table for table in facts.tables if not {table, findings.parents.get(table, table)} & watched)
    if spare and not facts.all_tables:
        yield warn(
            "publication_tables",
            f"published, but watched by no entity: {some(spare)}",
            f"ALTER PUBLICATION {name} DROP TABLE {', '.join(map(quote, spare))}; where nobody else needs it.",
        )
    leaves = sorted(table for table in facts.tables if findings.parents.get(table) in watched)
    if leaves and not facts.via_root:
        yield warn(
            "publication_tables",
            f"partitions are published under their own names ({some(leaves, 3)}): when one is made or attached later, "
            "everything of its entities is compared",
            f"ALTER PUBLICATION {name} SET (publish_via_partition_root = true);",
        )
    if not found and not spare:
        yield good("publication_tables", f"all {len(watched)} watched tables are published, and no other")


def _routing(findings: Findings) -> Iterator[Result]:
    """Watched columns that the log does not carry for a deleted row."""
    if findings.closed:
        return  # what could not be looked at is not said to be good
    if not findings.indexed:
        yield good("routing", "every watched column is in its table's replica identity")
        return
    columns = some([f"{table}.{column}" for table, column in sorted(findings.indexed)])
    yield good(
        "routing",
        f"{columns}: not in the replica identity, so that the daemon keeps which value each row had; where it does not "
        "know, it compares the entity anew (`erpsyncd sql setup --full-identity` would spare that)",
    )


def _lists(config: Config, facts: PublicationFacts, problems: Sequence[ErpsyncError]) -> Iterator[Result]:
    name = quote_name(config.erp.publication)
    found = list(told(problems, "column_lists"))
    told_of = " ".join(result.message for result in found)
    for table, columns in sorted(facts.lists.items()):
        wanted = {
            watch.key or watch.column or ""
            for entity in config.entity.values()
            for watch in entity.watch
            if watch.table == table
        }
        remedy = (
            f"ALTER PUBLICATION {name} DROP TABLE {quote(table)}; ALTER PUBLICATION {name} ADD TABLE {quote(table)};"
        )
        if missing := sorted(wanted - columns):
            found.append(fail("column_lists", f"{table}: the column list leaves out {', '.join(missing)}", remedy))
        elif table not in told_of:
            found.append(
                warn(
                    "column_lists",
                    f"{table} has a column list: the ERP's upgrades cannot drop or change these columns",
                    remedy,
                )
            )
    yield from found or [good("column_lists", "none")]
    found = list(told(problems, "row_filters"))
    yield from found or [good("row_filters", "none")]


def judge_our_slot(config: Config, facts: SlotFacts) -> Iterator[Result]:
    """Whether streaming can start, or goes on."""
    name, slot = config.slot_name(), facts.slot
    try:
        check_slot(slot, facts.server)
    except ErpsyncError as exc:
        yield failed("slot", exc, "Choose another name.")
        return
    match judge_slot(facts.position, facts.server, slot):
        case Create():
            if config.erp.create_slot:
                yield good("slot", f'"{name}" is not there yet; the daemon makes it on its first start')
            else:
                yield fail(
                    "slot",
                    f'"{name}" does not exist, and erp.create_slot is false',
                    "Let the DBA make it (`erpsyncd sql setup` prints how), or set erp.create_slot = true.",
                )
            return
        case Gap(reason, reusable):
            answer = "everything is compared anew" if config.erp.on_gap == "resync" else "the daemon halts"
            yield fail(
                "slot",
                f"changes may have been missed: {reason}; at the next start {answer}",
                'With erp.on_gap = "resync" a start mends it.'
                if reusable or config.erp.on_gap == "resync"
                else 'Set erp.on_gap = "resync" for the next start.',
            )
            return
        case Standby(pid):
            yield good("slot", f'"{name}" is read by server process {pid}')
        case Start(lsn) if slot is not None:
            kept = max(facts.server.wal_lsn - (slot.restart_lsn or 0), 0)
            yield warn(
                "slot",
                f'nobody reads "{name}"; it stands at {format_lsn(lsn)} and keeps {format_bytes(kept)} of the ERP\'s log',
                "Start the daemon, or drop the slot where it is given up.",
            )
    if slot is not None and slot.wal_status in ("unreserved", "extended"):
        yield (fail if slot.wal_status == "unreserved" else warn)(
            "slot",
            f'"{name}" is {slot.wal_status}: it keeps more of the log than the server planned for',
            "Let the daemon catch up, or raise max_slot_wal_keep_size.",
        )
