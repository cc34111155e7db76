"""Laws of ERP packs: they lie under the user's tables, their options are typed and cannot change a query's words."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config import Config, InvalidConfigError, dump_redacted, load_text
from daemon.config.options import Option, TemplateError, literal, render
from daemon.config.pack import packs_for
from daemon.config.values import SQL_QUIET

DATA = Path(__file__).parent.parent / "data"

PACK = """title = "Tiny ERP"
tested = ["1.0"]

[option.company]
type = "text"
required = true
description = "Company whose stock is shown."
known = "select name from company"

[option.warehouses]
type = "texts"
description = "Codes; none means all."
known = "select code from warehouse"

[option.policy]
type = "text"
default = "free"
choices = ["free", "on_hand"]
description = "What may be sold."

[option.tracked]
type = "boolean"
default = false
description = "Parcels are tracked."

[[index]]
table = "stock_level"
columns = ["item_id"]
why = "the stock of one item"

[entity.stock]
sql = { file = "stock.sql" }
all_keys = "select id from item where id > $1 order by id limit $2"

[[entity.stock.watch]]
table = "stock_level"
key = "item_id"

[[entity.stock.watch]]
when = "tracked"
table = "parcel"
column = "id"
keys = "select item_id from parcel where id = any($1) and {{company}} is not null"

[entity.price]
sql = "select id as key, sku, 'EUR' as currency, price as amount from item where id = any($1)"
all_keys = "select id from item where id > $1 order by id limit $2"

