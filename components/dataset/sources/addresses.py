"""Which network addresses a downloader may speak to: public ones only.

A list of URLs comes from strangers. A name in it may resolve to this machine, to its network or to
a cloud's metadata service, and may resolve differently the next time it is asked. So a name is
resolved once, every address it has is checked, and the connection goes to the address that was
checked, not to the name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddress(Exception):
    """A host that is not on the public network."""


def is_public(address: Address) -> bool:
    """Whether it is a public unicast address, looking through every way IPv6 wraps IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        wrapped = [one for one in inner if one is not None]
        if wrapped:
            return all(is_public(one) for one in wrapped)
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def resolve(host: str, port: int, allow_private: bool) -> str:
    """The checked address to connect to for a host.

    Raises:
        PrivateAddress: any of the host's addresses is private, loopback, link-local or otherwise not public.
        OSError: the name does not resolve.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses:
        raise OSError(f"{host} has no address")
    if not allow_private:
        for text in addresses:
            if not is_public(ipaddress.ip_address(text.partition("%")[0])):
                raise PrivateAddress(text)
    return addresses[0]
