"""From tables that a person named to an entity: keys, query, watches, poll rules. Pure.

Invariant: nothing is made up. A field comes from a column whose name says so or from the person; what is missing becomes a
question, and every guess is written down beside what was made of it. In each query `r` is the table whose primary key is the
entity's key and `t` the table that was named first, where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daemon.proposal import vocabulary as say
from daemon.proposal.draft import Draft, Findings, Poll, Question, Watch
from daemon.proposal.schema import KEY_TYPES, Column, Reference, Schema, Table

_OF_ITEMS = ("stock", "price", "content")
_LARGE = 10_000.0


@dataclass(slots=True)
class _Plan:
    """One entity on its way."""

    kind: str
    schema: Schema
    root: Table
    key: Column
    main: Table
    link: Reference | None
    """From `main` to `root`; None where they are one table."""
    fields: Mapping[str, str]
    found: Findings = field(default_factory=Findings)
    joins: list[str] = field(default_factory=list)
    looked_up: list[tuple[Reference, Table, str]] = field(default_factory=list)

    @property
    def base(self) -> str:
        return "r" if self.link is None else "t"

    @property
    def linked(self) -> str:
        """How `main` writes the column that points to the key."""
        assert self.link is not None
        return self.main.columns[self.link.column].quoted

    def given(self, name: str) -> str | None:
        return self.fields.get(f"{self.kind}.{name}")

    def column(self, words: Sequence[str], kind: str = "any", *, root: bool = False) -> str | None:
        """`t.on_hand` for the likeliest column of the main table (or the root), of a fitting type."""
        table, alias = (self.root, "r") if root else (self.main, self.base)
        fits = [c for c in table.columns.values() if kind == "any" or getattr(c, f"is_{kind}")]
        picked = say.pick(fits, words)
        if picked is None:
            return None
        if picked.is_float:
            self.found.notes.append(
                f"{table.short}.{picked.name} is a binary float in the ERP; numeric gives its digits"
            )
            return f"{alias}.{picked.quoted}::numeric"
        return f"{alias}.{picked.quoted}"

    def through(self, tables: Sequence[str], names: Sequence[str], alias: str, base: Table | None = None) -> str | None:
        """A text of a table that the main one (or `base`) refers to, such as a warehouse's code; joins it."""
        table, from_ = (self.main, self.base) if base is None else (base, "l")
        for reference, other in self.schema.outward(table):
            if other is self.root or not say.names_one_of(other, tables) or (reference.to,) != other.primary:
                continue
            picked = say.pick([c for c in other.columns.values() if c.is_text], names)
            if picked is None:
                continue
            column, to = table.columns[reference.column].quoted, other.columns[reference.to].quoted
            self.joins.append(f"left join {other.quoted} {alias} on {alias}.{to} = {from_}.{column}")
            if base is None:
                self.looked_up.append((reference, other, alias))
            return f"{alias}.{picked.quoted}"
        return None

    def merged(self, columns: Sequence[tuple[str, str]]) -> None:
        """Say which rows become one document: those that differ in a part of the primary key that no field shows."""
        shown = " ".join(value for value, _ in columns)
        known = {reference.column for reference, _, _ in self.looked_up} | ({self.link.column} if self.link else set())
        for column in (self.main.columns[name] for name in self.main.primary if name not in known):
            if len(self.main.primary) > 1 and not column.is_moment and f"{self.base}.{column.quoted}" not in shown:
                self.found.notes.append(
                    f"{self.main.short}.{column.name} is in the primary key and in no field: rows that differ in it "
                    "become one document"
                )

    def required(self, name: str, expression: str | None, hint: str) -> str:
        if (value := self.given(name) or expression) is not None:
            return value
        self.found.questions.append(Question(self.kind, name, hint))
        return "null"


def propose(
    kind: str, named: Sequence[Table], schema: Schema, fields: Mapping[str, str]
) -> tuple[Draft | None, list[Question]]:
    """The entity of a kind over these tables, the first of which counts most; or the questions that stand in its way.

    `fields` are a person's own expressions by `kind.field`, such as `{"price.currency": "'EUR'"}`.
    """
    main = named[0]
    plan = _rooted(kind, main, schema, fields)
    if isinstance(plan, Question):
        return None, [plan]
    sql, polls = _SHAPES[kind](plan, named[1:])
    if plan.found.questions:
        return None, plan.found.questions
    key = plan.key.quoted
    all_keys = f"select {key} from {plan.root.quoted} where {key} > $1 order by {key} limit $2"
    watches = _watches(plan, named[1:])
    return Draft(
        kind, KEY_TYPES[plan.key.type], sql, all_keys, tuple(watches), tuple(polls), tuple(plan.found.notes)
    ), []


