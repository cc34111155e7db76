"""What a content document is in a product and in its translations, and back. Pure.

Invariant: `shown` reads from a product that shows a document what the patch said. Which document a product shows, and what
was sent that a product does not say by itself, stands in the metafield `content`; a product without it shows none of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from adapters.store.answers import exact
from adapters.store.shopify import images
from adapters.store.shopify.work import Refused
from daemon.drift import same
from daemon.model import Fields

CONTENT: Final = "content"
"""Key of the metafield that says which document the product shows."""
ON_SALE: Final = ("ACTIVE", "UNLISTED")
"""Statuses of a product that can be bought; it gets its own back when its content comes back."""
_PLAIN: Final[Mapping[str, str]] = {"title": "title", "description_html": "descriptionHtml", "handle": "handle"}
_SEO: Final[Mapping[str, str]] = {"seo_title": "title", "seo_description": "description"}
_LISTED: Final[Mapping[str, Any]] = {"attributes": {}, "categories": []}
KEYS: Final[Mapping[str, str]] = {
    "title": "title",
    "description_html": "body_html",
    "handle": "handle",
    "seo_title": "meta_title",
    "seo_description": "meta_description",
}
"""Field -> the key of its translation."""
KNOWN: Final = frozenset({"sku", "locale", "images", *KEYS, *_LISTED})


def keys(locale: str) -> dict[str, str]:
    """Keys of the metafields that hold what has no other place: attributes and categories, for each language."""
    return {name: f"{name}_{locale}" if locale else name for name in _LISTED}


def record_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """What the metafield `content` of a product says; empty when nothing came from here."""
    return _object(node["content"])


def hidden(node: Mapping[str, Any]) -> bool:
    """Whether the product was taken out of sale from here and nobody brought it back."""
    return bool(record_of(node).get("unpublished")) and node["status"] in ("DRAFT", "ARCHIVED")


def own(node: Mapping[str, Any]) -> dict[str, Any]:
    """The product's own texts by field."""
    seo = node["seo"] or {}
    return {name: node[key] for name, key in _PLAIN.items()} | {name: seo.get(key) for name, key in _SEO.items()}


def wanted(fields: Fields) -> dict[str, str]:
    """The texts that a document says, none as an empty one. Raises Refused."""
    found = {name: "" if fields[name] is None else str(fields[name]) for name in KEYS if name in fields}
    if not found.get("title", "x").strip():
        raise Refused("a product needs a title")
    return found


def differs(texts: Mapping[str, str], shown: Mapping[str, Any]) -> dict[str, str]:
    """The texts that are not shown. Blanks around them do not count, since the shop drops them."""
    return {name: text for name, text in texts.items() if text.strip() != str(shown.get(name) or "").strip()}


def record(fields: Fields, said: Mapping[str, Any]) -> dict[str, Any]:
    """What the metafield is to say of a document; `said`: what it says, which stays true for what the document leaves out."""
    made: dict[str, Any] = {"sku": fields["sku"]}
    kept = [name for name in said.get("blank") or () if name not in fields]
    if blank := [name for name in KEYS if fields.get(name) == "" or name in kept]:
        made["blank"] = blank
    if pictures := fields["images"] if "images" in fields else said.get("images"):
        made["images"] = pictures
    return made


def listed(fields: Fields) -> dict[str, Any]:
    """Attributes and categories that a document says, none as empty ones."""
    return {name: fields[name] or type(empty)() for name, empty in _LISTED.items() if name in fields}


def unshown(metafields: Iterable[Mapping[str, Any]], node: Mapping[str, Any]) -> str:
    """The key of a metafield that was sent and that the product does not show; empty when there is none."""
    held = {CONTENT: record_of(node), **shown_lists(node)}
    sent = {one["key"]: json.loads(one["value"], parse_float=exact) for one in metafields}
    return next((key for key, value in sent.items() if not same(value, held.get(key))), "")


def product_input(id_: str, texts: Mapping[str, str], metafields: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """A ProductUpdateInput that writes these texts, and these metafields by key."""
    made: dict[str, Any] = {"id": id_}
    made |= {_PLAIN[name]: text for name, text in texts.items() if name in _PLAIN}
    if "handle" in texts:
        made["redirectNewHandle"] = True
    if seo := {_SEO[name]: text for name, text in texts.items() if name in _SEO}:
        made["seo"] = seo
    if metafields:
        made["metafields"] = [
            {"namespace": namespace, "key": key, "type": "json", "value": as_json(value)}
            for key, value in metafields.items()
        ]
    return made


def shown(node: Mapping[str, Any], locale: str) -> Fields | None:
    """The document that a product shows in the shop's own language; None where there is none."""
    said = record_of(node)
    if not said.get("sku") or hidden(node):
        return None
    return {
        "sku": said["sku"],
        "locale": locale,
        **_texts(own(node), said),
        **shown_lists(node),
        "images": images.shown(node, said.get("images")),
    }


def shown_lists(node: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes and categories as the metafields hold them; what somebody else wrote there is drift."""
    return {"attributes": _object(node["attributes"]), "categories": _value(node["categories"])}


def translated(node: Mapping[str, Any], locale: str, resource: Mapping[str, Any]) -> Fields | None:
    """The document that a product shows in another language."""
    said = record_of(node)
    texts = {name: one["value"] for one in resource["translations"] for name, key in KEYS.items() if key == one["key"]}
    if not said.get("sku") or hidden(node) or not texts:
        return None
    return {
        "sku": said["sku"],
        "locale": locale,
        **{name: texts.get(name) or None for name in KEYS},
        **shown_lists(node),
        "images": images.shown(node, said.get("images")),
    }


def as_json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _texts(texts: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    blank = said.get("blank") or ()
    return {name: text or ("" if name in blank else None) for name, text in texts.items()}


def _value(held: Mapping[str, Any] | None) -> Any:
    try:
        return None if held is None else json.loads(held["value"], parse_float=exact)
    except ValueError:
        return None


def _object(held: Mapping[str, Any] | None) -> dict[str, Any]:
    value = _value(held)
    return value if isinstance(value, dict) else {}
