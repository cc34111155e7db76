"""The GraphQL documents about orders and their fulfilments; version 2026-10 of the Admin API.

Invariant: as in documents.py: each has a name of its own, and values travel as variables, never in the text.
"""

from __future__ import annotations

from typing import Final

_FULFILMENT: Final = "id status displayStatus trackingInfo(first: 3) { number company }"

_ORDER: Final = f"""id name cancelledAt
      said: metafield(namespace: $namespace, key: "order") {{ value compareDigest }}
      fulfillmentsCount {{ count }}
      fulfillments(first: 5) {{ {_FULFILMENT} }}"""

ORDERS_FIND: Final = """query erpsyncdOrdersFind($query: String, $first: Int!, $after: String) {
  orders(first: $first, after: $after, query: $query, sortKey: ID) {
    nodes { id name }
    pageInfo { hasNextPage endCursor }
  }
}"""

ORDERS_READ: Final = f"""query erpsyncdOrdersRead($ids: [ID!]!, $namespace: String!) {{
  nodes(ids: $ids) {{
    ... on Order {{
      {_ORDER}
    }}
  }}
}}"""

ORDERS_SCAN: Final = f"""query erpsyncdOrdersScan($query: String, $first: Int!, $after: String, $namespace: String!) {{
  orders(first: $first, after: $after, query: $query, sortKey: ID) {{
    nodes {{
      {_ORDER}
    }}
    pageInfo {{ hasNextPage endCursor }}
  }}
}}"""

FULFILMENTS: Final = f"""query erpsyncdFulfilments($order: ID!, $first: Int!) {{
  order(id: $order) {{ fulfillments(first: $first) {{ {_FULFILMENT} }} }}
}}"""

FULFILMENT_LINES: Final = """query erpsyncdFulfilmentLines($id: ID!, $first: Int!, $after: String) {
  fulfillment(id: $id) {
    fulfillmentLineItems(first: $first, after: $after) {
      nodes { quantity lineItem { sku } }
      pageInfo { hasNextPage endCursor }
    }
  }
}"""

FULFILMENT_ORDERS: Final = """query erpsyncdFulfilmentOrders($order: ID!, $first: Int!, $after: String) {
  order(id: $order) {
    fulfillmentOrders(first: $first, after: $after) {
      nodes {
        id status assignedLocation { location { id } } supportedActions { action }
        lineItems(first: 30) { nodes { id sku remainingQuantity } pageInfo { hasNextPage endCursor } }
      }
      pageInfo { hasNextPage endCursor }
    }
  }
}"""

FULFILMENT_ORDER_LINES: Final = """query erpsyncdFulfilmentOrderLines($id: ID!, $first: Int!, $after: String) {
  fulfillmentOrder(id: $id) {
    lineItems(first: $first, after: $after) {
      nodes { id sku remainingQuantity }
      pageInfo { hasNextPage endCursor }
    }
  }
}"""

FULFILMENT_CREATE: Final = """mutation erpsyncdFulfilmentCreate($fulfillment: FulfillmentInput!) {
  fulfillmentCreate(fulfillment: $fulfillment) {
    fulfillment { id status }
    userErrors { field message }
  }
}"""

FULFILMENT_TRACK: Final = """mutation erpsyncdFulfilmentTrack(
  $id: ID!, $tracking: FulfillmentTrackingInput!, $notify: Boolean!
) {
  fulfillmentTrackingInfoUpdate(fulfillmentId: $id, trackingInfoInput: $tracking, notifyCustomer: $notify) {
    fulfillment { id }
    userErrors { field message }
  }
}"""

FULFILMENT_EVENT: Final = """mutation erpsyncdFulfilmentEvent($event: FulfillmentEventInput!) {
  fulfillmentEventCreate(fulfillmentEvent: $event) {
    fulfillmentEvent { id status }
    userErrors { field message }
  }
}"""

ORDER_CANCEL: Final = """mutation erpsyncdOrderCancel(
  $order: ID!, $restock: Boolean!, $notify: Boolean!, $refund: OrderCancelRefundMethodInput!
) {
  orderCancel(orderId: $order, reason: OTHER, restock: $restock, notifyCustomer: $notify, refundMethod: $refund) {
    job { id done }
    orderCancelUserErrors { field message code }
  }
}"""


def orders_by_key(count: int) -> str:
    """Find orders by a unique metafield, one part an order: r0, r1, ..."""
    head = ", ".join(f"$v{n}: String!" for n in range(count))
    body = "\n".join(
        f"  r{n}: orderByIdentifier(identifier: {{customId: {{namespace: $space, key: $key, value: $v{n}}}}}) {{ id name }}"
        for n in range(count)
    )
    return f"query erpsyncdOrdersByKey{count}({head}, $space: String!, $key: String!) {{\n{body}\n}}"
