"""The GraphQL documents about content: products, their media, files and translations; version 2026-10 of the Admin API.

Invariant: as in documents.py: each has a name of its own, and values travel as variables, never in the text.
"""

from __future__ import annotations

from typing import Final

_MEDIA: Final = """nodes { id alt ... on MediaImage { image { url } } }
        pageInfo { hasNextPage endCursor }"""

_TEXTS: Final = """id title descriptionHtml handle status
      seo { title description }
      content: metafield(namespace: $namespace, key: "content") { value }
      attributes: metafield(namespace: $namespace, key: $attributes) { value }
      categories: metafield(namespace: $namespace, key: $categories) { value }"""

_PRODUCT: Final = f"""{_TEXTS}
      media(first: 10, sortKey: POSITION) {{
        {_MEDIA}
      }}"""

_KEYS: Final = "$namespace: String!, $attributes: String!, $categories: String!"

CONTENT_READ: Final = f"""query erpsyncdContentRead($ids: [ID!]!, {_KEYS}) {{
  nodes(ids: $ids) {{
    ... on ProductVariant {{ id sku product {{
      {_PRODUCT}
    }} }}
  }}
}}"""

CONTENT_SPEAKERS: Final = """query erpsyncdContentSpeakers($ids: [ID!]!) {
  nodes(ids: $ids) { ... on ProductVariant { id sku } }
}"""

CONTENT_SCAN: Final = f"""query erpsyncdContentScan($query: String, $first: Int!, $after: String, {_KEYS}) {{
  products(first: $first, after: $after, query: $query, sortKey: ID) {{
    nodes {{
      {_PRODUCT}
    }}
    pageInfo {{ hasNextPage endCursor }}
  }}
}}"""

MEDIA: Final = f"""query erpsyncdMedia($product: ID!, $first: Int!, $after: String) {{
  product(id: $product) {{
    media(first: $first, after: $after, sortKey: POSITION) {{
        {_MEDIA}
    }}
  }}
}}"""

MEDIA_ORDER: Final = """mutation erpsyncdMediaOrder($product: ID!, $moves: [MoveInput!]!) {
  productReorderMedia(id: $product, moves: $moves) {
    job { id done }
    mediaUserErrors { field message code }
  }
}"""

JOB: Final = "query erpsyncdJob($id: ID!) { job(id: $id) { id done } }"

STAGE: Final = """mutation erpsyncdStage($input: [StagedUploadInput!]!) {
  stagedUploadsCreate(input: $input) {
    stagedTargets { url resourceUrl parameters { name value } }
    userErrors { field message }
  }
}"""

_FILE: Final = "id fileStatus fileErrors { code message } ... on MediaImage { image { url } }"

FILE_CREATE: Final = f"""mutation erpsyncdFileCreate($files: [FileCreateInput!]!) {{
  fileCreate(files: $files) {{
    files {{ {_FILE} }}
    userErrors {{ field message code }}
  }}
}}"""

FILE_UPDATE: Final = """mutation erpsyncdFileUpdate($files: [FileUpdateInput!]!) {
  fileUpdate(files: $files) {
    files { id }
    userErrors { field message code }
  }
}"""

FILE_DELETE: Final = """mutation erpsyncdFileDelete($files: [ID!]!) {
  fileDelete(fileIds: $files) {
    deletedFileIds
    userErrors { field message code }
  }
}"""

FILES_READ: Final = f"""query erpsyncdFilesRead($ids: [ID!]!) {{
  nodes(ids: $ids) {{ ... on MediaImage {{ {_FILE} }} }}
}}"""

FILES_FIND: Final = f"""query erpsyncdFilesFind($query: String, $first: Int!, $after: String) {{
  files(first: $first, after: $after, query: $query, sortKey: ID) {{
    nodes {{ {_FILE} }}
    pageInfo {{ hasNextPage endCursor }}
  }}
}}"""

TRANSLATIONS_READ: Final = """query erpsyncdTranslationsRead($ids: [ID!]!, $first: Int!, $locale: String!) {
  translatableResourcesByIds(first: $first, resourceIds: $ids) {
    nodes {
      resourceId
      translatableContent { key value digest }
      translations(locale: $locale) { key value outdated }
    }
  }
}"""

TRANSLATIONS_SET: Final = """mutation erpsyncdTranslationsSet($id: ID!, $translations: [TranslationInput!]!) {
  translationsRegister(resourceId: $id, translations: $translations) {
    translations { key locale value }
    userErrors { field message code }
  }
}"""

TRANSLATIONS_END: Final = """mutation erpsyncdTranslationsEnd($id: ID!, $keys: [String!]!, $locales: [String!]!) {
  translationsRemove(resourceId: $id, translationKeys: $keys, locales: $locales) {
    translations { key locale }
    userErrors { field message code }
  }
}"""


PRODUCTS_BULK: Final = f"""mutation erpsyncdBulkProducts($product: ProductUpdateInput!, {_KEYS}) {{
  productUpdate(product: $product) {{
    product {{
      {_TEXTS}
    }}
    userErrors {{ field message }}
  }}
}}"""
"""What a bulk operation runs for each product."""


def products_update(count: int) -> str:
    """Change texts and metafields of several products, one part a product: r0, r1, ..."""
    head = ", ".join(f"$p{n}: ProductUpdateInput!" for n in range(count))
    body = "\n".join(
        f"""  r{n}: productUpdate(product: $p{n}) {{
    product {{
      {_TEXTS}
    }}
    userErrors {{ field message }}
  }}"""
        for n in range(count)
    )
    return f"mutation erpsyncdProductsUpdate{count}({head}, {_KEYS}) {{\n{body}\n}}"


def products_by(count: int) -> str:
    """Find products by their handle or a unique metafield, one part a product: r0, r1, ..."""
    head = ", ".join(f"$i{n}: ProductIdentifierInput!" for n in range(count))
    body = "\n".join(
        f"""  r{n}: productByIdentifier(identifier: $i{n}) {{
      {_PRODUCT}
  }}"""
        for n in range(count)
    )
    return f"query erpsyncdProductsBy{count}({head}, {_KEYS}) {{\n{body}\n}}"
