"""Where a provider may be: anywhere but the addresses at which clouds hand their machines credentials.

Who can write a provider's URL, or answer for its name in the DNS, could else have a request sent there and read what
comes back. So names are resolved here, every address is looked at, and the connection goes to one that was looked at.
Private and loopback addresses are permitted: that is where one's own model servers are.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from ..errors import Unreachable

METADATA = frozenset(
    map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
"""Of AWS, Google, Alibaba, Azure and Oracle, beside 169.254.169.254, which is link-local."""


def literal(host: str) -> bool:
    """Whether a URL's host is an address, and not a name."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def forbidden(address: str) -> bool:
    """Whether no provider can have this address: link-local, of a metadata service, multicast or unspecified."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_link_local or found.is_multicast or found.is_unspecified or found in METADATA


async def resolve(host: str, port: int, link_local: bool) -> list[str]:
    """The addresses of `host`, in the system's order. Raises `OSError`, and `Unreachable` if one is forbidden."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
    if not link_local and any(forbidden(address) for address in addresses):
        raise Unreachable(f"{host} has an address that no provider has (link-local, or of a cloud's metadata)")
    return addresses
