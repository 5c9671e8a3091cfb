"""`pairwright serve`."""

from __future__ import annotations

import signal

import click


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
def command(port: int, host: str, api_key_file: str | None, workers: int, workspace: str | None) -> None:
    """Serve the champion's Bento until Ctrl-C: embed, score, classify, search, lineage, and a page.

    \b
    Examples:
      pairwright serve                       then open http://127.0.0.1:3000
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
    bento = champion_bento(environment)
    listening_socket(host, port).close()  # a busy port is said in one line; BentoML's server takes it next
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
