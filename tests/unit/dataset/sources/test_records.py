"""Tables of others: every line is a record or says why not, and one quote mark swallows nothing."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.sources import records
from pairwright.components.dataset.sources.records import read_records
from pairwright.components.errors import DatasetError


def _read(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(read_records(str(path)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("records")


# What no writer of ours quotes as another would: no delimiter-like header, no lone carriage return.
CELL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL), max_size=6), delimiter=st.sampled_from([",", ";", "|"]))
def test_what_the_csv_module_writes_is_read_back(folder, rows, delimiter):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    found = _read(folder, "a.csv", out.getvalue())
    assert [(one.facts["a"], one.facts["b"]) for one in found] == rows
    assert all(one.problem is None for one in found)


@settings(deadline=None)
@given(data=st.binary(max_size=300), suffix=st.sampled_from(["csv", "tsv", "jsonl", "txt"]))
def test_any_bytes_are_records_and_no_exception(folder, data, suffix):
    for record in _read(folder, f"any.{suffix}", data):
        json.loads(record.raw.decode("utf-8", "replace")) if suffix != "jsonl" and record.raw else None


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(st.text('"ab ', max_size=6), min_size=1, max_size=8))
def test_a_quote_mark_in_a_tsv_swallows_no_line(folder, texts):
    lines = "".join(f"{text}\t{number}\n" for number, text in enumerate(texts))
    found = _read(folder, "a.tsv", "text\tnumber\n" + lines)
    assert [one.facts["number"] for one in found] == [str(number) for number in range(len(texts))]


def test_a_quote_that_is_never_closed_costs_its_line_alone(tmp_path):
    found = _read(tmp_path, "a.csv", 'file,text\n1,"opens\n2,"well, closed"\n3,inches 5" wide\n4,third\n')
    assert [one.facts["text"] for one in found] == ['"opens', "well, closed", 'inches 5" wide', "third"]


def test_a_quoted_field_may_hold_lines_and_a_field_may_be_long(tmp_path):
    words = "long words " * 60_000
    found = _read(tmp_path, "a.csv", f'file,text\r\n1,"two\r\nlines, ""and"" a comma"\r\n2,{words}\r\n')
    assert [one.facts["text"] for one in found] == ['two\r\nlines, "and" a comma', words]
    assert [one.number for one in found] == [2, 4]


def test_a_line_beyond_the_limit_is_a_record_with_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RECORD_LIMIT", 64)
    for name, line in (("a.csv", "1," + "x" * 200), ("a.jsonl", '{"text": "' + "x" * 200 + '"}')):
        head = "file,text\n" if name == "a.csv" else ""
        last = "2,short" if name == "a.csv" else '{"text": "short"}'
        found = _read(tmp_path, name, f"{head}{line}\n{last}\n")
        assert "longer than 64" in found[0].problem
        assert (found[1].problem, found[1].facts["text"]) == (None, "short")


def test_too_many_fields_are_a_problem_and_missing_ones_are_not(tmp_path):
    found = _read(tmp_path, "a.csv", "file,text\n1,one, two\n2\n")
    assert [one.problem for one in found] == ["line 2 has 3 fields, the header names 2", None]
    assert found[1].facts == {"file": "2"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-with-mark"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_table_is_read_in_every_marked_encoding(tmp_path, name, encoding):
    text = "file,text\r\n1,é\r\n" if name == "a.csv" else '{"file": "1", "text": "é"}\r\n'
    data = b"\xff\xfe" + text.encode("utf-16-le") if encoding.endswith("mark") else text.encode(encoding)
    (record,) = _read(tmp_path, name, data)
    assert (record.facts, json.loads(record.raw)) == ({"file": "1", "text": "é"}, {"file": "1", "text": "é"})


def test_a_field_that_is_no_utf_8_keeps_its_bytes_and_a_line_of_json_its_own(tmp_path):
    (record,) = _read(tmp_path, "a.csv", b"file,text\n1,caf\xe9\n")
    assert record.facts["text"] == b"caf\xe9"
    (line,) = _read(tmp_path, "a.jsonl", b'{"text": "caf\xe9"}\n')
    assert (line.facts["text"], line.raw) == ("caf\ufffd", b'{"text": "caf\xe9"}')


def test_headers_are_read_as_people_write_them(tmp_path):
    assert _read(tmp_path, "a.csv", "file, text\n1, words\n")[0].facts == {"file": "1", "text": "words"}
    assert _read(tmp_path, "a.csv", "file;text\n1;a, b\n")[0].facts == {"file": "1", "text": "a, b"}
    assert _read(tmp_path, "a.csv", "name| n| comment\n1.jpg| 0| a dog\n")[0].facts["comment"] == "a dog"
    assert _read(tmp_path, "a.csv", "f,text,text\n1,a,b\n")[0].facts["text"] == ["a", "b"]
    url = "https://example.org/1.jpg"
    assert _read(tmp_path, "a.tsv", f"a caption\t{url}\n")[0].facts == {"caption": "a caption", "url": url}
    assert _read(tmp_path, "a.txt", f"{url}\n{url}\n")[1].facts == {"url": url}


def test_a_line_that_is_no_object_is_a_record_with_a_problem(tmp_path):
    found = _read(tmp_path, "a.jsonl", '{"a": 1}\n[1]\n{broken\n\n"x"\n')
    assert [one.problem for one in found] == [None, *(f"line {n} is no JSON object" for n in (2, 3, 5))]


def test_a_file_that_is_no_parquet_is_one_line(tmp_path):
    with pytest.raises(DatasetError, match=r"a\.parquet cannot be read \(.*\); mend or remove it"):
        _read(tmp_path, "a.parquet", b"no parquet at all")
