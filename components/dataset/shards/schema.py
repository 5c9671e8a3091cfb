"""The sidecar: what is known of each pair of a shard, as Arrow schemas with a version.

One row a pair, in shard order. Media are byte ranges in the shard's tar, so that any picture is
read without unpacking; captions carry their source, and the original alt-text is never
overwritten. `error` is the reason why a row is no usable pair (a duplicate key, a failed
download); such a row is counted as failed and is never scored.
"""

from __future__ import annotations

import pyarrow as pa

from pairwright.components.errors import ColumnError

SIDECAR_VERSION = 3

MEDIA = pa.struct(
    [
        ("role", pa.string()),  # "image": the picture of the pair; "speech": a spoken description
        ("kind", pa.string()),  # image | audio | frame
        ("ordinal", pa.int32()),
        ("member", pa.string()),  # the tar member's name
        ("offset", pa.int64()),  # of its first byte in the tar
        ("size", pa.int64()),  # bytes
        ("crc32", pa.uint32()),  # of its bytes; null in a sidecar of version 1
        ("t0", pa.float64()),  # seconds; null unless timed
        ("t1", pa.float64()),
    ]
)
CAPTION = pa.struct(
    [
        ("source", pa.string()),  # alt | keywords | translation | file_name | folder | a step's name
        ("ordinal", pa.int32()),
        ("text", pa.string()),
        ("lang", pa.string()),  # BCP 47, null if unknown
        ("producer", pa.string()),  # who or what wrote it
    ]
)
LABEL = pa.struct([("name", pa.string()), ("value", pa.string())])
REGION = pa.struct(
    [
        ("box", pa.list_(pa.float32(), 4)),  # x0, y0, x1, y1 as shares of the picture's width and height, 0..1
        ("label", pa.string()),
        ("score", pa.float32()),  # of whoever found it, 0..1; null where a person drew it
        ("caption", pa.int32()),  # ordinal of the caption that speaks of it, null if none does
        ("source", pa.string()),  # who or what drew it
    ]
)

SIDECAR = pa.schema(
    [
        ("key", pa.string()),
        ("media", pa.list_(MEDIA)),
        ("captions", pa.list_(CAPTION)),
        ("labels", pa.list_(LABEL)),  # facts that are not captions: ("category", "animals")
        ("regions", pa.list_(REGION)),  # null where nobody looked for any
        ("licence", pa.string()),
        ("author", pa.string()),
        ("origin", pa.string()),  # URL, or path inside the source
        ("group", pa.string()),  # pairs that must not be split between train and test
        ("meta", pa.binary()),  # the pair's metadata file, byte for byte
        ("error", pa.string()),  # why this row is no usable pair; null for a good one
    ],
    metadata={"schema_version": str(SIDECAR_VERSION)},
)


def check_version(metadata: dict[bytes, bytes] | None, known: int, path: str) -> int:
    """The file's schema version.

    Raises:
        ColumnError: a newer release wrote it.
    """
    version = int((metadata or {}).get(b"schema_version", b"0"))
    if version > known:
        raise ColumnError(
            f"{path} has schema version {version}, this release reads up to {known}; "
            "upgrade pairwright, or delete the file to have it made again"
        )
    return version


def migrate_sidecar(table: pa.Table, version: int) -> pa.Table:
    """A sidecar of an older version as one of today: columns it lacks are null.

    Version 0 (before the first release) had no `labels`, `group` and `author`; version 1 no `crc32` of a
    medium, so such a shard's tar is checked as a whole (components/dataset/dataset.py); version 2 no `regions`.
    """
    if version == SIDECAR_VERSION and table.schema.names == SIDECAR.names:
        return table
    arrays = [
        table[field.name].cast(field.type) if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in SIDECAR
    ]
    return pa.table(arrays, schema=SIDECAR)
