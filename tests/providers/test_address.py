"""Where no provider is, in every spelling, and nothing leads there: names, redirects, answers that change."""

from __future__ import annotations

import asyncio
import socket

import pytest

from interlock.config import Document, from_document
from interlock.errors import ConfigError, ProviderError, Unreachable
from interlock.providers import OpenAI
from interlock.providers.address import forbidden, literal
from interlock.providers.http import Client

SPELLINGS = (
    "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "2002:a9fe:a9fe::",
    "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "224.0.0.1", "0.0.0.0", "::",
)  # fmt: skip


@pytest.mark.parametrize("address", SPELLINGS)
def test_forbidden(address: str) -> None:
    assert literal(address)
    assert forbidden(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "fd12::1", "1.1.1.1"])
def test_permitted(address: str) -> None:
    assert not forbidden(address)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]"])
def test_the_configuration_is_refused_unless_it_insists(host: str) -> None:
    def document(**more: object) -> Document:
        provider = {"kind": "openai", "base_url": f"http://{host}/v1", **more}
        return Document({"providers": {"p": provider}, "candidates": [{"name": "a", "provider": "p", "model": "m"}]})

    with pytest.raises(ConfigError, match="link_local: true"):
        from_document(document())
    assert from_document(document(link_local=True))


@pytest.mark.parametrize("host", ["metadata.test", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376"])
async def test_a_name_that_leads_there_is_not_followed(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public address beside it does not help: the name may mean either. Odd spellings are the resolver's to read."""
    genuine = socket.getaddrinfo

    def answer(name: str, *rest: object, **more: object) -> object:
        if name != "metadata.test":
            return genuine(name, *rest, **more)  # type: ignore[arg-type]
        return [*genuine("127.0.0.1", 80), *genuine("169.254.169.254", 80)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    client = Client(f"http://{host}/v1")
    with pytest.raises(Unreachable, match="no provider has"):
        await client.send(client.endpoint("POST", "/x", {}))


async def test_a_name_is_asked_for_once_a_connection(serve, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """The address that was looked at is the one that is connected to: a name whose meaning changes gains nothing."""

    async def once(peer):  # type: ignore[no-untyped-def]
        await peer.receive()
        await peer.answer(b"{}")

    server, asked = await serve(once), []
    genuine = socket.getaddrinfo

    def changing(name: str, *rest: object, **more: object) -> object:
        if name == "changing.test":
            asked.append(name)
            name = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return genuine(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    client = Client(f"http://changing.test:{server.port}")
    assert (await client.send(client.endpoint("POST", "/x", {}))).status == 200
    await asyncio.sleep(0.05)
    with pytest.raises(Unreachable, match="no provider has"):
        await client.send(client.endpoint("POST", "/x", {}))
    assert len(asked) == 2


async def test_a_redirect_is_not_followed(serve, call) -> None:  # type: ignore[no-untyped-def]
    async def elsewhere(peer):  # type: ignore[no-untyped-def]
        await peer.receive()
        await peer.answer(b"", "307 Temporary Redirect", "location: http://169.254.169.254/latest/meta-data\r\n")

    server = await serve(elsewhere)
    with pytest.raises(ProviderError, match="redirect is not followed"):
        [chunk async for chunk in OpenAI(server.url).send(call())]
    assert server.connections == 1
