from __future__ import annotations

from mlops_pipelines.serve.metrics import Metrics


def samples(page: str) -> dict[str, float]:
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_a_page_counts_what_was_counted() -> None:
    metrics = Metrics("churn", 3, "abc")
    metrics.request(200, 0.0005)
    metrics.request(200, 0.3)
    metrics.request(400, 99.0)
    metrics.errors["refused"] += 1
    metrics.rows += 7
    metrics.batch(3)
    metrics.batch(4)
    found = samples(metrics.render(log_bytes=123, log_syncs=7, waiting=2))
    own = 'model="churn",version="3"'
    assert found[f'mlops_requests_total{{{own},status="200"}}'] == 2
    assert found[f'mlops_requests_total{{{own},status="400"}}'] == 1
    assert found[f'mlops_errors_total{{{own},kind="refused"}}'] == 1
    assert found[f"mlops_rows_total{{{own}}}"] == 7
    assert found[f"mlops_log_bytes_total{{{own}}}"] == 123
    assert found[f"mlops_log_syncs_total{{{own}}}"] == 7
    assert found[f'mlops_model_info{{{own},bundle="abc"}}'] == 1
    # Buckets are cumulative, and their bounds belong to them.
    assert found[f'mlops_request_seconds_bucket{{{own},le="0.0005"}}'] == 1
    assert found[f'mlops_request_seconds_bucket{{{own},le="0.25"}}'] == 1
    assert found[f'mlops_request_seconds_bucket{{{own},le="0.5"}}'] == 2
    assert found[f'mlops_request_seconds_bucket{{{own},le="10.0"}}'] == 2
    assert found[f'mlops_request_seconds_bucket{{{own},le="+Inf"}}'] == 3
    assert found[f"mlops_request_seconds_count{{{own}}}"] == 3
    assert found[f"mlops_request_seconds_sum{{{own}}}"] == 0.0005 + 0.3 + 99.0
    assert found[f"mlops_queue{{{own}}}"] == 2
    assert found[f'mlops_batch_rows_bucket{{{own},le="2"}}'] == 0
    assert found[f'mlops_batch_rows_bucket{{{own},le="4"}}'] == 2
    assert found[f"mlops_batch_rows_sum{{{own}}}"] == 7
    assert found["process_resident_memory_bytes"] > 1_000_000
    assert found["process_cpu_seconds_total"] > 0


def test_label_values_are_escaped() -> None:
    page = Metrics('a"b\\c\nd', 1, "abc").render(0, 0, 0)
    assert r'mlops_rows_total{model="a\"b\\c\nd",version="1"} 0' in page.splitlines()


def test_every_sample_belongs_to_a_described_family() -> None:
    page = Metrics("m", 1, "abc").render(0, 0, 0)
    described = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
    assert len(set(described)) == len(described)
    for name in samples(page):
        family = name.partition("{")[0]
        assert any(family == d or family.rpartition("_")[0] == d for d in described)
