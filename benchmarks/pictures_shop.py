"""The double of a Vendure shop in a process of its own, with the hashes of its images in place of their bytes.

Invariant: what it tells at `/bench` is what the shop shows, by SKU: the hash of the text, those of the images in order; and how
many files its library holds.

Run as `python -m benchmarks.pictures_shop PRODUCTS`; the first line that it writes is its address.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys

import uvloop
from aiohttp import web

from tests.doubles.faults import Fault
from tests.doubles.server import Call, json_answer
from tests.doubles.vendure import Vendure
from tests.doubles.vendure_products import Products


class Hashes(Products):
    """A library that keeps no bytes."""

    def asset(self, name: str, tags: list[str], data: bytes = b"") -> str:
        return super().asset(name, tags, hashlib.sha256(data).hexdigest().encode())


class Shop(Vendure):
    """The shop, and what it shows."""

    def __init__(self, products: int) -> None:
        super().__init__(token="bench")
        self.products = Hashes()
        for number in range(1, products + 1):
            self.variant(f"SKU-{number}", product=self.products.add(f"Product {number}"))

    def call_of(self, request: web.Request, body: bytes) -> Call:
        return Call(method="GET", entity="bench") if request.path == "/bench" else super().call_of(request, body)

    async def respond(self, request: web.Request, call: Call, body: bytes, faults: list[Fault]) -> web.Response:
        self.calls.clear()  # nobody asks for them
        if call.entity != "bench":
            return await super().respond(request, call, body, faults)
        files = self.products.files
        if "whole" not in request.query:
            return json_answer({"files": len(files)})
        shown: dict[str, list[str]] = {}
        for variant in self.variants.values():
            product = self.products.known[variant["product"]]
            text = product["translations"]["en"]["description"]
            shown[variant["sku"]] = [
                hashlib.sha256(text.encode()).hexdigest(),
                *(files[each].decode() for each in product["assets"]),
            ]
        return json_answer({"files": len(files), "shown": shown})


async def _main(products: int) -> None:
    async with Shop(products) as shop:
        sys.stdout.write(f"{shop.root}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
