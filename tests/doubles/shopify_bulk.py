"""The Shopify double's bulk operations: a staged file of variables, a mutation run for each of its lines, a file of results.

Invariant: a mutation that the schema does not allow, or a file that did not come, is refused; lines run only while somebody
looks on, and an operation that is cut short has results of those lines alone that it ran.
"""

# ruff: noqa: N802, N803 -- resolvers have the names of the API's fields and arguments

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from graphql import DocumentNode, GraphQLError, parse, validate

Json = dict[str, Any]
OPEN = ("CREATED", "RUNNING", "CANCELING")


@dataclass
class Operation:
    id: str
    query: str
    document: DocumentNode
    lines: list[Json]
    status: str = "CREATED"
    code: str | None = None
    done: int = 0
    results: list[str] = field(default_factory=list)
    looks: int = 1
    """How often it is looked at before it ends."""


class Works:
    """The state of bulk operations; a part of `ShopifyShop`."""

    staged: dict[str, Json]
    root: str
    schema: Any

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.at_once = 0
        """Most operations that were open at a time."""
        self.bulk_limit = 5
        self.bulk_looks = 2
        self.bulk_ends: list[tuple[str, str | None, int]] = []
        """How the next operations end: status, error code and how many lines they ran; else they complete."""

    def go_on(self, operation: Operation) -> None:
        """Time passes: the operation runs and ends."""
        if operation.status not in OPEN:
            return
        if operation.looks > 0:
            operation.looks -= 1
            operation.status = "RUNNING" if operation.status == "CREATED" else operation.status
            return
        default = (
            ("CANCELED", None, 0) if operation.status == "CANCELING" else ("COMPLETED", None, len(operation.lines))
        )
        status, code, count = self.bulk_ends.pop(0) if self.bulk_ends else default
        for number, line in enumerate(operation.lines[:count]):
            said = self.executed(operation.document, line)  # type: ignore[attr-defined]
            operation.results.append(json.dumps({**said, "__lineNumber": number}))
        operation.results.reverse()  # results are in no order
        operation.status, operation.code, operation.done = status, code, count

    def show_operation(self, operation: Operation) -> Json:
        place = operation.id.rpartition("/")[2]
        self.staged[place] = {"content": "\n".join([*operation.results, ""]).encode()}
        url = f"{self.root}/results/{place}" if operation.results else None
        return {
            "__typename": "BulkOperation",
            "id": operation.id,
            "status": operation.status,
            "errorCode": operation.code,
            "query": operation.query,
            "url": url if operation.status == "COMPLETED" else None,
            "partialDataUrl": url if operation.status in ("FAILED", "CANCELED") else None,
        }


class WorksRoot:
    """The fields of QueryRoot and Mutation that are about bulk operations."""

    _shop: Any

    def bulkOperation(self, _info: Any, id: str) -> Json | None:
        for operation in self._shop.operations:
            if operation.id == id:
                self._shop.go_on(operation)
                return self._shop.show_operation(operation)  # type: ignore[no-any-return]
        return None

    def bulkOperations(self, _info: Any, first: int, query: str, **_others: Any) -> Json:
        if query != "operation_type:mutation":
            raise GraphQLError(f"Search query isn't supported: {query}")
        newest = self._shop.operations[::-1][:first]
        for operation in newest:
            self._shop.go_on(operation)
        return {"nodes": [self._shop.show_operation(one) for one in newest], "pageInfo": {"hasNextPage": False}}

    def bulkOperationRunMutation(self, _info: Any, mutation: str, stagedUploadPath: str, **_others: Any) -> Json:
        shop: Works = self._shop
        code, lines = "", []
        held = next((one for one in shop.staged.values() if one.get("key") == stagedUploadPath), {})
        if sum(one.status in OPEN for one in shop.operations) >= shop.bulk_limit:
            code = "LIMIT_REACHED"
        elif "content" not in held:
            code = "NO_SUCH_FILE"
        try:
            document = parse(mutation)
            if validate(shop.schema, document):
                code = code or "INVALID_MUTATION"
            lines = [json.loads(line) for line in held.get("content", b"").split(b"\n") if line]
        except (GraphQLError, ValueError):
            code = code or "INVALID_STAGED_UPLOAD_FILE"
        if code:
            error = {"code": code, "field": None, "message": code.lower().replace("_", " ")}
            return {"bulkOperation": None, "userErrors": [error]}
        made = Operation(
            f"gid://shopify/BulkOperation/{self._shop.serial()}", mutation, document, lines, looks=shop.bulk_looks
        )
        shop.operations.append(made)
        shop.at_once = max(shop.at_once, sum(one.status in OPEN for one in shop.operations))
        return {"bulkOperation": shop.show_operation(made), "userErrors": []}

    def bulkOperationCancel(self, _info: Any, id: str) -> Json:
        operation = next(one for one in self._shop.operations if one.id == id)
        if operation.status in OPEN:
            operation.status = "CANCELING"
        return {"bulkOperation": self._shop.show_operation(operation), "userErrors": []}