def _rooted(kind: str, main: Table, schema: Schema, fields: Mapping[str, str]) -> _Plan | Question:
    """Which table the entity's keys are of."""
    if kind in _OF_ITEMS:
        for reference, other in schema.outward(main):
            if other.key is None or (reference.to,) != other.primary:
                continue
            if say.pick([c for c in other.columns.values() if c.is_text], say.SURE_SKUS) is not None:
                return _Plan(kind, schema, other, other.key, main, reference, fields)
        for reference, other in schema.outward(main):  # a table that calls its articles' names `code` or `number`
            named = say.names_one_of(other, ("item", "product", "article", "part"))
            if named and other.key is not None and (reference.to,) == other.primary:
                return _Plan(kind, schema, other, other.key, main, reference, fields)
    if main.key is not None:
        return _Plan(kind, schema, main, main.key, main, None, fields)
    return Question(
        kind,
        "key",
        f"{main.name} has no primary key of one column, and refers to no table of articles that has one. "
        "Write this entity by hand (docs/configuration.md), or name another table",
    )


def _lines(plan: _Plan, columns: Sequence[tuple[str, str]], condition: str = "", tail: str = "") -> str:
    select = ",\n       ".join(
        value if value.rpartition(".")[2] == name and value.count(".") == 1 else f"{value} as {name}"
        for value, name in columns
    )
    text = f"select {select}\n  from {plan.root.quoted} r"
    if plan.link is not None:
        text += f"\n  join {plan.main.quoted} t on t.{plan.linked} = r.{plan.key.quoted}"
    for join in plan.joins:
        text += f"\n  {join}"
    text += f"\n where r.{plan.key.quoted} = any($1)"
    active = say.pick([c for c in plan.root.columns.values() if c.type == "bool"], say.ACTIVE)
    if active is not None and plan.kind in _OF_ITEMS:
        text += f"\n   and r.{active.quoted}"
        plan.found.notes.append(f"articles without {plan.root.short}.{active.name} are not shown")
    return text + condition + tail


def _sku(plan: _Plan) -> str:
    hint = f"no column of {plan.root.name} looks like the article's number"
    return plan.required("sku", plan.column(say.SKU, "text", root=True), hint)


def _stock(plan: _Plan, more: Sequence[Table]) -> tuple[str, list[Poll]]:
    sku = _sku(plan)
    available = plan.given("available")
    location = plan.given("location") or plan.through(say.LOCATION_TABLES, say.LOCATION, "l")
    if location is None and plan.link is not None:
        location = plan.column(say.LOCATION[:4], "text")
    groups = [f"r.{plan.key.quoted}", sku, *([location] if location else [])]
    if plan.looked_up:
        reference, other, alias = plan.looked_up[0]
        groups.insert(2, f"{alias}.{other.columns[reference.to].quoted}")
    if available is None:
        total = plan.column(say.AVAILABLE, "number")
        if total is None and (total := plan.column(say.ON_HAND, "number")) is not None:
            if (taken := plan.column(say.RESERVED, "number")) is not None:
                total = f"{total} - coalesce({taken}, 0)"
            plan.found.notes.append("what can be sold is taken as on hand less what is reserved")
        if total is not None:
            total = f"coalesce(sum({total}), 0)" + "".join(_taken(plan, table) for table in more)
            available = f"greatest(floor({total}), 0)::bigint"
    else:
        available = f"({available})"
    available = plan.required("available", available, f"no column of {plan.main.name} looks like a quantity on hand")
    columns = [(f"r.{plan.key.quoted}", "key"), (sku, "sku")]
    if location:
        columns.append((f"coalesce({location}, 'default')", "location"))
    columns.append((available, "available"))
    plan.merged(columns)
    return _lines(plan, columns, tail=f"\n group by {', '.join(groups)}"), []


def _taken(plan: _Plan, table: Table) -> str:
    """What rows of another table take away from what can be sold."""
    link = plan.schema.between(table, plan.root)
    quantity = say.pick([c for c in table.columns.values() if c.is_number], say.TAKEN)
    if link is None or quantity is None:
        return ""
    where = f"x.{table.columns[link.column].quoted} = r.{plan.key.quoted}"
    for reference, other, alias in plan.looked_up:
        if (same := plan.schema.between(table, other)) is not None:
            where += f" and x.{table.columns[same.column].quoted} = {alias}.{other.columns[reference.to].quoted}"
    plan.found.notes.append(f"{table.short}.{quantity.name} is taken away from what is on hand")
    return f"\n         - coalesce((select sum(x.{quantity.quoted}) from {table.quoted} x where {where}), 0)"


