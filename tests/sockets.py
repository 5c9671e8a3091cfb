"""Who listens where: the sockets of processes that a test started."""

from __future__ import annotations

import contextlib
import ipaddress


def listening(*pids: int) -> dict[str, set[str]]:
    """Addresses that these processes (this one without any) and their descendants listen on, by process name."""
    import psutil

    found: dict[str, set[str]] = {}
    for root in [psutil.Process(pid) for pid in pids] or [psutil.Process()]:
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                for connection in process.net_connections("inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        found.setdefault(process.name(), set()).add(connection.laddr.ip)
    return found


def outside_loopback(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Those of them that another machine could reach."""
    beyond = {name: {one for one in addresses if not _is_loopback(one)} for name, addresses in found.items()}
    return {name: addresses for name, addresses in beyond.items() if addresses}


def _is_loopback(address: str) -> bool:
    """127.0.0.1, ::1, and the first as a socket for both kinds writes it: ::ffff:127.0.0.1."""
    return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback
