"""The Magento double's asynchronous bulk interface: operations that wait for a consumer, and what is told of them.

Invariant: it answers as Magento_AsynchronousOperations does (its source and developer.adobe.com/commerce/webapi, read in
2026): 202 with an item a row, an operation is open until the consumer has ended it, a service's failures lie in the result of
an operation that is complete all the same. The consumer takes a step with each question about a bulk, unless it is stopped.
"""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from tests.doubles.server import json_answer

Json = dict[str, Any]
TOPICS = {
    "products/base-prices": "async.magento.catalog.api.basepricestorageinterface.update.post",
    "products/tier-prices": "async.magento.catalog.api.tierpricestorageinterface.update.post",
    "products/tier-prices-delete": "async.magento.catalog.api.tierpricestorageinterface.delete.post",
}


class MagentoBulks:
    """The part of `MagentoShop` that takes calls now and makes them later."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.bulks: dict[str, list[Json]] = {}
        """Operations by the bulk's identifier; `work` is what the consumer does."""
        self.consumes = True
        """Whether a consumer runs."""
        self.step = 1000
        """Operations that the consumer ends with each question."""
        self.ends: dict[str, tuple[int, str]] = {}
        """SKUs whose operation ends so: status and message. 5: it is rejected when it is sent."""
        self.tells_results = True
        """Whether an operation has what its service answered, as since 2.3."""
        self.first_id = 0
        """Where the numbers of operations begin; 0 since 2.3."""

    def priced(self, path: str, rows: list[Json]) -> list[Json]:
        """Write price rows; the failures."""
        raise NotImplementedError

    def scheduled(self, path: str, bodies: list[Json]) -> web.Response:
        uuid = f"b0000000-0000-4000-8000-{len(self.bulks):012d}"
        operations: list[Json] = []
        items: list[Json] = []
        for number, body in enumerate(bodies):
            [row] = body["prices"]
            if self.ends.get(row["sku"], (0, ""))[0] == 5:
                words = self.ends[row["sku"]][1]
                items.append({"id": number, "status": "rejected", "error_message": words})
                continue
            items.append({"id": number, "data_hash": "0" * 64, "status": "accepted"})
            told = {"id": self.first_id + number, "bulk_uuid": uuid, "topic_name": TOPICS[path], "status": 4}
            operations.append({**told, "result_message": None, "error_code": None, "work": (path, row)})
        self.bulks[uuid] = operations
        return json_answer({"bulk_uuid": uuid, "request_items": items, "errors": len(operations) < len(items)}, 202)

    def consume(self, most: int) -> None:
        """End so many open operations, in their order."""
        pending = [each for operations in self.bulks.values() for each in operations if each["status"] == 4]
        for operation in pending[:most]:
            path, row = operation["work"]
            status, words = self.ends.get(row["sku"], (1, "Service execution success"))
            operation |= {"status": status, "result_message": words}
            if status == 1:
                operation["result_serialized_data"] = orjson.dumps(self.priced(path, [row])).decode()

    def bulk_status(self, uuid: str, how: str) -> web.Response:
        if self.consumes:
            self.consume(self.step)
        operations = self.bulks.get(uuid)
        if operations is None:
            return json_answer({"message": "Bulk uuid %bulkUuid not exist", "parameters": {"bulkUuid": uuid}}, 404)
        names = {"id", "status", "result_message", "error_code"}
        if how == "detailed-status":
            names |= {"bulk_uuid", "topic_name"} | ({"result_serialized_data"} if self.tells_results else set())
        listed = [{name: value for name, value in each.items() if name in names} for each in operations]
        return json_answer({"operations_list": listed[::-1], "bulk_id": uuid, "operation_count": len(listed)})

    def bulk_list(self, request: web.Request) -> web.Response:
        """Only what the adapter asks: open operations of a topic."""
        if self.consumes:
            self.consume(self.step)
        asked = {
            request.query[f"searchCriteria[filterGroups][{n}][filters][0][field]"]: (
                request.query[f"searchCriteria[filterGroups][{n}][filters][0][conditionType]"],
                request.query[f"searchCriteria[filterGroups][{n}][filters][0][value]"],
            )
            for n in range(2)
        }
        assert asked == {"status": ("eq", "4"), "topic_name": ("like", "%price%")}
        found = [
            {name: value for name, value in each.items() if name != "work"}
            for operations in self.bulks.values()
            for each in operations
            if each["status"] == 4
        ]
        return json_answer({"items": found[:300], "search_criteria": {}, "total_count": len(found)})
