"""`pairwright serve`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pairwright.components.environment import Environment


@click.command("serve")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 to be reached from other machines.")
@click.option(
    "--api-key-file",
    metavar="FILE",
    help="Key that callers must show; or PAIRWRIGHT_API_KEY. Needed to be reached from other machines.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Server processes.")
@click.option("--workspace", metavar="DIR", help="Workspace whose champion is served.")
@click.option(
    "--captioner",
    metavar="FOLDER|STEP",
    help="Captioner of the route `caption`, by itself where there is no champion: a folder, or a step that made one.",
)
@click.option("--tower", metavar="MODEL", help="The captioner's tower, where what it was called leads nowhere here.")
def command(
    port: int,
    host: str,
    api_key_file: str | None,
    workers: int,
    workspace: str | None,
    captioner: str | None,
    tower: str | None,
) -> None:
    """Serve the champion's Bento until Ctrl-C: embed, score, classify, search, caption, lineage, and pages.

    \b
    Examples:
      pairwright serve                       then open http://127.0.0.1:3000
      pairwright serve --captioner captioner
      curl -N localhost:3000/caption -F image=@cat.jpg -F guidance=2
      curl -s localhost:3000/search -H 'content-type: application/json' -d '{"text": "a red car", "k": 3}'
    """
    from pairwright.components.environment import Environment, silence

    silence()
    from pairwright.components.guard import api_key, check_exposure
    from pairwright.components.web_server import listening_socket
    from pairwright.flows.champion import bento_home, champion_bento
    from pairwright.serving.packaging import serve, stop

    key = api_key(api_key_file)
    check_exposure(host, key)
    environment = Environment.load(workspace=workspace)
    listening_socket(host, port).close()  # a busy port is said in one line; BentoML's server takes it next
    bento = bento_of(captioner, tower, environment) if captioner else champion_bento(environment)
    if "behind" in bento:
        click.echo(f"warning: {bento['behind']}", err=True)
    click.echo(f"version {bento['version']} ({bento['tag']}) on http://{host}:{port}", err=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended by `make down` as by Ctrl-C
    server = serve(bento["tag"], port, host, home=bento_home(environment), workers=workers, key=key)
    try:
        code = server.wait()
    except KeyboardInterrupt:
        stop(server)
        code = 0
    raise SystemExit(max(code, 0))


def bento_of(captioner: str, tower: str | None, environment: Environment) -> dict[str, Any]:
    """The Bento that holds this captioner, built now if it is not there yet."""
    from pairwright.flows.captioner_bento import bento_with, captioner_folder
    from pairwright.flows.running.run import model_resolver
    from pairwright.serving.packed_captioner import captioner_to_serve

    folder = captioner_folder(captioner, environment)
    return bento_with(captioner_to_serve(folder, tower, model_resolver(environment)), environment)
