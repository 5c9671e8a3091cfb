"""Tables that somebody else wrote, record by record: CSV, TSV, JSON lines and Parquet.

    for record in read_records("metadata.csv"):
        record.facts["text"]

Nothing in such a file raises but the file itself (`DatasetError`): a line that cannot be read is a
record with a `problem`. A field keeps the bytes it was written in where they are no UTF-8, so that one
decoder (components/dataset/captions/text.py) judges them all. A name that comes twice in a header has both values,
as a list. A list without a header line (its first line holds a URL) gets the columns `url` and `caption`.

Quotes: a quoted field may hold the delimiter and line ends. Where a quote is never closed, or closes in
the middle of a field, it is a character like any other and its line stands alone. In a TSV a line that has
all its fields stands alone in any case.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.captions.text import as_json, decode_text, marked_encoding, one_line, parse_json
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.sources.folder import suffix_of
from pairwright.components.errors import DatasetError, PairwrightError

RECORD_LIMIT = 16 << 20  # characters of a line or a quoted field; a longer one is a record with a problem
LINES_OF_A_FIELD = 1000
BATCH_ROWS = 64
JSON_LINES = ("jsonl", "ndjson")
DELIMITERS = {"csv": ",", "tsv": "\t", "txt": "\t"}
TABLES = (*JSON_LINES, "csv", "tsv", "parquet")
_URL = re.compile(r"\s*[\"']?https?://", re.I)

csv.field_size_limit(max(csv.field_size_limit(), RECORD_LIMIT))


@dataclass(frozen=True)
class Record:
    """One record of a table.

    Attributes:
        number: of its first line, or of its row, from 1.
        facts: its fields.
        problem: why it could not be read, or None.
        line: the line itself, where it is JSON.
    """

    number: int
    facts: dict[str, Any]
    problem: str | None = None
    line: bytes | None = None

    @property
    def raw(self) -> bytes:
        """The line itself (JSON), or the fields as JSON."""
        return as_json(_readable(self.facts)) if self.line is None else self.line


def read_records(path: str, columns: Sequence[str] | None = None) -> Generator[Record]:
    """The records of a table, in order; of a Parquet only `columns`, if given.

    Raises:
        DatasetError: the file is no such table, damaged, or cannot be read.
    """
    with reading(path), storage.open_read(path) as stream:
        form = suffix_of(path)
        if form == "parquet":
            yield from _parquet(stream, columns)
            return
        lines = _Lines(stream)
        try:
            yield from _json_lines(lines) if form in JSON_LINES else _delimited(lines, DELIMITERS.get(form, ","))
        finally:
            lines.detach()


def column_names(path: str, looked_at: int = 100) -> list[str]:
    """The columns of a table: a Parquet's schema, else the fields of its first records.

    Raises:
        DatasetError: as `read_records`.
    """
    if suffix_of(path) == "parquet":
        with reading(path), storage.open_read(path) as stream:
            return list(pq.read_schema(stream).names)
    return list(dict.fromkeys(name for record in first_records(path, looked_at) for name in record.facts))


def first_records(path: str, count: int) -> list[Record]:
    """The first records of a table."""
    with closing(read_records(path)) as records:
        return list(itertools.islice(records, count))


def text_field(value: Any) -> str | None:
    """A field that names something (a file, a URL) as text; None where it holds none."""
    if isinstance(value, bytes):
        value = decode_text(value).text
    return value if isinstance(value, str) and value else None


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Whatever a reader of somebody else's file raises is one line that names the file."""
    try:
        yield
    except PairwrightError:
        raise
    except Exception as error:
        reason = one_line(str(error)) or type(error).__name__
        raise DatasetError(f"{path} cannot be read ({reason}); mend or remove it, or fetch it again") from None


def plain_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """A batch's rows as Python values; a text that is no UTF-8 as its bytes, a value Python cannot hold as None."""
    columns = {name: _plain_column(batch.column(number)) for number, name in enumerate(batch.schema.names)}
    return [{name: values[row] for name, values in columns.items()} for row in range(batch.num_rows)]


def _plain_column(array: pa.Array) -> list[Any]:
    try:
        return list(array.to_pylist())
    except Exception:  # text that is no UTF-8, a date beyond Python's calendar
        return [_plain_value(value) for value in array]


def _plain_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return value.as_buffer().to_pybytes() if hasattr(value, "as_buffer") else None
    except Exception:
        return None


def _parquet(stream: IO[bytes], columns: Sequence[str] | None) -> Iterator[Record]:
    number = 0
    for batch in pq.ParquetFile(stream).iter_batches(BATCH_ROWS, columns=columns):
        for facts in plain_rows(batch):
            number += 1
            yield Record(number, facts)


