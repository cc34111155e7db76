"""Judge the mapping's queries: whether they may run, what their plans read, how long some keys take.

Invariant: pure. A plan is judged by what any value would cost, not by today's few rows, and only tables that are large
enough to matter are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from daemon.catalogue import quote_name
from daemon.doctor.facts import MappingFacts, QueryFacts, SampleFacts, Scan
from daemon.doctor.judge_server import some
from daemon.doctor.judge_source import told
from daemon.doctor.result import Result, fail, good, warn
from daemon.errors import ErpsyncError

LARGE = 10_000
"""Rows from which on reading a whole table is told."""
SLOW_S = 1.0
SAMPLE = 100


def scans(plan: Mapping[str, Any], rows: Mapping[str, int]) -> list[Scan]:
    """Tables of at least LARGE rows that a plan reads from end to end. `rows` by `schema.table`."""
    found: list[Scan] = []
    _walk(plan, [], rows, found)
    return list(dict.fromkeys(found))


def _walk(node: Mapping[str, Any], above: list[Mapping[str, Any]], rows: Mapping[str, int], found: list[Scan]) -> None:
    if node.get("Node Type") == "Seq Scan":
        table = f"{node.get('Schema')}.{node.get('Relation Name')}"
        if rows.get(table, 0) > LARGE:
            found.append(Scan(table, rows[table], _condition_column(node, above)))
    for child in node.get("Plans", ()):
        _walk(child, [node, *above], rows, found)


def _condition_column(node: Mapping[str, Any], above: Sequence[Mapping[str, Any]]) -> str:
    """The column of this table that the nearest condition compares: what an index would be on."""
    alias = re.escape(str(node.get("Alias", "")))
    name = r'("(?:[^"]|"")+"|\w+)'
    column = re.compile(
        rf'(?<![\w".])"?{alias}"?\.{name}(?!\w)(?:\)*::[\w ]+)*\)* (?:=|<|>|<=|>=) |'
        rf' (?:=|<|>|<=|>=) \(*"?{alias}"?\.{name}'
    )
    for place in (node, *above):
        for key in ("Filter", "Hash Cond", "Merge Cond", "Join Filter", "Recheck Cond", "Index Cond"):
            if match := column.search(str(place.get(key, ""))):
                return (match[1] or match[2]).strip('"').replace('""', '"')
    return ""


def judge_privileges(mapping: MappingFacts, role: str, problems: Sequence[ErpsyncError]) -> Iterator[Result]:
    """Whether every query may be run."""
    found = list(told(problems, "privileges"))
    yield from found
    denied = [query for query in mapping.queries if query.denied]
    closed = [relation for relation in mapping.relations if not relation.may_enter]
    unreadable = [relation for relation in mapping.relations if not relation.may_read]
    who = quote_name(role)
    if denied and (unreadable or closed):
        statements = [
            f"GRANT USAGE ON SCHEMA {name} TO {who};" for name in sorted({quote_name(r.schema) for r in closed})
        ]
        if unreadable:
            tables = ", ".join(relation.quoted for relation in unreadable)
            statements.append(f"GRANT SELECT ON {tables} TO {who};")
        yield fail(
            "privileges",
            f'"{role}" may not read {some([str(relation) for relation in unreadable or closed])} '
            f"(needed by {some([query.where for query in denied], 3)})",
            " ".join(statements),
        )
    elif denied:
        for query in denied:
            yield fail("privileges", f"{query.where}: {query.denied}", f"Grant it to {who}.")
    elif not found:
        yield good("privileges", f'"{role}" may read the {len(mapping.relations)} tables that the queries need')
    if hidden := [str(relation) for relation in mapping.relations if relation.rows_hidden]:
        yield warn(
            "privileges",
            f'row-level security is on for {some(hidden)}: rows that "{role}" may not see are missing in the store',
            f"CREATE POLICY ... FOR SELECT TO {who} USING (true); for each of them.",
        )


def judge_mapping(mapping: MappingFacts, problems: Sequence[ErpsyncError]) -> Iterator[Result]:
    """Whether the queries fit the ERP and the documents."""
    found = list(told(problems, "mapping"))
    named = " ".join(result.message for result in found)
    found += [
        fail("mapping", f"{query.where}: {query.problem}", query.hint or "Correct the SQL there.")
        for query in mapping.queries
        if query.problem and query.where not in named
    ]
    yield from found or [good("mapping", f"{len(mapping.queries)} queries fit the ERP and give the columns they must")]


def judge_plans(queries: Sequence[QueryFacts]) -> Iterator[Result]:
    """Whether a query reads large tables from end to end."""
    planned = [query for query in queries if not query.denied and not query.problem]
    whole = [(query.where, scan) for query in planned for scan in query.scans]
    for where, scan in whole:
        index = f"CREATE INDEX CONCURRENTLY ON {scan_table(scan)} ({quote_name(scan.column)});"
        yield warn(
            "plans",
            f"{where} reads all of {scan.table} (about {scan.rows} rows) each time",
            f"{index} (then ANALYZE it)" if scan.column else "Look at its plan by EXPLAIN; a condition has no index.",
        )
    if planned and not whole:
        yield good("plans", f"{len(planned)} queries reach large tables by index")


def scan_table(scan: Scan) -> str:
    schema, _, name = scan.table.partition(".")
    return f"{quote_name(schema)}.{quote_name(name)}"


def judge_samples(samples: Sequence[SampleFacts]) -> Iterator[Result]:
    """How long it takes to read some keys, and whether they make valid documents."""
    for sample in samples:
        where = f"entity.{sample.entity}.sql"
        said = f"{where}: {sample.keys} keys in {sample.seconds * 1000:.0f} ms ({sample.rows} rows)"
        if sample.problem:
            yield fail("samples", f"{where}: {sample.problem}", sample.hint or "Correct the SQL there.")
        elif not sample.keys:
            yield warn(
                "samples", f"{where}: all_keys gives no key", "Check entity.*.all_keys, unless the ERP is empty."
            )
        elif sample.bad:
            yield warn(
                "samples",
                f"{said}; {sample.bad} of them make no valid document and would be quarantined: {sample.example}",
                "Correct the rows in the ERP, or the SQL.",
            )
        elif sample.seconds > SLOW_S:
            yield warn("samples", f"{said}: slow", "Look at its plan by EXPLAIN (ANALYZE) with as many keys.")
        else:
            yield good("samples", said)
