"""What the benchmarks say of what they measured; nothing is timed here."""

import json
from itertools import islice

import pytest

from benchmarks.common import Goal, Row, at_least, at_most, number, percentile, ratio, result, table
from benchmarks.environments import PeerError, environment
from benchmarks.serving import contestants, figures
from benchmarks.serving.nonsense import OFTEN, SELDOM, nonsense
from benchmarks.serving.nonsense.source import Source
from benchmarks.serving.rounds import Measured
from benchmarks.serving.servers import answered
from benchmarks.serving.wire import Responses, request
from benchmarks.serving.wrk import Load, LoadError, said


@pytest.mark.parametrize(
    ("samples", "share", "expected"),
    [
        (range(1, 101), 0.5, 50),
        (range(1, 101), 0.99, 99),
        (range(1, 101), 1.0, 100),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([7.0], 0.999, 7.0),
        ([2.0, 1.0], 0.0, 1.0),
    ],
)
def test_a_percentile_is_a_sample(samples, share, expected):
    assert percentile(list(samples), share) == expected


@pytest.mark.parametrize(
    ("goal", "value", "holds"),
    [
        (at_least(60), 60.0, True),
        (at_least(60), 59.9, False),
        (at_most(2), 2.0, True),
        (at_most(0), 1, False),
        (at_most(0), 0, True),
        (at_most(2), None, False),
        (at_least(0), float("nan"), False),
    ],
)
def test_a_goal_holds_or_is_missed(goal, value, holds):
    assert goal.holds(value) is holds


def test_a_figure_without_a_peer_that_its_goal_speaks_of_does_not_hold():
    assert Row("f", 9.0, "×", at_least(8)).holds is True
    assert Row("f", 9.0, "×", at_least(8), complete=False).holds is False
    assert Row("f", 9.0, "×", complete=False).holds is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        ("not installed", "not installed"),
        (0, "0"),
        (1, "1"),
        (0.4, "0.4"),
        (1.0567, "1.06"),
        (137.4, "137"),
        (34502.2, "34,502"),
    ],
)
def test_numbers_are_shown_with_three_digits(value, text):
    assert number(value) == text


def test_a_ratio_needs_both_sides():
    assert ratio(6.0, 3.0) == 2.0
    assert [ratio(None, 3.0), ratio(6.0, None), ratio(6.0, 0.0)] == [None, None, None]


ROWS = [
    Row("throughput", 8.5, "×", at_least(8), {"A": 1056.0, "B": "not installed"}, "requests/s"),
    Row("p99", 3.25, "ms", at_most(2), note="raw samples"),
    Row("part", None, "×"),
]


def test_the_table_shows_each_figure_beside_its_goal_and_its_peers():
    assert table(ROWS).splitlines() == [
        "throughput    8.5 ×  ≥ 8 ×   holds",
        "    A: 1,056 requests/s",
        "    B: not installed",
        "p99         3.25 ms  ≤ 2 ms  MISSED",
        "    (raw samples)",
        "part            – ×",
    ]


def test_the_result_is_json_with_every_row():
    document = json.loads(json.dumps(result(ROWS[:2], {"cores": 2}, {"quick": True})))
    assert document == {
        "machine": {"cores": 2},
        "quick": True,
        "rows": [
            {
                "name": "throughput",
                "value": 8.5,
                "unit": "×",
                "goal": "≥ 8",
                "peers": {"A": 1056.0, "B": "not installed"},
                "peers_unit": "requests/s",
                "note": "",
                "holds": True,
            },
            {
                "name": "p99",
                "value": 3.25,
                "unit": "ms",
                "goal": "≤ 2",
                "peers": {},
                "peers_unit": "",
                "note": "raw samples",
                "holds": False,
            },
        ],
    }