class _Lines:
    """Lines of a text file, with their ends, that may be given back; `number` is the last one's."""

    def __init__(self, stream: IO[bytes]) -> None:
        encoding = marked_encoding(stream.read(4)) or "utf-8"
        stream.seek(0)
        # Bytes that are no UTF-8 go through as surrogates, and come out again as the bytes they were.
        errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
        self._text = io.TextIOWrapper(stream, encoding, errors, newline="")
        self._back: list[str] = []
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """Raises StopIteration at the end; a line beyond RECORD_LIMIT comes back cut to it, without its end."""
        self.number += 1
        if self._back:
            return self._back.pop()
        line = self._text.readline(RECORD_LIMIT)
        if not line:
            raise StopIteration
        if len(line) >= RECORD_LIMIT and not line.endswith(("\n", "\r")):
            while (rest := self._text.readline(RECORD_LIMIT)) and not rest.endswith(("\n", "\r")):
                pass
        return line

    def detach(self) -> None:
        """Leave the stream to whoever opened it."""
        self._text.detach()

    def give_back(self, lines: list[str]) -> None:
        self._back += reversed(lines)
        self.number -= len(lines)


def _too_long(line: str) -> bool:
    return len(line) >= RECORD_LIMIT


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _field(text: str) -> str | bytes:
    """A field as text, or as its bytes where they were no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _bytes_of(text)
    return text


def _json_lines(lines: _Lines) -> Iterator[Record]:
    for line in lines:
        if not line.strip():
            continue
        raw = _bytes_of(line.rstrip("\r\n"))
        if _too_long(line):
            yield Record(lines.number, {}, f"line {lines.number} is longer than {RECORD_LIMIT} characters", b"")
            continue
        try:
            facts = parse_json(raw)
        except ValueError:
            facts = None
        if isinstance(facts, dict):
            yield Record(lines.number, facts, None, raw)
        else:
            yield Record(lines.number, {}, f"line {lines.number} is no JSON object", raw)


@dataclass
class _Form:
    """How a delimited file is written."""

    delimiter: str
    spaced: bool = False  # a space after each delimiter
    names: list[str] = field(default_factory=list)


def _delimited(lines: _Lines, delimiter: str) -> Iterator[Record]:
    head = next((line for line in lines if line.strip()), None)
    if head is None:
        return
    form = _form_of(head, delimiter)
    fields = _split(head, lines, form)
    if any(_URL.match(name) for name in fields):
        form.names = _names_without_header(fields)
        lines.give_back([head])
    else:
        form.names = [name.strip() for name in fields]
    for line in lines:
        if line.strip():
            yield _record(line, lines, form)


def _form_of(head: str, usual: str) -> _Form:
    """The usual delimiter, unless the first line has none of it and another instead."""
    others = [one for one in (",", ";", "\t", "|") if one in head]
    plain = usual if usual in head or not others or _URL.match(head) else max(others, key=head.count)
    return _Form(plain, spaced=re.search(re.escape(plain) + r" +\S", head) is not None)


def _names_without_header(fields: list[str]) -> list[str]:
    """Names of a list's columns whose first line is a record already: the URLs', and the one beside it."""
    names = ["url" if _URL.match(value) else f"column_{number}" for number, value in enumerate(fields)]
    return [name if name == "url" or len(fields) != 2 else "caption" for name in names]


def _record(line: str, lines: _Lines, form: _Form) -> Record:
    number = lines.number
    if _too_long(line):
        return Record(number, {}, f"line {number} is longer than {RECORD_LIMIT} characters", b"")
    fields = _split(line, lines, form)
    facts: dict[str, Any] = {}
    for name, text in zip(form.names, fields, strict=False):
        value = _field(text)
        if name not in facts:
            facts[name] = value
        else:
            facts[name] = [*(facts[name] if isinstance(facts[name], list) else [facts[name]]), value]
    surplus = len(fields) - len(form.names)
    problem = f"line {number} has {len(fields)} fields, the header names {len(form.names)}" if surplus > 0 else None
    return Record(number, facts, problem)


def _readable(value: Any) -> Any:
    """Fields as texts, those that were no UTF-8 with U+FFFD."""
    if isinstance(value, dict):
        return {name: _readable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return decode_text(value).text if isinstance(value, bytes) else value


def _split(line: str, lines: _Lines, form: _Form) -> list[str]:
    """The fields of the record that begins with `line`; what more of the file it takes is taken from `lines`."""
    alone = _fields_of_a_line(line, form)
    if '"' not in line or (form.delimiter == "\t" and len(alone) == len(form.names)):
        return alone
    taken: list[str] = []

    def rest() -> Iterator[str]:
        yield line
        size = len(line)
        for more in lines:
            taken.append(more)
            size += len(more)
            if len(taken) > LINES_OF_A_FIELD or size > RECORD_LIMIT:
                return
            yield more

    try:
        fields = next(csv.reader(rest(), delimiter=form.delimiter, skipinitialspace=form.spaced, strict=True))
    except (csv.Error, StopIteration):
        fields = []
    if not fields or (taken and form.names and len(fields) != len(form.names)):
        lines.give_back(taken)
        return alone
    return fields


def _fields_of_a_line(line: str, form: _Form) -> list[str]:
    fields = line.rstrip("\r\n").split(form.delimiter)
    return [_unquoted(one.lstrip(" ") if form.spaced else one) for one in fields]


def _unquoted(text: str) -> str:
    inner = text[1:-1]
    whole = len(text) >= 2 and text[0] == text[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if whole else text
