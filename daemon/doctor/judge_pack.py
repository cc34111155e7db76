"""Judge what belongs to an ERP pack: options that the ERP does not know, indexes that it advises.

Invariant: pure. An index is missed only where its table is large enough to matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daemon.catalogue import quote, quote_name
from daemon.config.pack import Pack
from daemon.doctor.facts import IndexFacts
from daemon.doctor.judge_mapping import LARGE
from daemon.doctor.judge_source import told
from daemon.doctor.result import Result, good, warn
from daemon.errors import ErpsyncError


def judge_pack(pack: Pack, indexes: Sequence[IndexFacts], problems: Sequence[ErpsyncError]) -> Iterator[Result]:
    """Options, then indexes."""
    found = list(told(problems, "options"))
    yield from found or [
        good("options", f"{pack.title} ({', '.join(pack.tested)}): the ERP knows what the options name")
    ]
    lacking = [index for index in indexes if not index.present and index.rows >= LARGE]
    for index in lacking:
        columns = ", ".join(quote_name(column) for column in index.columns)
        condition = f" WHERE {index.where}" if index.where else ""
        yield warn(
            "indexes",
            f"{index.table} (about {index.rows} rows) has no index that begins with {', '.join(index.columns)}: {index.why}",
            f"CREATE INDEX CONCURRENTLY ON {quote(index.table)} ({columns}){condition}; (then ANALYZE it)",
        )
    if indexes and not lacking:
        small = sum(not index.present for index in indexes)
        more = f", {small} not needed on tables this small" if small else ""
        yield good("indexes", f"{len(indexes) - small} of {len(indexes)} advised indexes are there{more}")
