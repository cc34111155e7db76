"""Content in Magento: title, description and text attributes of a product, for each store view.

Invariant: only the fields that came are written; what has no place (images, categories, attributes without a code) is refused,
never dropped. A product is saved by its SKU in the body, since a slash in an address does not reach Magento.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

from adapters.store.magento.api import Api, Record, Refusal
from daemon.drift import same
from daemon.model import Fields, Patch

_KNOWN: Final = frozenset({"sku", "locale", "title", "description_html", "attributes"})


class Contents:
    """Products by `sku|locale`; each locale is a store view, by the API of its own address."""

    def __init__(self, views: Mapping[str, Api], *, codes: Mapping[str, str]) -> None:
        self._views, self._codes = views, codes

    async def find(self, names: Iterable[str]) -> dict[str, Record]:
        """The products of these documents, as their store view shows them."""
        wanted: dict[str, list[str]] = {}
        for name in names:
            sku, _, locale = name.rpartition("|")
            wanted.setdefault(locale, []).append(sku)
        found: dict[str, Record] = {}
        for locale, skus in wanted.items():
            if locale not in self._views:
                continue
            for product in await self._views[locale].found("products", "sku", skus):
                found[f"{product.get('sku')}|{locale}"] = {**product, "locale": locale}
        return found

    async def write(self, product: Record, patch: Patch) -> None:
        """Save one product. Raises Refusal and StoreError."""
        if patch.fields is None:
            raise Refusal('content is not taken off a product; set missing = "keep"')
        fields = patch.fields
        more = sorted(name for name in fields.keys() - _KNOWN if fields[name] not in (None, False, [], {}))
        attributes = fields.get("attributes") or {}
        more += sorted(f"attribute {name}" for name in attributes if name not in self._codes)
        if more:
            raise Refusal(
                f"Magento gets no {', '.join(more)} from here; leave it out, or name it in options.attributes"
            )
        values = {self._codes[name]: _text(name, value) for name, value in attributes.items()}
        if not patch.changed or "attributes" in patch.changed:
            gone = {code: "" for name, code in self._codes.items() if name not in attributes}
            values = {**gone, **values} if _codes_of(product) & gone.keys() else values
        if fields.get("description_html") is not None:
            values["description"] = str(fields["description_html"])
        body: dict[str, Any] = {"sku": product["sku"]}
        if fields.get("title") is not None:
            body["name"] = fields["title"]
        body["custom_attributes"] = [{"attribute_code": code, "value": value} for code, value in sorted(values.items())]
        view = self._views[str(product["locale"])]
        answer = await view.write("products", {"product": body, "saveOptions": True})
        if not isinstance(answer, dict) or answer.get("sku") != product["sku"]:
            raise view.transport.wrong_shape("the product that was saved")
        if "name" in body and not same(answer.get("name"), body["name"]):
            raise Refusal(f"the shop took the call and shows the title {str(answer.get('name'))[:80]!r}")

    async def everything(self) -> AsyncIterator[Record]:
        for locale, view in self._views.items():
            async for product in view.search("products", []):
                yield {**product, "locale": locale}

    def documents(self, products: Iterable[Record]) -> list[tuple[str, Fields]]:
        """What the store views show."""
        shown: list[tuple[str, Fields]] = []
        for product in products:
            values = _values(product)
            attributes = {
                name: values[code] for name, code in self._codes.items() if values.get(code) not in (None, "")
            }
            fields = {"sku": product.get("sku"), "locale": product["locale"], "title": product.get("name")}
            fields |= {"description_html": values.get("description"), "attributes": attributes}
            shown.append((f"{product.get('sku')}|{product['locale']}", fields))
        return shown


def _values(product: Record) -> dict[str, Any]:
    listed = [one for one in product.get("custom_attributes") or [] if isinstance(one, Mapping)]
    return {str(one.get("attribute_code")): one.get("value") for one in listed}


def _codes_of(product: Record) -> set[str]:
    return {code for code, value in _values(product).items() if value not in (None, "")}


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Refusal(f"attribute {name} is neither text nor a number")
    return str(value)
