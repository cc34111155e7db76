"""Encryption to a real server: whom the daemon trusts, and what it says when it does not.

Invariant under test: with `sslmode=verify-full` queries and stream are encrypted, and no byte of a login goes to a server
that cannot prove itself; the refusal has a code and a remedy and shows no secret, at a start, in `doctor` and under way.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import trustme

from daemon.demo.embedded import Cluster
from daemon.demo.installation import supports_tls
from tests.doubles.shop import Shop
from tests.faults.files import own_like
from tests.integration.harness import LATEST, TOKEN, Daemon, erpsyncd
from tests.integration.stage import SMALL_ERP, STOCK, Stage, mapped, sql_connection
from tests.integration.test_bad_input import refused
from tests.waiting import until

SECRET = "geheim-4711"
HOSTS = ("localhost", "127.0.0.1")
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
FOR_TLS_ALONE = "local all all trust\nhostssl all all 127.0.0.1/32 {method}\n"


class Guarded:
    """A server that takes nothing but TLS from the network, and the authority that signs for it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.authority = trustme.CA()
        self.root = folder / "root.crt"
        self.authority.cert_pem.write_to_path(self.root)
        self._folder = folder

    def show(self, certificate: trustme.LeafCert) -> None:
        """New sessions are shown this certificate."""
        for name, content in (
            ("server.crt", b"".join(blob.bytes() for blob in certificate.cert_chain_pems)),
            ("server.key", certificate.private_key_pem.bytes()),
        ):
            file = self.cluster.data_dir / name
            file.touch(mode=0o600)
            file.write_bytes(content)
        own_like(self.cluster.data_dir, self.cluster.data_dir)

    async def admit(self, method: str) -> None:
        """Let sessions in by this method, over TLS alone."""
        (self.cluster.data_dir / "pg_hba.conf").write_text(FOR_TLS_ALONE.format(method=method))
        await self.tell("alter system set ssl = on")
        await self.tell("select pg_reload_conf()")

    async def tell(self, sql: str) -> None:
        """As the superuser, by the socket in the server's own folder."""
        connection = await asyncpg.connect(
            host=str(self.cluster.folder), port=self.cluster.port, user="postgres", password=SECRET, database="postgres"
        )
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def client(self, name: str, authority: trustme.CA | None = None) -> str:
        """Options of a DSN that show a certificate for the role of that name."""
        certificate = (authority or self.authority).issue_cert(common_name=name)
        file = self._folder / f"{name}.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(file)
        file.chmod(0o600)
        return f"&sslcert={file}&sslkey={file}"

    def dsn(self, root: Path | None = None) -> str:
        """As the superuser with a password, who wants to know whom he speaks to."""
        return f"{self.cluster.dsn(password=SECRET)}?sslmode=verify-full&sslrootcert={root or self.root}"


@pytest.fixture
async def guarded(new_cluster: Callable[..., Cluster], server: Path, tmp_path: Path) -> Guarded:
    if not supports_tls(server):
        pytest.skip("this server is built without TLS")
    cluster = await asyncio.to_thread(new_cluster, password=SECRET)
    made = Guarded(cluster, tmp_path)
    made.show(made.authority.issue_cert(*HOSTS))
    await made.tell(SMALL_ERP)
    await made.admit("scram-sha-256")
    return made


@asynccontextmanager
async def running(guarded: Guarded, dsn: str, folder: Path) -> AsyncIterator[Stage]:
    """The daemon with this DSN, first load complete."""
    async with Shop(token=TOKEN) as shop:
        text = mapped(dsn, shop.url, folder / "state.db", STOCK)
        stage = Stage(await sql_connection(dsn), shop, Daemon(folder, text), text, dsn)
        try:
            async with stage.daemon:
                await stage.daemon.until_loaded()
                yield stage
                assert SECRET not in stage.daemon.output()
        finally:
            stage.erp.terminate()


async def sessions(stage: Stage) -> list[tuple[str, bool]]:
    """What the server says of the daemon's sessions: their kind and whether they are encrypted."""
    rows = await stage.erp.fetch(
        "select backend_type, ssl from pg_stat_activity join pg_stat_ssl using (pid) where application_name ~ '^erpsyncd'"
    )
    return [(row[0], row[1]) for row in rows]


