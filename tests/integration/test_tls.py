"""TLS on the way to the database: a real handshake with a server that has a certificate, or has none."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingest.clock import SystemClock
from ingest.errors import ConfigError, StoreError, StoreUnavailable
from ingest.store.postgres import PostgresSink
from ingest.store.sessions import connected

DEADLINE_S = 30.0
_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
_NOW = datetime.fromtimestamp(SystemClock().wall_ns() // 1_000_000_000, UTC)


class Authority:
    """Who signs certificates; `file` is what others trust it by."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = _certificate(self._name, self._name, self._key.public_key())
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._signed(own))

    def _signed(self, made: x509.CertificateBuilder) -> bytes:
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, *hosts: x509.GeneralName) -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = _certificate(subject, self._name, key.public_key())
        if hosts:
            made = made.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        certificate, private = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        certificate.write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        private.chmod(0o600)
        return certificate, private


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - timedelta(days=1))
        .not_valid_after(_NOW + timedelta(days=1))
    )


class Door:
    """Stands before a server and speaks TLS for it, as PostgreSQL does; without a context it refuses to."""

    def __init__(self, target_url: str, context: ssl.SSLContext | None) -> None:
        self._target = urlsplit(target_url)
        self._context = context
        self.client_names: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                first = await reader.readexactly(8)
                if first == _SSL_REQUEST:
                    first = b""
                    writer.write(b"N" if self._context is None else b"S")
                    if self._context is not None:
                        await writer.start_tls(self._context)
                        self._note_client(writer)
                await self._pass_on(first, reader, writer)
        except (OSError, EOFError, TimeoutError):
            pass  # the client has seen enough
        finally:
            writer.transport.abort()

    def _note_client(self, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("peercert")
        if certificate:
            self.client_names += [
                value for ((name, value),) in certificate["subject"] if name == "commonName"
            ]

    async def _pass_on(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        back_reader, back_writer = await self._open_target()
        back_writer.write(first)
        try:
            async with asyncio.TaskGroup() as group:
                ways = [
                    group.create_task(_pump(reader, back_writer)),
                    group.create_task(_pump(back_reader, writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            back_writer.transport.abort()

    async def _open_target(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if folder := parse_qs(self._target.query).get("host"):
            return await asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.5432")
        return await asyncio.open_connection(self._target.hostname, self._target.port or 5432)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


class Place(NamedTuple):
    """A server with TLS: what it is trusted by, and how its URL is made."""

    door: Door
    authority: Authority
    url: Callable[..., str]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who has signed the server's certificate."""
    return Authority(tmp_path, "authority")


@asynccontextmanager
async def opened(url: str, context: ssl.SSLContext | None, authority: Authority) -> AsyncIterator[Place]:
    door = Door(url, context)
    server = await asyncio.start_server(door.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]

    def made(host: str = "127.0.0.1", **query: object) -> str:
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql://{user}@{host}:{port}{parts.path}?{words}"

    try:
        yield Place(door, authority, made)
    finally:
        server.close()


@pytest.fixture
async def place(migrated_url: str, authority: Authority) -> AsyncIterator[Place]:
    """A database that is reached by TLS, whose certificate is for 127.0.0.1."""
    certificate = authority.issue("server", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.load_cert_chain(*certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    async with opened(migrated_url, context, authority) as there:
        yield there


async def answer(url: str) -> int:
    async with connected(url) as connection:
        return int(await connection.fetchval("SELECT 1"))


async def refusal(attempt: Awaitable[object]) -> StoreError:
    with pytest.raises(StoreUnavailable) as raised:
        await attempt
    return raised.value


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_server_that_is_trusted_is_written_to(place: Place, mode: str) -> None:
    """By a single connection and by a pool."""
    url = place.url(sslmode=mode, sslrootcert=place.authority.file)

    assert await answer(url) == 1
    async with PostgresSink.opened(url, connections=2) as sink:
        await sink.check_schema()


async def test_server_of_another_authority_is_refused(place: Place, tmp_path: Path) -> None:
    """Whoever has signed its certificate is not whom we trust."""
    another = Authority(tmp_path, "another")
    for mode in ("verify-ca", "verify-full"):
        error = await refusal(answer(place.url(sslmode=mode, sslrootcert=another.file)))
        assert "the certificate of the database's server is refused" in str(error)


async def test_server_of_another_name_is_refused(place: Place) -> None:
    """verify-full wants the certificate of the host that was asked for, verify-ca any of the authority's."""
    error = await refusal(
        answer(place.url(host="localhost", sslmode="verify-full", sslrootcert=place.authority.file))
    )
    assert "is refused: Hostname mismatch, certificate is not valid for 'localhost'" in str(error)
    trusted = place.url(host="localhost", sslmode="verify-ca", sslrootcert=place.authority.file)
    assert await answer(trusted) == 1


async def test_pool_says_the_same(place: Place, tmp_path: Path) -> None:
    """A shard's connections are refused in the same words."""
    another = Authority(tmp_path, "another")

    async def open_pool() -> None:
        async with PostgresSink.opened(place.url(sslmode="verify-full", sslrootcert=another.file)):
            raise AssertionError("not to be reached")

    assert "the certificate of the database's server is refused" in str(await refusal(open_pool()))


async def test_server_without_tls_is_refused_where_it_is_required(
    migrated_url: str, authority: Authority
) -> None:
    """Nothing is sent in the clear; where TLS is only preferred, it is."""
    async with opened(migrated_url, None, authority) as plain:
        for query in ({"sslmode": "require"}, {"sslmode": "verify-full", "sslrootcert": authority.file}):
            assert "rejected SSL upgrade" in str(await refusal(answer(plain.url(**query))))
        assert await answer(plain.url(sslmode="prefer")) == 1


async def test_clients_certificate_is_shown(place: Place) -> None:
    """With sslcert and sslkey the server learns who comes."""
    certificate, key = place.authority.issue("collector")
    query = {"sslmode": "verify-full", "sslrootcert": place.authority.file}

    assert await answer(place.url(**query)) == 1
    assert place.door.client_names == []
    assert await answer(place.url(**query, sslcert=certificate, sslkey=key)) == 1
    assert place.door.client_names == ["collector"]


async def test_mistakes_in_the_url_are_told_before_anything_is_tried(place: Place) -> None:
    """A file that is not there, a word that nobody knows."""
    with pytest.raises(ConfigError, match="sslrootcert: /nowhere: there is no such file"):
        await answer(place.url(sslmode="verify-full", sslrootcert="/nowhere"))
    with pytest.raises(ConfigError, match="sslmode is none of disable, allow"):
        await answer(place.url(sslmode="verify"))


async def test_server_of_another_kind_is_passed_over(place: Place) -> None:
    """`target_session_attrs` chooses among hosts; that none fits is waited out: a fail-over may go on."""
    assert await answer(place.url(sslmode="require", target_session_attrs="read-write")) == 1
    error = await refusal(answer(place.url(sslmode="require", target_session_attrs="standby")))
    assert "standby" in str(error)
