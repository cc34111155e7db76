"""Images out of the ERP's database."""

from __future__ import annotations

import hashlib

import pytest

from daemon.config.entity import Images
from daemon.erp import Erp
from daemon.errors import StoreError
from daemon.pictures import PIECE, Gallery
from tests.conftest import Database

pytestmark = pytest.mark.newest

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * (3 * PIECE // 256) + b"end"


async def test_an_image_in_a_bytea_column_is_read_in_pieces_and_a_wrong_hash_is_told(database: Database) -> None:
    connection = await database.connect()
    digest = hashlib.sha256(JPEG).hexdigest()
    await connection.execute("create table picture (sha256 text primary key, data bytea)")
    await connection.execute("insert into picture values ($1, $2), ($3, $2)", digest, JPEG, "0" * 64)
    erp = Erp(database.dsn, connections=2, statement_timeout_s=10)
    await erp.open()
    source = Images(sql="select data from picture where sha256 = any($1)")
    gallery = Gallery([("entity.content.images.sql", source)], erp)
    try:
        async with gallery.open({"sha256": digest}) as picture:
            pieces = [piece async for piece in picture.chunks]
        assert b"".join(pieces) == JPEG
        assert max(map(len, pieces)) <= PIECE
        assert (picture.media_type, picture.size, picture.sha256) == ("image/jpeg", len(JPEG), digest)
        for wrong, code in (("0" * 64, "E-PICTURE-HASH"), ("1" * 64, "E-PICTURE-MISSING")):
            with pytest.raises(StoreError) as told:
                async with gallery.open({"sha256": wrong}):
                    pass
            assert told.value.code == code
    finally:
        await gallery.close()
        await erp.close()