async def test_queries_and_stream_are_encrypted_to_a_server_that_proved_itself(
    guarded: Guarded, tmp_path: Path
) -> None:
    async with running(guarded, guarded.dsn(), tmp_path) as stage:
        found = await sessions(stage)
        assert {kind for kind, _ in found} == {"client backend", "walsender"}
        assert all(encrypted for _, encrypted in found)
        await stage.erp.execute("update item set on_hand = 70 where id = 3")
        await stage.until_shown("stock", "A3|default", available=70)
        await guarded.tell(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ '^erpsyncd'"
        )
        await stage.daemon.until_event("erp_back")
        await stage.erp.execute("update item set on_hand = 71 where id = 3")
        await stage.until_shown("stock", "A3|default", available=71)
        await stage.equal()


async def test_doctor_tells_how_far_each_connection_is_to_be_trusted(guarded: Guarded, tmp_path: Path) -> None:
    trusting, strict = guarded.cluster.dsn(password=SECRET), guarded.dsn()
    for dsn, other in ((trusting, strict), (strict, trusting)):
        text = mapped(dsn, "http://127.0.0.1:9/api", tmp_path / "state.db", STOCK)
        (tmp_path / "config.toml").write_text(text.replace("[state]", f'replication_dsn = "{other}"\n[state]', 1))
        told = await erpsyncd("doctor", "-c", tmp_path / "config.toml")
        lines = [line.split("  ", 2)[2].strip() for line in told.output.splitlines() if " tls " in line]
        verified = {trusting: "", strict: ", server verified"}
        assert lines == [f"erp.dsn: encrypted{verified[dsn]}", f"erp.replication_dsn: encrypted{verified[other]}"]


async def test_a_client_certificate_is_the_login_of_queries_and_stream(guarded: Guarded, tmp_path: Path) -> None:
    guarded.authority.cert_pem.write_to_path(guarded.cluster.data_dir / "clients.crt")
    own_like(guarded.cluster.data_dir, guarded.cluster.data_dir)
    await guarded.tell("alter system set ssl_ca_file = 'clients.crt'")
    await guarded.admit("cert")
    mine = guarded.dsn() + guarded.client("postgres")
    async with running(guarded, mine, tmp_path) as stage:
        await stage.erp.execute("update item set on_hand = 70 where id = 3")
        await stage.until_shown("stock", "A3|default", available=70)
        await stage.equal()
    for name, dsn, words in (
        ("none", guarded.dsn(), ("E-SOURCE-LOGIN", "certificate")),
        ("another's name", guarded.dsn() + guarded.client("somebody"), ("E-SOURCE-LOGIN", "certificate")),
        ("another authority", guarded.dsn() + guarded.client("postgres", trustme.CA()), ("E-SOURCE-TLS",)),
    ):
        folder = tmp_path / name
        folder.mkdir()
        await refused(folder, mapped(dsn, "http://127.0.0.1:9/api", folder / "state.db", STOCK), *words)


async def distrust(guarded: Guarded, why: str) -> tuple[str, str]:
    """Make the server one that cannot be trusted; the DSN that finds out, and what it finds."""
    if why == "another authority":
        other = guarded.root.with_name("other.crt")
        trustme.CA().cert_pem.write_to_path(other)
        return guarded.dsn(other), "unable to get local issuer certificate"
    if why == "another host":
        guarded.show(guarded.authority.issue_cert("erp.example"))
    else:
        guarded.show(guarded.authority.issue_cert(*HOSTS, not_after=LONG_AGO))
    await guarded.tell("select pg_reload_conf()")
    return guarded.dsn(), "IP address mismatch" if why == "another host" else "certificate has expired"


async def test_without_authorities_the_option_that_names_them_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where libpq would look for them
    dsn = f"postgresql://me:{SECRET}@127.0.0.1:9/erp?sslmode=verify-full"
    text = mapped(dsn, "http://127.0.0.1:9/api", tmp_path / "state.db", STOCK)
    output = await refused(tmp_path, text, "root.crt", "sslrootcert=FILE", "E-SOURCE-DSN")
    assert "HINT" not in output
    assert SECRET not in output


