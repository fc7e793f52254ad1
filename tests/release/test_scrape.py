from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlops_pipelines.release.targets.scrape import Sample, samples

PAGE = """\
# HELP mlops_requests_total Requests to /invocations.
# TYPE mlops_requests_total counter
mlops_requests_total{model="churn",status="200"} 12
mlops_request_seconds_bucket{le="+Inf"} 3 1700000000000
process_cpu_seconds_total 0.25
mlops_model_info{note="a \\"b\\" } \\\\ c\\nd"} 1
broken{ 1
broken one two
"""


def test_a_page_is_read_line_by_line() -> None:
    assert samples(PAGE) == (
        Sample("mlops_requests_total", {"model": "churn", "status": "200"}, 12.0),
        Sample("mlops_request_seconds_bucket", {"le": "+Inf"}, 3.0),
        Sample("process_cpu_seconds_total", {}, 0.25),
        Sample("mlops_model_info", {"note": 'a "b" } \\ c\nd'}, 1.0),
    )


@given(st.text(), st.floats(allow_nan=False))
def test_any_label_survives_its_escaping(label: str, value: float) -> None:
    single = "".join(label.splitlines())
    escaped = single.replace("\\", "\\\\").replace('"', '\\"')
    line = f'm{{x="{escaped}"}} {value!r}'
    assert samples(line) == (Sample("m", {"x": single}, value),)


@given(st.text())
def test_no_page_breaks_the_reader(page: str) -> None:
    samples(page)
