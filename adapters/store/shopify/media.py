"""Images of products: uploaded once, shown when the shop has processed them, in the document's order and with its captions.

Invariant: nothing is uploaded whose file the shop has already, nor twice after a lost answer: a file's name carries its
content and is taken only once. Only files that came from here are changed, moved or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.store.loan import Memory, Pace, Pictures
from adapters.store.shopify import documents_content as documents
from adapters.store.shopify.articles import Articles, number_of, term
from adapters.store.shopify.client import Client, Json
from adapters.store.shopify.images import SUFFIXES, Image, Medium, file_name, mark_in, moves, ours, wanted
from adapters.store.shopify.results import Fault, faults_of
from adapters.store.shopify.staged import Outside
from adapters.store.shopify.work import NotYet, Refused, ended
from daemon.errors import Retry, StoreError

READY_WITHIN: Final = 60.0
"""Seconds in which the shop is to process the images of one product; then it is asked again some time later."""
ORDERED_WITHIN: Final = 30.0
_PAGE: Final = 100
_KIND: Final = "file"
_BEGUN: Final = "?"
"""In the memory: a file was asked for, and the answer may have been lost."""
_LATER: Final = ("FILE_LOCKED", "MEDIA_CANNOT_BE_MODIFIED", "NON_READY_STATE", "NON_READY_MEDIA")


class Media:
    """The images of one shop's products."""

    def __init__(
        self, client: Client, articles: Articles, outside: Outside, memory: Memory, pictures: Pictures, pace: Pace
    ) -> None:
        self._client = client
        self._articles = articles
        self._outside = outside
        self._memory = memory
        self._pictures = pictures
        self._pace = pace

    async def all_of(self, node: Json) -> None:
        """Read on what a product's node holds of its media, until it holds them all."""
        media = node["media"]
        while media["pageInfo"]["hasNextPage"]:
            more = await self._page(node["id"], media["pageInfo"]["endCursor"])
            media["nodes"] += more["nodes"]
            media["pageInfo"] = more["pageInfo"]

    async def _page(self, product: str, after: str | None) -> Json:
        data = await self._client.run(documents.MEDIA, {"product": product, "first": _PAGE, "after": after})
        if data.get("product") is None:  # gone in this moment: it shows nothing
            return {"nodes": [], "pageInfo": {"hasNextPage": False}}
        page: Json = data["product"]["media"]
        return page

    async def bring(self, node: Json, images: Sequence[Mapping[str, Any]]) -> None:
        """Let the product of this node, whose media are all read, show these images. Raises StoreError, Refused and
        NotYet; what was done before stays done."""
        product, want = number_of(node["id"]), wanted(images)
        have: dict[str, Medium] = {}
        gone: list[Medium] = []
        marks = {image.mark for image in want}
        for medium in ours(product, node["media"]["nodes"]):
            if medium.mark in marks and medium.mark not in have:
                have[medium.mark] = medium
            else:
                gone.append(medium)
        new = await self._files(product, [image for image in want if image.mark not in have])
        changes = [{"id": new[i.mark], "alt": i.alt, "referencesToAdd": [node["id"]]} for i in want if i.mark in new]
        changes += [{"id": have[i.mark].id, "alt": i.alt} for i in want if i.mark in have and have[i.mark].alt != i.alt]
        async with self._articles.alone([product]):
            if changes:
                await self._write(documents.FILE_UPDATE, "fileUpdate", changes)
            if gone:
                self._memory.forget(_KIND, [file_name(product, medium.mark) for medium in gone])
                await self._write(documents.FILE_DELETE, "fileDelete", [medium.id for medium in gone])
            if changes or gone:
                node["media"] = await self._page(node["id"], None)
                await self.all_of(node)
            job = await self._sort(node, product, want)
        if job is not None:
            await job_ended(self._client, job, ORDERED_WITHIN, self._pace)
            node["media"] = await self._page(node["id"], None)
            await self.all_of(node)
        if [(one.mark, one.alt) for one in ours(product, node["media"]["nodes"])] != [(i.mark, i.alt) for i in want]:
            raise NotYet("the shop does not show the images in their order and with their captions yet")

    async def _write(self, document: str, field: str, files: Sequence[Any]) -> None:
        data = await self._client.run(document, {"files": list(files)})
        faults = faults_of(self._client.shape(data.get(field), dict, "what became of the files"))
        if faults:
            raise _verdict(faults[0])

    async def _sort(self, node: Json, product: str, want: Sequence[Image]) -> Any:
        """The shop's job that brings the images into their order; None where they are in it."""
        shown = {medium.mark: medium.id for medium in ours(product, node["media"]["nodes"])}
        if lacking := [image.mark for image in want if image.mark not in shown]:
            raise NotYet(f"the shop does not show {len(lacking)} of {len(want)} images yet")
        steps = moves([one["id"] for one in node["media"]["nodes"]], [shown[image.mark] for image in want])
        if not steps:
            return None
        data = await self._client.run(documents.MEDIA_ORDER, {"product": node["id"], "moves": steps})
        payload = self._client.shape(data.get("productReorderMedia"), dict, "what became of the order of the images")
        if faults := faults_of({"userErrors": payload["mediaUserErrors"]}):
            raise _verdict(faults[0])
        return payload["job"] or {"done": True}

    # -- files

    async def _files(self, product: str, images: Sequence[Image]) -> dict[str, str]:
        """Files of these images by mark, all of them ready. One that the shop has is taken, the others are made."""
        names = {file_name(product, image.mark): image for image in images}
        known = dict(await self._memory.get(_KIND, names))
        doubted = [name for name, value in known.items() if value == _BEGUN]
        for name in doubted:
            del known[name]
        known |= await self._found(product, doubted)
        ids = {image.mark: known[name] for name, image in names.items() if name in known}
        for name, image in names.items():
            if name not in known:
                ids[image.mark] = await self._made(product, name, image)
        await self._ready(ids, {image.mark: name for name, image in names.items()})
        return ids

    async def _found(self, product: str, names: Sequence[str]) -> dict[str, str]:
        """The files that have these names; the shop's search may be a little behind. While a file is not ready it shows no
        name, so that each name is asked for alone."""
        found: dict[str, str] = {}
        for name in names:
            query = " OR ".join(term("filename", name + suffix) for suffix in ("", *SUFFIXES.values()))
            async for file in self._articles.pages(documents.FILES_FIND, "files", query, size=10):
                mark = mark_in(product, file)
                if not file.get("image") or (mark is not None and file_name(product, mark) == name):
                    found[name] = file["id"]
        return found

    async def _made(self, product: str, name: str, image: Image) -> str:
        """A new file, or the one that has the name already: a former answer was lost."""
        try:
            async with self._pictures.open(image.source) as picture:
                suffix = SUFFIXES.get(picture.media_type)
                if suffix is None:
                    raise Refused(f"an image is {picture.media_type}, which has no place in the shop")
                staged = await self._outside.upload(
                    "IMAGE", name + suffix, picture.media_type, picture.size, picture.chunks
                )
        except StoreError as error:
            if error.where.startswith("store."):
                raise
            if error.retry is Retry.NEVER:
                raise Refused(error.message, error.code) from error
            raise NotYet(error.message) from error
        file = {
            "originalSource": staged.address, "filename": name + suffix, "alt": image.alt, "contentType": "IMAGE",
            "duplicateResolutionMode": "RAISE_ERROR",
        }  # fmt: skip
        self._memory.put(_KIND, {name: _BEGUN})
        data = await self._client.run(documents.FILE_CREATE, {"files": [file]})
        payload = self._client.shape(data.get("fileCreate"), dict, "what became of the file")
        faults = faults_of(payload)
        if faults and faults[0].code == "FILENAME_ALREADY_EXISTS":
            return await self._taken(product, name)
        if faults:
            self._memory.forget(_KIND, [name])
            raise _verdict(faults[0])
        id_: str = payload["files"][0]["id"]
        self._memory.put(_KIND, {name: id_})
        return id_

    async def _taken(self, product: str, name: str) -> str:
        found = await self._found(product, [name])
        if name not in found:
            raise NotYet(f"the shop has a file {name} and does not find it yet")
        self._memory.put(_KIND, found)
        return found[name]

    async def _ready(self, ids: Mapping[str, str], names: Mapping[str, str]) -> None:
        """Wait until the shop has processed the files. What it could not process goes, so that its name is free."""
        if not ids:
            return

        async def look() -> dict[str, Json | None] | None:
            nodes = await self._articles.nodes(list(ids.values()), documents.FILES_READ, {})
            files = dict(zip(ids, nodes, strict=True))
            waits = [mark for mark, file in files.items() if file and file["fileStatus"] in ("UPLOADED", "PROCESSING")]
            return None if waits else files

        try:
            files = await ended(look, READY_WITHIN, self._pace)
        except TimeoutError:
            raise NotYet(f"the shop has not processed the images within {READY_WITHIN:g} s") from None
        lost = [mark for mark, file in files.items() if file is None]
        failed = {mark: file for mark, file in files.items() if file and file["fileStatus"] != "READY"}
        if not lost and not failed:
            return
        self._memory.forget(_KIND, [names[mark] for mark in (*lost, *failed)])
        if failed:
            await self._write(documents.FILE_DELETE, "fileDelete", [ids[mark] for mark in failed])
            errors = [error for file in failed.values() for error in file["fileErrors"]]
            if any(error["code"] == "DUPLICATE_FILENAME_ERROR" for error in errors):
                self._memory.put(_KIND, {names[mark]: _BEGUN for mark in failed})
                raise NotYet("the shop has the file of an image already; it is looked for")
            said = errors[0]["message"] if errors else "no reason given"
            raise Refused(f"the shop could not process an image: {said}")
        raise NotYet("a file of an image is gone from the shop; it is made again")


async def job_ended(client: Client, job: Any, seconds: float, pace: Pace) -> None:
    """Wait for a job of the shop. Raises NotYet when it takes longer."""

    async def look() -> bool | None:
        data = await client.run(documents.JOB, {"id": job["id"]})
        return True if data.get("job") is None or data["job"]["done"] else None

    if not job or job["done"]:
        return
    try:
        await ended(look, seconds, pace)
    except TimeoutError:
        raise NotYet(f"the shop has not ended its work within {seconds:g} s") from None


def _verdict(fault: Fault) -> Refused | NotYet:
    return NotYet(fault.message) if fault.code in _LATER else Refused(fault.message)
