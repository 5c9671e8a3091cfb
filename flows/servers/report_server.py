"""The workspace's reports over HTTP, so that a link in Prefect's UI opens them.

    python -m pairwright.flows.servers.report_server WORKSPACE PORT

Loopback only, behind the guard of all our pages; nothing but `reports/` is served, and nothing is listed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"


def make_app(workspace: str) -> Any:
    """`/<digest>/report.html`, and at `/` where they are."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    from pairwright.components.guard import Guard, names_of

    folder = Path(workspace) / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    routes = [
        Route("/", lambda request: PlainTextResponse("The reports of this workspace; Prefect's runs link to them.")),
        Mount("/", StaticFiles(directory=folder)),
    ]
    pages = AnyReport()
    return Starlette(routes=routes, middleware=[Middleware(Guard, names=names_of(LOOPBACK), pages=pages)])


class AnyReport(frozenset[str]):
    """The pages that a link elsewhere, in Prefect's UI, may open: every report."""

    def __contains__(self, path: object) -> bool:
        return str(path) == "/" or str(path).endswith("/report.html")


def main() -> None:
    import uvicorn

    workspace, port = sys.argv[1:]
    uvicorn.run(make_app(workspace), host=LOOPBACK, port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