@pytest.mark.parametrize("place", ["erp.dsn", "erp.replication_dsn"])
@pytest.mark.parametrize("why", ["another authority", "another host", "expired"])
async def test_a_server_that_cannot_prove_itself_is_refused_before_any_login(
    guarded: Guarded, tmp_path: Path, why: str, place: str
) -> None:
    dsn, words = await distrust(guarded, why)
    await refused_everywhere(place, dsn, guarded.cluster.dsn(password=SECRET), tmp_path, words)


@pytest.mark.parametrize("place", ["erp.dsn", "erp.replication_dsn"])
async def test_a_server_that_speaks_no_tls_is_refused_before_any_login(
    new_cluster: Callable[..., Cluster], tmp_path: Path, place: str
) -> None:
    cluster = await asyncio.to_thread(new_cluster, password=SECRET)
    trusting = cluster.dsn(password=SECRET)
    root = tmp_path / "root.crt"
    trustme.CA().cert_pem.write_to_path(root)
    cluster.psql(SMALL_ERP)
    strict = f"{trusting}?sslmode=verify-full&sslrootcert={root}"
    await refused_everywhere(place, strict, trusting, tmp_path, "the ERP's server speaks none")


async def refused_everywhere(place: str, strict: str, trusting: str, folder: Path, words: str) -> None:
    """`run` and `doctor` refuse the strict DSN, which stands at `place`, in these words; the other one is good."""
    text = mapped(strict if place == "erp.dsn" else trusting, "http://127.0.0.1:9/api", folder / "state.db", STOCK)
    text = text.replace("[state]", f'replication_dsn = "{trusting if place == "erp.dsn" else strict}"\n[state]', 1)
    output = await refused(folder, text, f"{place}: ", words, "E-SOURCE-TLS")
    assert SECRET not in output
    connection = await asyncpg.connect(trusting)
    try:
        assert await connection.fetchval("select count(*) from pg_replication_slots") == 0
    finally:
        await connection.close()
    told = await erpsyncd("doctor", "-c", folder / "config.toml")
    assert told.code == 2
    found = [line for line in told.output.splitlines() if line.startswith("FAIL") and f"{place}: " in line]
    assert found, told.output
    for line in found:
        assert "E-SOURCE-TLS" in line
        assert words in line
    assert SECRET not in told.output


async def test_a_certificate_that_expires_under_the_daemon_is_told_and_its_renewal_found(
    guarded: Guarded, tmp_path: Path
) -> None:
    async with running(guarded, guarded.dsn(), tmp_path) as stage:
        erp, stage.erp = stage.erp, await sql_connection(guarded.cluster.dsn(password=SECRET))
        erp.terminate()
        await distrust(guarded, "expired")
        await guarded.tell(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ '^erpsyncd'"
        )
        await stage.erp.execute("update item set on_hand = 70 where id = 3")

        async def said() -> bool:
            status = await stage.daemon.status()
            return status["verdict"] != "FRESH" and "certificate has expired" in str(status)

        await until(said, within=LATEST, what="the status says what is wrong")
        guarded.show(guarded.authority.issue_cert(*HOSTS))
        await guarded.tell("select pg_reload_conf()")
        await stage.until_shown("stock", "A3|default", available=70)
        await stage.daemon.until_event("erp_back")
        assert any(line.get("code") == "E-SOURCE-TLS" for line in stage.daemon.log())
        await stage.equal()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("sslrootcert=/nowhere.crt", "cannot be read (No such file or directory): /nowhere.crt"),
        ("sslkey=/nowhere.key", "cannot be read"),
        ("sslrootcert=system", "is not known here"),
    ],
)
async def test_a_certificate_file_that_is_not_there_is_named(tmp_path: Path, option: str, words: str) -> None:
    """To the driver it would look like a server that is not there, which is waited for."""
    file = tmp_path / "config.toml"
    dsn = f"postgresql://me:{SECRET}@127.0.0.1:9/erp?sslmode=verify-full&{option}"
    file.write_text(mapped(dsn, "http://127.0.0.1:9/api", tmp_path / "state.db", STOCK))
    told = await erpsyncd("config", "check", file)
    assert told.code == 78
    assert f"erp.dsn: {option.split('=')[0]}" in told.output
    assert words in told.output
    assert SECRET not in told.output