def _all_measured() -> dict[str, Measured]:
    """Every server with three rounds, the middle one 100 requests a second; ours 1,000."""
    measured = {
        server.name: Measured([90.0, 100.0, 400.0], [1.0], [100.0]) for server in contestants.ALL
    }
    for server in (contestants.OURS, contestants.OURS_NAMED, contestants.OURS_NO_FSYNC):
        measured[server.name] = Measured([1000.0], [1.0], [100.0])
    return measured


def _goals(rows: list[Row]) -> list[tuple[float | None, Goal, bool | None]]:
    return [(row.value, row.goal, row.holds) for row in rows if row.goal is not None]


def test_each_ratio_is_against_the_best_of_its_peers():
    measured = _all_measured()
    measured[contestants.SPECIALISTS_SKLEARN[3].name].rates[:] = [200.0]
    measured[contestants.SPECIALISTS_ONNX[0].name].rates[:] = [250.0]
    rows = figures.throughput(measured)
    assert _goals(rows) == [
        (10.0, at_least(60), False),
        (5.0, at_least(8), False),
        (4.0, at_least(3), True),
        (10.0, at_least(0.4), True),
        (1.0, at_least(1), True),
    ]
    assert next(row.value for row in rows if "runtime's part" in row.name) == 1.25


def test_a_peer_that_failed_is_named_and_its_goal_is_missed():
    measured = _all_measured()
    failed = contestants.SPECIALISTS_ONNX[1]
    measured[failed.name] = Measured(failure="not started: it ended with 1")
    row = next(row for row in figures.throughput(measured) if "same ONNX session" in row.name)
    assert (row.value, row.holds) == (10.0, False)
    assert row.peers[failed.name] == "not started: it ended with 1"


def test_a_peer_that_cannot_be_installed_says_why(tmp_path):
    requirements = tmp_path / "peer.txt"
    requirements.write_text("not a requirement\n")
    with pytest.raises(PeerError, match=r"^not installed: Invalid requirement") as raised:
        environment(requirements, tmp_path)
    assert "\n" not in str(raised.value)


def test_answers_of_all_servers_are_read():
    outputs = [{"name": "predict_proba", "shape": [1, 2], "data": [0.25, 0.75]}]
    documents = [{"scores": [0.75], "predictions": [1]}, {"predictions": [1]}, [0.75], {"a": 1}]
    read = [answered(document) for document in [*documents, {"outputs": outputs}]]
    assert read == [[0.75], [1.0], [0.75], [], [0.25, 0.75]]


def test_responses_are_cut_out_of_any_pieces():
    data = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
        b"HTTP/1.1 404 Not Found\r\nx: y\r\ncontent-length: 0\r\n\r\n"
    )
    for step in (1, 7, len(data)):
        responses = Responses()
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        cut = [response for piece in pieces for response in responses.feed(piece)]
        assert cut == [(200, b"hello"), (404, b"")]


def test_a_request_gives_its_length():
    assert request("/p", b"{}", more="a: b\r\n") == (
        b"POST /p HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"a: b\r\ncontent-length: 2\r\n\r\n{}"
    )


def test_a_load_counts_only_if_every_answer_was_good():
    line = '{{"requests":900,"seconds":3.0,"refused":{},"broken":{}}}'
    assert said(0, "Running 3s test\n" + line.format(0, 0) + "\n", "") == Load(900, 3.0)
    with pytest.raises(LoadError, match=r"^4 of 900 answers were no 2xx or 3xx, 1 connections"):
        said(0, line.format(4, 1), "")
    with pytest.raises(LoadError, match="^wrk failed: unable to connect"):
        said(1, "", "unable to connect")


def test_the_same_seed_makes_the_same_nonsense_of_every_kind():
    def first(seed: int) -> list[tuple[str, bytes]]:
        source = Source("m", ["a", "b"], [[1.5, 2.5], [3.5, 4.5]], seed)
        return [(bad.kind, bad.data) for bad in islice(nonsense(source), 600)]

    made = first(1)
    assert made == first(1) != first(2)
    assert {kind for kind, _ in made} == {make.__name__ for make in (*OFTEN, *SELDOM)}
