"""The process in which filters are worked out: it may take so much memory and so much time, and then it is no more.

    python -m pairwright.components.explore.query_process FOLDER MEMORY_BYTES THREADS

It reads questions from its standard input and answers on its standard output until the input ends; before each
question it says that it is ready, so that its own start takes nobody's time. Memory is bounded by the system
(RLIMIT_DATA: heap and private mappings), since DuckDB's own limit covers its buffers alone; time by an alarm, so
that it ends though the server that asked be gone, and by the server, which kills it first. What has run out of
memory answers for the last time.
"""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import sys
from contextlib import suppress
from typing import Any, BinaryIO

from pairwright.components.explore.filtering import Filtering
from pairwright.components.explore.scratch import scratch_connection
from pairwright.components.filter.rules.sql_functions import functions

SIZES = struct.Struct("<QQ")  # bytes of the JSON, and of what follows it
GRACE_SECONDS = 2  # the server's own alarm comes first
DUCKDB_SHARE = 0.5  # of the memory, for DuckDB's buffers; the rest is for its functions and the interpreter


def send(stream: BinaryIO, said: dict[str, Any], data: bytes = b"") -> None:
    text = json.dumps(said).encode()
    stream.write(SIZES.pack(len(text), len(data)) + text + data)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None where the other side is gone, be it in the middle of one."""
    head = stream.read(SIZES.size)
    if len(head) < SIZES.size:
        return None
    long, more = SIZES.unpack(head)
    text, data = stream.read(long), stream.read(more)
    return (json.loads(text), data) if (len(text), len(data)) == (long, more) else None


def limit_memory(most: int) -> None:
    """Allocations beyond `most` bytes fail from now on. Not on systems without the limit: there time alone bounds."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    folder, memory, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints gets between the answers
    limit_memory(memory)
    filtering = Filtering(scratch_connection(folder, f"{int(memory * DUCKDB_SHARE) >> 20}MB", threads), folder)
    functions()  # DuckDB's catalogue, read before anybody waits for it
    send(answers, {"ready": True})
    while (message := receive(sys.stdin.buffer)) is not None:
        asked, _ = message
        signal.alarm(math.ceil(asked["seconds"]) + GRACE_SECONDS)
        try:
            said, data = filtering.answer(asked)
        except MemoryError:
            said, data = {"memory": True}, b""
        signal.alarm(0)
        send(answers, said, data)
        send(answers, {"ready": True})
        if "memory" in said:
            os._exit(1)  # after a failed allocation nothing here is to be trusted


if __name__ == "__main__":
    main()
