"""The GraphQL documents of the adapter, version 2026-10 of the Admin API.

Invariant: each has a name of its own, by which its cost is remembered; values travel as variables, never in the text.
"""

from __future__ import annotations

from typing import Final

SHOP: Final = "query erpsyncdShop { shop { id currencyCode taxesIncluded } }"

VARIANTS_FIND: Final = """query erpsyncdVariantsFind($query: String, $first: Int!, $after: String) {
  productVariants(first: $first, after: $after, query: $query, sortKey: ID) {
    nodes { id sku product { id } inventoryItem { id } }
    pageInfo { hasNextPage endCursor }
  }
}"""

_LEVEL: Final = """id sku inventoryPolicy
      inventoryItem { id tracked inventoryLevel(locationId: $location) { id quantities(names: [$name]) { name quantity } } }"""

STOCK_READ: Final = f"""query erpsyncdStockRead($ids: [ID!]!, $location: ID!, $name: String!) {{
  nodes(ids: $ids) {{
    ... on ProductVariant {{
      {_LEVEL}
    }}
  }}
}}"""

STOCK_SCAN: Final = f"""query erpsyncdStockScan($query: String, $first: Int!, $after: String, $location: ID!, $name: String!) {{
  productVariants(first: $first, after: $after, query: $query, sortKey: ID) {{
    nodes {{
      {_LEVEL}
      product {{ id }}
    }}
    pageInfo {{ hasNextPage endCursor }}
  }}
}}"""

STOCK_SET: Final = """mutation erpsyncdStockSet($input: InventorySetQuantitiesInput!, $key: String!) {
  inventorySetQuantities(input: $input) @idempotent(key: $key) {
    inventoryAdjustmentGroup { id }
    userErrors { field message code }
  }
}"""

STOCK_END: Final = """mutation erpsyncdStockEnd($level: ID!) {
  inventoryDeactivate(inventoryLevelId: $level) { userErrors { field message } }
}"""

PRICE_READ: Final = """query erpsyncdPriceRead($ids: [ID!]!) {
  nodes(ids: $ids) { ... on ProductVariant { id sku price compareAtPrice } }
}"""

PRICE_SCAN: Final = """query erpsyncdPriceScan($query: String, $first: Int!, $after: String) {
  productVariants(first: $first, after: $after, query: $query, sortKey: ID) {
    nodes { id sku price compareAtPrice product { id } inventoryItem { id } }
    pageInfo { hasNextPage endCursor }
  }
}"""

_VARIANTS_UPDATED: Final = """{
    productVariants { id price compareAtPrice inventoryPolicy }
    userErrors { field message code }
  }"""

_LIST_PRICE: Final = """variant { id sku } price { amount currencyCode } compareAtPrice { amount }
        quantityPriceBreaks(first: 25) { nodes { id minimumQuantity price { amount currencyCode } } }"""

LIST_READ: Final = f"""query erpsyncdListRead($list: ID!, $query: String, $first: Int!, $after: String) {{
  priceList(id: $list) {{
    currency
    prices(first: $first, after: $after, query: $query, originType: FIXED) {{
      nodes {{
        {_LIST_PRICE}
      }}
      pageInfo {{ hasNextPage endCursor }}
    }}
  }}
}}"""

LIST_SET: Final = """mutation erpsyncdListSet($list: ID!, $add: [PriceListPriceInput!]!, $delete: [ID!]!) {
  priceListFixedPricesUpdate(priceListId: $list, pricesToAdd: $add, variantIdsToDelete: $delete) {
    pricesAdded { variant { id } price { amount currencyCode } compareAtPrice { amount } }
    deletedFixedPriceVariantIds
    userErrors { field message code }
  }
}"""

BREAKS_SET: Final = """mutation erpsyncdBreaksSet($list: ID!, $input: QuantityPricingByVariantUpdateInput!) {
  quantityPricingByVariantUpdate(priceListId: $list, input: $input) {
    productVariants { id }
    userErrors { field message code }
  }
}"""