def _price(plan: _Plan, _more: Sequence[Table]) -> tuple[str, list[Poll]]:
    sku = _sku(plan)
    amount = plan.required(
        "amount", plan.column(say.AMOUNT, "number"), f"no column of {plan.main.name} looks like a price"
    )
    listed = plan.given("price_list") or plan.through(say.PRICE_LIST_TABLES, say.PRICE_LIST, "l")
    lists = plan.looked_up[0][1] if plan.looked_up else None
    if listed is None and plan.link is not None:
        listed = plan.column(say.PRICE_LIST[:3], "text")
    currency = plan.given("currency") or plan.column(say.CURRENCY[:2], "text")
    if currency is None and lists is not None:
        picked = say.pick([c for c in lists.columns.values() if c.is_text], say.CURRENCY[:2])
        currency = f"l.{picked.quoted}" if picked is not None else None
        currency = currency or plan.through(say.CURRENCY_TABLES, say.CURRENCY_NAMES, "c", base=lists)
    currency = currency or plan.through(say.CURRENCY_TABLES, say.CURRENCY_NAMES, "c")
    currency = currency or plan.column(say.CURRENCY[:2], "text", root=True)
    currency = plan.required("currency", currency, f"no column of {plan.main.name} or a table it refers to names one")
    steps = plan.given("min_quantity") or (plan.column(say.MIN_QUANTITY, "number") if plan.link is not None else None)
    columns = [(f"r.{plan.key.quoted}", "key"), (sku, "sku")]
    apart = [f"r.{plan.key.quoted}"]
    for value, name in ((listed, "price_list"), (currency, "currency"), (steps, "min_quantity")):
        if value is not None:
            missing = {"price_list": "'default'", "min_quantity": "1"}.get(name)
            columns.append((f"coalesce({value}, {missing})" if missing else value, name))
            apart.append(value)
    columns.append((amount, "amount"))
    plan.merged(columns)
    dates = [say.pick([c for c in plan.main.columns.values() if c.is_moment], words) for words in (say.FROM, say.TO)]
    return _dated(plan, columns, apart, dates[0], dates[1])


def _dated(
    plan: _Plan, columns: list[tuple[str, str]], apart: list[str], begin: Column | None, end: Column | None
) -> tuple[str, list[Poll]]:
    """Prices that are valid now; a rule for those that begin or end by the clock."""
    if (begin is None and end is None) or plan.link is None:
        return _lines(plan, columns), []
    condition, windows, linked = "", [], plan.linked
    if begin is not None:
        condition += f"\n   and (t.{begin.quoted} is null or t.{begin.quoted} <= now())"
        windows.append(f"{begin.quoted} > $1 and {begin.quoted} <= $2")
    if end is not None:
        after = f"t.{end.quoted} >= current_date" if end.type == "date" else f"t.{end.quoted} > now()"
        condition += f"\n   and (t.{end.quoted} is null or {after})"
        last = f"{end.quoted} + 1" if end.type == "date" else end.quoted
        windows.append(f"{last} > $1 and {last} <= $2")
        if end.type == "date":
            plan.found.notes.append(f"{plan.main.short}.{end.name} is taken as the last day of a price")
    order = [*apart, *([f"t.{begin.quoted} desc nulls last"] if begin is not None else [])]
    order += [f"t.{plan.main.columns[name].quoted} desc" for name in plan.main.primary if name != plan.link.column]
    sql = _lines(plan, columns, condition, f"\n order by {', '.join(order)}")
    sql = sql.replace("select ", f"select distinct on ({', '.join(apart)})\n       ", 1)
    for column in (begin, end):
        if column is not None and column.type != "timestamptz":
            plan.found.notes.append(f"{plan.main.short}.{column.name} has no time zone and is taken as UTC")
    plan.found.notes.append("of several prices that are valid now the one that began last counts")
    keys = f"select {linked} from {plan.main.quoted} where " + " or ".join(windows)
    return sql, [Poll("validity", keys, "a dated price begins or ends by the clock; no row changes then")]


