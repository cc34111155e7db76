"""A catalogue with images between an ERP that holds their bytes and a shop that takes uploads, over a kill in the middle.

Invariant: each image is in the shop's library once, however often its document was sent, and every product shows its own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.doubles.vendure import Vendure
from tests.integration.harness import LATEST, Daemon
from tests.integration.stage import grounded, sql_connection
from tests.waiting import until

TOKEN = "shop-secret"
KEYS = 200
IMAGES = 2 * KEYS
SENT = 120.0

ERP = f"""
create table item (id bigint primary key, sku text not null, title text not null, html text not null);
create table picture (sha256 text primary key, item_id bigint not null, position int not null, data bytea not null);
insert into item select n, 'A' || n, 'Title ' || n, repeat('<p>' || md5(n::text) || '</p>', 770)
  from generate_series(1, {KEYS}) n;
create publication erpsyncd for table item, picture;
"""

CONFIG = """
[entity.content]
key_type = "bigint"
sql = '''select i.id as key, i.sku, i.title, i.html as description_html, '{{}}'::json as attributes,
  coalesce((select json_agg(json_build_object('sha256', p.sha256, 'position', p.position) order by p.position)
    from picture p where p.item_id = i.id), '[]'::json) as images
  from item i where i.id = any($1)'''
all_keys = "select id from item where id > $1 order by id limit $2"
watch = [{{ table = "item", key = "id" }}, {{ table = "picture", key = "item_id" }}]
images = {{ sql = "select data from picture where sha256 = any($1)" }}
[batch.texts]
entity = "content"
every = "30d"

[store.main]
adapter = "vendure"
url = "{url}/admin-api"
token = "{token}"
entities = ["content"]
brake = false
rate = {{ per_second = 1000, burst = 1000 }}
options = {{ product_note = "erpContent" }}
"""


def png(number: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + hashlib.sha512(b"%d" % number).digest() * 40


@pytest.mark.newest
@pytest.mark.timeout(300)
async def test_no_image_is_uploaded_twice_over_a_kill_in_a_first_load_and_one_in_a_rebuild(
    database: Database, tmp_path: Path
) -> None:
    erp = await sql_connection(database.dsn)
    await erp.execute(ERP)
    digests = [hashlib.sha256(png(number)).hexdigest() for number in range(IMAGES)]
    await erp.executemany(
        "insert into picture values ($1, $2, $3, $4)",
        [(digests[n], n // 2 + 1, n % 2, png(n)) for n in range(IMAGES)],
    )
    async with Vendure(token=TOKEN) as shop:
        library = shop.products
        products = {f"A{n}": library.add(f"Product {n}") for n in range(1, KEYS + 1)}
        for sku, product in products.items():
            shop.variant(sku, product=product)
        text = grounded(database.dsn, tmp_path / "state.db") + CONFIG.format(url=shop.root, token=TOKEN)
        daemon = Daemon(tmp_path / "daemon", text)

        def wrong() -> list[str]:
            """Products that do not show their text and their two images, in order."""
            found = []
            for n, (sku, id_) in enumerate(products.items()):
                product = library.known[id_]
                shown = [hashlib.sha256(library.files[asset]).hexdigest() for asset in product["assets"]]
                text = product["translations"]["en"]
                if shown != digests[2 * n : 2 * n + 2] or text["name"] != f"Title {n + 1}" or not text["description"]:
                    found.append(sku)
            return found

        async with daemon:
            await until(lambda: len(library.files) > IMAGES // 3, within=SENT, what="a third of the images is there")
            await daemon.kill()
            assert len(wrong()) > KEYS // 3
            await daemon.start()
            await daemon.until_event("ready")
            await until(lambda: not wrong(), within=SENT, every=0.1, what="every product shows what the ERP says")
            assert len(library.files) == IMAGES

            calls = len(shop.calls)
            assert (await daemon.command("batch", "run", "catalogue", "--no-wait")).code == 0
            await until(lambda: len(shop.calls) > calls + 2, within=SENT, what="it is being sent again")
            await daemon.kill()
            await erp.execute("update picture set position = 1 - position where item_id = 7")
            await daemon.start()
            await daemon.until_event("ready")
            digests[12], digests[13] = digests[13], digests[12]

            async def at_rest() -> bool:
                jobs = (await daemon.status())["batches"]
                return not any(one["running"] for one in jobs.values())

            await until(at_rest, within=SENT, every=0.1, what="the rebuild has ended")
            assert (await daemon.command("batch", "run", "texts", within=SENT)).code == 0
            await until(lambda: not wrong(), within=LATEST, every=0.1, what="every product shows what the ERP says")
            assert len(library.files) == IMAGES
            assert not shop.overlaps
        assert TOKEN not in daemon.output()
    await erp.close()
