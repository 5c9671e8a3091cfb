"""What tests of several sources share."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import ThreadingHTTPServer

import pytest
from strangers import Web


@pytest.fixture
def web():
    Web.hits, Web.hosts, Web.mended = Counter(), [], False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.handle_error = lambda *_: None  # a client that hangs up on purpose is no error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