def _credit(plan: _Plan, _more: Sequence[Table]) -> tuple[str, list[Poll]]:
    hint = f"no column of {plan.root.name} looks like the customer's number"
    columns = [
        (f"r.{plan.key.quoted}", "key"),
        (plan.required("customer", plan.column(say.CUSTOMER, "text"), hint), "customer"),
    ]
    columns += _optional(plan, (("currency", say.CURRENCY[:2], "text"), ("limit", say.LIMIT, "number")))
    columns += _optional(plan, (("balance", say.BALANCE, "number"), ("available", say.AVAILABLE[:1], "number")))
    hold = say.pick([c for c in plan.root.columns.values() if c.type == "bool"], say.HOLD)
    if (value := plan.given("hold") or (f"r.{hold.quoted}" if hold is not None else None)) is not None:
        columns.append((value, "hold"))
    if not any(name == '"limit"' for _, name in columns):
        hint = f"no column of {plan.root.name} looks like a credit limit"
        plan.found.questions.append(Question("credit", "limit", hint))
    return _lines(plan, columns), []


def _order(plan: _Plan, _more: Sequence[Table]) -> tuple[str, list[Poll]]:
    where = plan.root.name
    return _lines(
        plan,
        [
            (f"r.{plan.key.quoted}", "key"),
            (
                plan.required(
                    "order", plan.column(say.ORDER, "text"), f"no column of {where} looks like the order's number"
                ),
                '"order"',
            ),
            (
                plan.required("status", plan.column(say.STATUS, "text"), f"no column of {where} looks like a status"),
                "status",
            ),
        ],
    ), []


def _content(plan: _Plan, _more: Sequence[Table]) -> tuple[str, list[Poll]]:
    columns = [(f"r.{plan.key.quoted}", "key"), (_sku(plan), "sku")]
    columns += _optional(plan, (("locale", say.LOCALE, "text"),))
    hint = f"no column of {plan.main.name} looks like a title"
    columns.append((plan.required("title", plan.column(say.TITLE, "text"), hint), "title"))
    columns += _optional(plan, (("description_html", say.HTML, "text"),))
    plan.merged(columns)
    return _lines(plan, columns), []


def _optional(plan: _Plan, wanted: Sequence[tuple[str, Sequence[str], str]]) -> list[tuple[str, str]]:
    """Fields that a document may do without."""
    columns = []
    for name, words, kind in wanted:
        value = plan.given(name) or plan.column(words, kind)
        if value is not None:
            columns.append((value, '"limit"' if name == "limit" else name))
    return columns


_SHAPES = {"stock": _stock, "price": _price, "credit": _credit, "order_status": _order, "content": _content}


def _watches(plan: _Plan, more: Sequence[Table]) -> list[Watch]:
    """How a changed row of each table that the query reads leads to keys."""
    root, main = plan.root, plan.main
    watches = [Watch(root.name, key=plan.key.name)]
    if plan.link is not None:
        watches.append(_direct(plan, main, plan.link))
        for reference, other, _ in plan.looked_up:
            column = main.columns[reference.column]
            keys = f"select distinct {plan.linked} from {main.quoted} where {column.quoted} = any($1)"
            watches.append(Watch(other.name, column=reference.to, keys=keys, why="all keys that refer to the row"))
            _index(plan, main, reference.column)
    for table in more:
        if plan.kind != "stock":
            plan.found.notes.append(f"{table.short} is watched, and no field is read from it: say so in the query")
        if (link := plan.schema.between(table, root)) is not None:
            watches.append(_direct(plan, table, link))
        elif plan.link is not None and (link := plan.schema.between(table, main)) is not None:
            to = main.columns[link.to]
            keys = f"select {plan.linked} from {main.quoted} where {to.quoted} = any($1)"
            watches.append(Watch(table.name, column=link.column, keys=keys))
        else:
            hint = f"{table.name} refers neither to {root.name} nor to {main.name}; leave it out or write its watch by hand"
            plan.found.notes.append(hint)
    return watches


def _direct(plan: _Plan, table: Table, link: Reference) -> Watch:
    _index(plan, table, link.column)
    why = ""
    if not table.carries(link.column):
        why = f"{link.column} is not in the primary key: erpsyncd keeps an index of rows, or REPLICA IDENTITY FULL spares it"
    return Watch(table.name, key=link.column, why=why)


def _index(plan: _Plan, table: Table, column: str) -> None:
    if column not in table.leading and table.rows >= _LARGE:
        plan.found.notes.append(f"no index of {table.name} starts with {column}: each re-read would scan the table")