[[entity.price.watch]]
table = "item"
key = "id"
"""
STOCK_SQL = """select id as key, sku, n as available from s
where id = any($1) and company = {{company}} {{#warehouses}}and w = any({{warehouses}}){{/warehouses}}
{{^tracked}}and not tracked{{/tracked}}
"""
CONFIG = """[erp]
dsn = "postgresql://reader@db/erp"
pack = "tiny"
[erp.options]
company = "Acme"
[store.main]
adapter = "http"
url = "https://shop.example/api/"
entities = ["stock"]
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes pack `tiny` of these files the only one."""

    def write(pack: str = PACK, **files: str) -> None:
        folder = tmp_path / "erp" / "tiny"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pack.toml").write_text(pack)
        for name, text in {"stock": STOCK_SQL, **files}.items():
            (folder / f"{name}.sql").write_text(text)

    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    write()
    return write


def load(text: str) -> Config:
    return load_text(text, env={})


def problems(text: str) -> list[tuple[str, int | None, str, str]]:
    with pytest.raises(InvalidConfigError) as caught:
        load(text)
    return [(p.file, p.line, p.path, p.message) for p in caught.value.problems]


def test_a_pack_gives_the_entities_that_a_store_shows(install: Install) -> None:
    config = load(CONFIG)
    assert list(config.entity) == ["stock"]
    assert "company = ('Acme'::text)" in config.entity["stock"].sql
    assert "and not tracked" in config.entity["stock"].sql
    assert "any(" not in config.entity["stock"].sql.replace("any($1)", "")
    assert config.watched_tables() == ["public.stock_level"]


def test_the_users_tables_go_over_the_packs_key_by_key(install: Install) -> None:
    stock = load(CONFIG + '[entity.stock]\ntarget = "9s"\n').entity["stock"]
    assert (stock.target, stock.watch[0].table) == (9.0, "public.stock_level")
    text = CONFIG + '[[entity.stock.watch]]\ntable = "other"\nkey = "id"\n'
    assert load(text).watched_tables() == ["public.other"]


def test_an_entity_of_the_pack_that_a_table_mentions_is_there(install: Install) -> None:
    assert set(load(CONFIG + "[entity.price]\n").entity) == {"stock", "price"}


def test_mistakes_are_told_in_the_file_where_they_stand(install: Install) -> None:
    install(PACK.replace('key = "item_id"', 'kye = "item_id"'))
    found = problems(CONFIG + '[entity.stock]\nlane = "x"\n')
    assert [(file, path) for file, _, path, _ in found] == [
        ("config.toml", "entity.stock.lane"),
        ("tiny/pack.toml", "entity.stock.watch.0.key"),
        ("tiny/pack.toml", "entity.stock.watch.0.kye"),
    ]
    assert [line for _, line, _, _ in found] == [11, 35, 37]


def test_a_rule_with_when_is_there_only_with_its_option(install: Install) -> None:
    config = load(CONFIG.replace("[store.main]", "tracked = true\n[store.main]"))
    assert config.watched_tables() == ["public.parcel", "public.stock_level"]
    assert "('Acme'::text) is not null" in (config.entity["stock"].watch[1].keys or "")


@pytest.mark.parametrize(
    ("line", "path", "message"),
    [
        ("compani = 1", "erp.options.compani", 'the pack has no option "compani"; did you mean "company"?'),
        ("company = 1", "erp.options.company", "must be a string"),
        ('company = ""', "erp.options.company", "must not be empty or hold a NUL character"),
        ('warehouses = "WH"', "erp.options.warehouses", "must be an array of strings"),
        ('warehouses = ["WH", 1]', "erp.options.warehouses", "must be an array of strings"),
        ('warehouses = ["WH", "WH"]', "erp.options.warehouses", "holds a value twice"),
        ('policy = "fre"', "erp.options.policy", 'must be "free" or "on_hand"; did you mean "free"?'),
        ("tracked = 1", "erp.options.tracked", "must be true or false"),
    ],
)
def test_an_options_mistake_names_its_line_and_the_accepted_form(
    install: Install, line: str, path: str, message: str
) -> None:
    text = CONFIG.replace('company = "Acme"', line if line.startswith("company") else f'company = "Acme"\n{line}')
    ((file, number, where, said),) = problems(text)
    assert (file, where, said) == ("config.toml", path, message)
    assert number == (5 if line.startswith("company") else 6)


def test_a_missing_option_is_told_by_what_it_decides(install: Install) -> None:
    found = problems(CONFIG.replace('company = "Acme"', ""))
    assert [(path, said) for _, _, path, said in found] == [
        ("erp.options.company", "is missing: company whose stock is shown")
    ]


def test_options_need_a_pack(install: Install) -> None:
    found = problems(CONFIG.replace('pack = "tiny"', ""))
    assert ("erp.options", "are for a pack; add pack = ..., or leave them out") in [(p, m) for _, _, p, m in found]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select {{compani}} where $1 = 1", 'there is no option "compani"; did you mean "company"?'),
        ("select '{{company}}' where $1 = 1", "an option stands inside quotes or a comment"),
        ("select 1 -- {{company}}\nwhere $1 = 1", "an option stands inside quotes or a comment"),
        ("select {{#tracked}}1 where $1 = 1", "{{#tracked}} is never closed"),
        ("select {{/tracked}}1 where $1 = 1", "{{/tracked}} closes what is not open"),
        ("select {{>rest.sql}} where $1 = 1", "there is no file rest.sql in the pack"),
        ("select {{>stock.sql}} where $1 = 1", "stock.sql includes itself"),
    ],
)
def test_a_packs_query_that_cannot_be_filled_is_told_at_its_place(install: Install, sql: str, words: str) -> None:
    install(stock=sql)
    ((file, line, path, said),) = problems(CONFIG)
    assert (file, line, path) == ("tiny/pack.toml", 32, "entity.stock.sql")
    assert said.startswith(words)


def test_a_pack_may_name_only_its_own_files(install: Install) -> None:
    install(PACK.replace('"stock.sql"', '"../tiny/stock.sql"'))
    assert [(path, said) for _, _, path, said in problems(CONFIG)] == [
        ("entity.stock.sql", 'must be a query, or { file = "name.sql" } of this pack')
    ]


def test_fragments_are_filled_in_as_well(install: Install) -> None:
    install(stock="with {{> part.sql }} select * from c where id = any($1)", part="c as (select {{company}} as name)")
    assert "c as (select ('Acme'::text) as name)" in load(CONFIG).entity["stock"].sql


def test_show_tells_the_options_in_force(install: Install) -> None:
    shown = dump_redacted(load(CONFIG))["erp"]
    assert shown["options"] == {"company": "Acme", "warehouses": [], "policy": "free", "tracked": False}


def test_another_option_is_another_mapping(install: Install) -> None:
    one, other = load(CONFIG), load(CONFIG.replace('"Acme"', '"Acme Ltd"'))
    assert one.entity["stock"].digest() != other.entity["stock"].digest()


def test_a_pack_says_which_values_the_erp_must_know(install: Install) -> None:
    pack = load(CONFIG).pack
    assert pack is not None
    assert [(known.option, known.values) for known in pack.known] == [("company", ("Acme",))]
    assert [(index.table, index.columns) for index in pack.index] == [("stock_level", ("item_id",))]


def test_a_function_that_is_not_there_is_told_by_the_check(install: Install) -> None:
    for name in ("nowhere.at_all:f", "json:no_such_function", "json:__name__"):
        ((_, _, path, said),) = problems(CONFIG + f'[entity.stock]\ntransform = "{name}"\n')
        assert path == "entity.stock.transform"
        assert "cannot be imported" in said or "is no function" in said


# Values in SQL -------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def option(**fields: Any) -> Option:
    return Option.model_validate({"description": "x", **fields})


@given(TEXTS)
def test_a_text_is_one_literal_whatever_it_holds(text: str) -> None:
    made = render("select {{x}}, 1", {"x": text}, {"x": option(type="text")}, {})
    quoted = made.removeprefix("select (").removesuffix("::text), 1").removeprefix("E")
    assert SQL_QUIET.fullmatch(quoted)
    assert quoted[1:-1].replace("''", "'").replace("\\\\", "\\") == text
    assert quoted[1:-1].replace("''", "").count("'") == 0


@given(st.lists(TEXTS, unique=True))
def test_an_array_has_as_many_literals_as_values(texts: list[str]) -> None:
    quoted = literal(tuple(texts), option(type="texts").type)
    inner = quoted.removeprefix("(array[").removesuffix("]::text[])")
    assert len(SQL_QUIET.findall(inner)) >= len(texts)
    assert set(SQL_QUIET.sub("", inner)) <= set("E, ")


def test_numbers_truths_and_nothing_have_their_types() -> None:
    options = {name: option(type=name) for name in ("text", "integer", "boolean", "integers", "texts")}
    values: dict[str, Any] = {"text": None, "integer": -7, "boolean": True, "integers": (1, 2), "texts": ()}
    text = "; ".join(f"{{{{{name}}}}}" for name in options)
    assert render(text, values, options, {}) == (
        "(null::text); ('-7'::bigint); (true::boolean); (array['1', '2']::bigint[]); (array[]::text[])"
    )


def test_an_option_cannot_bring_another_tag() -> None:
    options = {"a": option(type="text"), "b": option(type="text")}
    assert render("{{a}}", {"a": "{{b}}", "b": "secret"}, options, {}) == "('{{b}}'::text)"


def test_sections_nest() -> None:
    options = {"a": option(type="boolean"), "b": option(type="boolean")}
    text = "0{{#a}}1{{#b}}2{{/b}}3{{/a}}{{^a}}4{{/a}}5"
    for a, b, made in ((True, True, "01235"), (True, False, "0135"), (False, True, "045")):
        assert render(text, {"a": a, "b": b}, options, {}) == made
    with pytest.raises(TemplateError):
        render("{{#a}}{{#b}}{{/a}}{{/b}}", {"a": False, "b": False}, options, {})


@pytest.mark.parametrize(("name", "dump"), [("odoo", "odoo18/odoo18.sql.gz"), ("tryton", "tryton/tryton82.sql.gz")])
def test_an_erp_is_known_by_its_tables_and_not_by_a_part_of_them(name: str, dump: str) -> None:
    text = gzip.decompress((DATA / dump).read_bytes()).decode()
    tables = {f"public.{table}" for table in re.findall(r"^CREATE TABLE public\.(\w+) ", text, re.MULTILINE)}
    assert [found for found, _ in packs_for(tables)] == [name]
    shared = {"public.stock_move", "public.stock_location", "public.product_template", "public.product_product"}
    assert packs_for(tables & shared) == []
