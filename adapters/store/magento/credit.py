"""Credit in Adobe Commerce B2B: the credit of a company.

Invariant: only the limit is written, which is absolute; the balance moves by relative calls alone, which a repeated call would
book twice. Either the ERP's limit is the limit (`credit = "limit"`), or the limit is set so that what is available is what the
ERP says (`credit = "available"`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from typing import Any, Final

import orjson

from adapters.store.magento.api import Api, Record, Refusal
from daemon.drift import same
from daemon.model import Fields, Patch

_BOTH: Final = frozenset({"customer", "currency", "hold"})


class Credits:
    """Company credits by the company's id."""

    def __init__(self, api: Api, *, field: str) -> None:
        self._api, self._field = api, field

    async def find(self, names: Iterable[str]) -> dict[str, Record]:
        """The credits of these companies."""
        records = await self._api.found("companyCredits", "company_id", [name for name in names if name.isdecimal()])
        return {str(record.get("company_id")): record for record in records}

    async def write(self, credit: Record, patch: Patch) -> None:
        """Set the limit of one company. Raises Refusal and StoreError."""
        fields: Fields = patch.fields or {self._field: 0}
        more = sorted(name for name in fields.keys() - _BOTH - {self._field} if fields[name] is not None)
        if more or fields.get("hold"):
            what = ", ".join(more) or "hold"
            raise Refusal(f"the credit of a company has no place for {what}; leave it out of the SQL")
        if fields.get("currency") not in (None, credit.get("currency_code")):
            raise Refusal(f"the company's credit is in {credit.get('currency_code')}, not in {fields['currency']}")
        if fields.get(self._field) is None:
            raise Refusal(f"the document has no {self._field}")
        limit = Decimal(str(fields[self._field]))
        if self._field == "available" and patch.fields is not None:
            limit -= Decimal(str(credit.get("balance") or 0))  # what is owed is a negative balance
        if limit < 0:
            raise Refusal(f"the limit would be {limit}, below zero")
        kept = {name: credit[name] for name in ("id", "company_id", "currency_code", "exceed_limit") if name in credit}
        body = {"creditLimit": {**kept, "credit_limit": orjson.Fragment(format(limit, "f"))}}
        answer = await self._api.write(f"companyCredits/{credit['id']}", body, "PUT")
        if not isinstance(answer, dict) or not same(_number(answer.get("credit_limit")), _number(limit)):
            raise self._api.transport.wrong_shape("the limit that was written")

    async def everything(self) -> AsyncIterator[Record]:
        async for credit in self._api.search("companyCredits", []):
            yield credit

    def documents(self, credits: Iterable[Record]) -> list[tuple[str, Fields]]:
        """What the shop says of each company."""
        name = {"limit": "credit_limit", "available": "available_limit"}[self._field]
        return [
            (
                str(one.get("company_id")),
                {
                    "customer": str(one.get("company_id")),
                    "currency": one.get("currency_code"),
                    self._field: one.get(name),
                    "hold": False,
                },
            )
            for one in credits
        ]


def _number(value: Any) -> str:
    return str(value if value is not None else "")
