"""Bodies of /invocations and /feedback that hold no table of this model."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.serving.nonsense.source import Source

LITERALS = (
    "NaN", "Infinity", "-Infinity", "nan", "1e999", "-1e999", "1" + "0" * 400, "0x10", "01", "+1",
    ".5", "1.", "--1", "1_000", "undefined", "'1'",
)  # fmt: skip

WRONG_CELLS = (
    '"1.5"', '"x"', '""', "true", "false", "null", "[]", "[1]", "{}", '{"a": 1}', '"\\u0000"',
    '"\\ud800"',
)  # fmt: skip

ODD_FIELDS = (
    "x", "nan", "inf", "-inf", "1e999", "1_0", '"', '""', '"a\nb', "0x1", "true", "１", "\0",
)  # fmt: skip

ODD_TABLES: tuple[Any, ...] = (
    None, True, 0, 1.5, "", "x", [], [[]], [[[]]], {}, [None], [1], ["x"], [{}], {"": 0},
    {"columns": []}, {"data": []}, {"columns": [], "data": []}, {"columns": 1, "data": 1},
    {"columns": [[]], "data": [[]]}, {"columns": {}, "data": {}},
)  # fmt: skip


def broken_json(s: Source) -> bytes:
    text = json.dumps(s.good())
    at = s.random.randrange(len(text))
    way = s.random.randrange(4)
    if way == 0:
        return s.post(text[:at])
    if way == 1:
        return s.post(text[:at] + s.pick('{}[]",:\\\x00') + text[at:])
    if way == 2:
        return s.post(text[:at] + text[at + 1 :])
    return s.post(text + s.pick(("}", ",", "{}", "\x00", text)))


def wrong_cell(s: Source) -> bytes:
    return s.post(s.with_cell(s.pick(WRONG_CELLS)))


def literal(s: Source) -> bytes:
    return s.post(s.with_cell(s.pick(LITERALS)))


def columns_differ(s: Source) -> bytes:
    names: list[Any] = list(s.columns)
    row = list(s.pick(s.rows))
    at = s.random.randrange(len(names))
    way = s.random.randrange(5)
    if way == 0:
        del names[at], row[at]
    elif way == 1:
        names.append(s.word())
        row.append(1.0)
    elif way == 2:
        names[at] = s.pick((names[0], names[-1], "", " " + names[at], "x" * 5000))
    elif way == 3:
        names[at] = s.pick((None, 1, [], {}))
        return s.post(json.dumps({"dataframe_split": {"columns": names, "data": [row]}}))
    else:
        names, row = names[:0], row[:0]
    pairs = ", ".join(f"{json.dumps(n)}: {v}" for n, v in zip(names, row, strict=True))
    return s.post(
        s.pick(
            (
                json.dumps({"dataframe_split": {"columns": names, "data": [row]}}),
                f'{{"dataframe_records": [{{{pairs}}}]}}',
                f'{{"instances": [{{{pairs}}}, {{}}]}}',
            )
        )
    )


def ragged(s: Source) -> bytes:
    form = s.pick(("inputs", "instances", "split", "columns"))
    values = [list(row) for row in s.random.choices(s.rows, k=3)]
    if form == "columns":
        table = {c: [1.0] * s.random.randrange(3) for c in s.columns}
        return s.post(json.dumps({"inputs": table}))
    row = s.random.randrange(3)
    values[row] = s.pick(([], values[row][:-1], [*values[row], 1.0], [values[row]]))
    if form == "split":
        said = {"columns": s.columns, "data": values}
        return s.post(json.dumps({"dataframe_split": said}))
    return s.post(json.dumps({form: values}))


def no_table(s: Source) -> bytes:
    form = s.pick(
        ("dataframe_split", "dataframe_records", "inputs", "instances", "ndarray", "", "INPUTS")
    )
    documents: tuple[Any, ...] = (
        {form: s.pick(ODD_TABLES)},
        s.pick(ODD_TABLES),
        s.good() | {s.word(): 1},
        s.good() | {"inputs": [], "instances": []},
        {},
    )
    return s.post(s.pick((json.dumps(s.pick(documents)), "", " ")))


def nested(s: Source) -> bytes:
    depth = s.pick((100, 1000, 1025, 5000))
    opening, closing = s.pick((("[", "]"), ('{"a":', "}"), ('{"inputs":[', "]}")))
    inner = "1" if s.random.random() < 0.5 else ""
    nested = opening * depth + inner + closing * s.pick((depth, 0, depth - 1))
    return s.post(nested if s.random.random() < 0.5 else s.with_cell(nested))


def csv(s: Source) -> bytes:
    header = ",".join(s.columns)
    row = [str(value) for value in s.pick(s.rows)]
    row[s.random.randrange(len(row))] = s.pick(ODD_FIELDS)
    good = ",".join(row)
    text = s.pick((
        f"{header}\n{good}\n", f"{good}\n", header, f"{header}\n{good},1\n", f"{header}\n\n\n",
        f"{header};{good}", f"{header},{s.columns[0]}\n{good},1\n", "\x00" * 50, '"' * 999,
    ))  # fmt: skip
    return s.post(text, media="text/csv")


def ids(s: Source) -> bytes:
    ids = s.pick(
        (None, "x", 1, {}, [], ["a", "a"], [1], [None], [""], ["x" * 10_000], [["a"]],
         ["\x00"], ["\ud800"], ["a"] * 50)
    )  # fmt: skip
    return s.post(json.dumps(s.good() | {"prediction_ids": ids}))


def feedback(s: Source) -> bytes:
    odd: tuple[Any, ...] = (None, 1, "x", "", [], {}, True, 1e999, ["x"], {"a": 1}, "x" * 9000, -1)
    label = {"prediction_id": s.pick(odd), "label": s.pick(odd)}
    documents: tuple[Any, ...] = (
        label,
        {"labels": [label, label]},
        {"labels": s.pick(odd)},
        label | {"time": s.pick(odd)},
        label | {s.word(): 1},
        s.pick(odd),
    )
    return s.post(json.dumps(s.pick(documents)), path="/feedback")


def many_rows(s: Source) -> bytes:
    row = json.dumps(s.rows[0])
    # Beyond the limit of rows by far, in few bytes.
    return s.post('{"inputs": [' + ",".join(["[]"] * 200_000) + f", {row}]}}")


def deep(s: Source) -> bytes:
    return s.post("[" * 200_000)
