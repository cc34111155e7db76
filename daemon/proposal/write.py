"""Drafts as a commented config.toml.

Invariant: what is written is valid TOML whatever names the ERP uses, and holds no password.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daemon.proposal.draft import Draft

_TARGETS = {"stock": "5s", "price": "10s", "credit": "10s", "order_status": "10s", "content": "1d"}
_MISSING = {"stock": "zero", "credit": "zero", "order_status": "keep"}
_WORDS = {
    "stock": "what can be sold",
    "price": "one document for each article, list and quantity step",
    "credit": "what a customer may order on account",
    "order_status": "where an order is",
    "content": "texts of an article",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What the file says beside the entities. Each secret is the name of an environment variable."""

    dsn: str
    """A value as TOML writes it, such as `{ env = "ERP_DSN" }`."""
    adapter: str
    url: str
    token_env: str
    state: str


def write(drafts: Sequence[Draft], setting: Setting) -> str:
    """The text of the file."""
    return "\n".join(_lines(drafts, setting)) + "\n"


def _lines(drafts: Sequence[Draft], setting: Setting) -> Iterator[str]:
    yield "# erpsyncd: a first configuration, proposed from the ERP's catalogue by `erpsyncd init`."
    yield "# Names of tables and columns were guessed from: read each query before the first start."
    yield "#"
    yield "#   erpsyncd config check FILE        all mistakes at once"
    yield "#   erpsyncd sql setup -c FILE        the DBA's SQL: roles, publication, slot, identities"
    yield "#   erpsyncd doctor -c FILE           what is still missing"
    yield "#   erpsyncd plan -c FILE             what would be sent; writes nothing"
    yield ""
    yield "[erp]"
    yield f"dsn = {setting.dsn}"
    yield 'mode = "stream"                 # "poll" does without logical replication: poll rules alone'
    yield 'publication = "erpsyncd"'
    yield "create_slot = true"
    yield 'on_gap = "resync"               # compare everything again; "halt" waits for a person'
    yield ""
    yield "[state]"
    yield f"path = {toml_text(setting.state)}"
    yield ""
    yield "[status]"
    yield 'listen = "127.0.0.1:8484"'
    for draft in drafts:
        yield from _entity(draft)
    yield ""
    yield ""
    yield "[store.main]"
    yield f"adapter = {toml_text(setting.adapter)}"
    yield f"url = {toml_text(setting.url)}"
    yield f"token = {{ env = {toml_text(setting.token_env)} }}"
    yield f"entities = [{', '.join(toml_text(draft.kind) for draft in drafts)}]"
    yield "rate = { per_second = 50, burst = 100 }"
    if any(draft.kind == "content" for draft in drafts):
        yield ""
        yield "[batch.content]                 # content is heavy: sent by the clock, throttled"
        yield 'entity = "content"'
        yield 'every = "30m"'
        yield "max_per_second = 5"


def _entity(draft: Draft) -> Iterator[str]:
    name = f"entity.{draft.kind}"
    yield ""
    yield ""
    yield f"# {draft.kind}: {_WORDS[draft.kind]}."
    for note in draft.notes:
        yield from textwrap.wrap(f"{note}.", 110, initial_indent="# Check: ", subsequent_indent="#        ")
    yield f"[{name}]"
    yield f"lane = {toml_text('batch' if draft.kind == 'content' else 'fast')}"
    yield f"target = {toml_text(_TARGETS[draft.kind])}"
    yield f"key_type = {toml_text(draft.key_type)}"
    yield f"missing = {toml_text(_MISSING.get(draft.kind, 'unpublish'))}"
    yield f"sql = {_block(draft.sql)}"
    yield f"all_keys = {toml_text(draft.all_keys)}"
    for watch in draft.watches:
        yield ""
        yield f"[[{name}.watch]]"
        if watch.why:
            yield f"# {watch.why}"
        yield f"table = {toml_text(watch.table)}"
        if watch.key:
            yield f"key = {toml_text(watch.key)}"
        else:
            yield f"column = {toml_text(watch.column)}"
            yield f"keys = {toml_text(watch.keys)}"
    for poll in draft.polls:
        yield ""
        yield f"[[{name}.poll]]"
        yield f"# {poll.why}"
        yield f"name = {toml_text(poll.name)}"
        yield 'every = "10s"'
        yield f"keys = {toml_text(poll.keys)}"


def toml_text(value: str) -> str:
    """A basic string; JSON's escapes are TOML's, save for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _block(sql: str) -> str:
    if "'''" in sql or any((ord(c) < 32 and c != "\n") or c == "\x7f" for c in sql):
        return toml_text(sql)
    indented = "\n".join(f"  {line}" if line else line for line in sql.split("\n"))
    return f"'''\n{indented}'''"