METAFIELDS_SET: Final = """mutation erpsyncdMetafieldsSet($metafields: [MetafieldsSetInput!]!) {
  metafieldsSet(metafields: $metafields) {
    metafields { id compareDigest }
    userErrors { field message code elementIndex }
  }
}"""

METAFIELDS_DELETE: Final = """mutation erpsyncdMetafieldsDelete($metafields: [MetafieldIdentifierInput!]!) {
  metafieldsDelete(metafields: $metafields) {
    deletedMetafields { ownerId }
    userErrors { field message }
  }
}"""

BULK_FIND: Final = """query erpsyncdBulkFind {
  bulkOperations(first: 20, query: "operation_type:mutation", sortKey: CREATED_AT, reverse: true) {
    nodes { id status query }
  }
}"""

BULK_READ: Final = """query erpsyncdBulkRead($id: ID!) {
  bulkOperation(id: $id) { id status errorCode url partialDataUrl }
}"""

BULK_RUN: Final = """mutation erpsyncdBulkRun($mutation: String!, $path: String!) {
  bulkOperationRunMutation(mutation: $mutation, stagedUploadPath: $path) {
    bulkOperation { id status }
    userErrors { field message code }
  }
}"""

BULK_CANCEL: Final = """mutation erpsyncdBulkCancel($id: ID!) {
  bulkOperationCancel(id: $id) { bulkOperation { id status } userErrors { field message } }
}"""

_META: Final = "metafield(namespace: $namespace, key: $key) { value compareDigest }"


def _owners(name: str, field: str, fields: str) -> str:
    head = "$query: String, $first: Int!, $after: String, $namespace: String!, $key: String!"
    return f"""query erpsyncd{name}({head}) {{
  {field}(first: $first, after: $after, query: $query, sortKey: ID) {{
    nodes {{ {fields} {_META} }}
    pageInfo {{ hasNextPage endCursor }}
  }}
}}"""


COMPANIES: Final = _owners("Companies", "companies", "id externalId")
COMPANY_LOCATIONS: Final = _owners("CompanyLocations", "companyLocations", "id externalId")
CUSTOMERS: Final = _owners("Customers", "customers", "id defaultEmailAddress { emailAddress }")

OWNERS_READ: Final = f"""query erpsyncdOwnersRead($ids: [ID!]!, $namespace: String!, $key: String!) {{
  nodes(ids: $ids) {{
    ... on Company {{ id externalId {_META} }}
    ... on CompanyLocation {{ id externalId {_META} }}
    ... on Customer {{ id defaultEmailAddress {{ emailAddress }} {_META} }}
  }}
}}"""


def activate(count: int, quantity: str) -> str:
    """Stock several items at their locations for the first time, each with its quantity. Parts r0, r1, ..."""
    argument = {"available": "available", "on_hand": "onHand"}[quantity]
    head = ", ".join(f"$i{n}: ID!, $l{n}: ID!, $q{n}: Int!, $k{n}: String!" for n in range(count))
    body = "\n".join(
        f"""  r{n}: inventoryActivate(inventoryItemId: $i{n}, locationId: $l{n}, {argument}: $q{n}) @idempotent(key: $k{n}) {{
    inventoryLevel {{ id }}
    userErrors {{ field message }}
  }}"""
        for n in range(count)
    )
    return f"mutation erpsyncdActivate{count}({head}) {{\n{body}\n}}"


def variants_update(count: int) -> str:
    """Change variants of several products, one part a product: r0, r1, ..."""
    head = ", ".join(f"$p{n}: ID!, $v{n}: [ProductVariantsBulkInput!]!" for n in range(count))
    body = "\n".join(
        f"  r{n}: productVariantsBulkUpdate(productId: $p{n}, variants: $v{n}, allowPartialUpdates: true) {_VARIANTS_UPDATED}"
        for n in range(count)
    )
    return f"mutation erpsyncdVariantsUpdate{count}({head}) {{\n{body}\n}}"
