"""The record of a version: what it says, as a schema that others can rely on.

docs/record.schema.json is this schema, published; `schema: 1` in a record names it. Fields are
added within a schema, and never renamed or taken away.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from mlops_pipelines.explain import proof

SCHEMA = 1
IDENTIFIER = "https://json-schema.org/draft/2020-12/schema"
Verdict = Literal["ok", "alarm", "insufficient_data"]
What = Literal["deployed", "rolled back to", "replaced", "rolled back from", "unchanged"]


class Said(BaseModel):
    """A part of a record: nothing in it is left unsaid, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Column(Said):
    """A feature of the model."""

    name: str
    type: str = Field(description="MLflow's double, long, string or boolean")
    nullable: bool


class Data(Said):
    """The rows that it was trained and measured on, frozen."""

    snapshot: str = Field(description="SHA-256 over the rows and what is declared of them")
    uri: str
    source: str
    rows: int
    train_rows: int
    holdout_rows: int
    columns: list[Column]
    target: str
    event_time: str | None = Field(description="the column that holds each row's time")
    first_time: str | None
    last_time: str | None
    class_counts: dict[str, int] | None
    segments: list[str]


class Expectation(Said):
    """One expectation, and whether it held on the training data; None where that is not known."""

    expectation: str
    column: str | None
    arguments: dict[str, Any]
    holds: bool | None
    found: str = Field(description="how it failed, as shares and counts; empty where it holds")


class Expectations(Said):
    """What was expected of the training data, and what was found."""

    origin: str
    passed: bool | None
    rows: int | None
    says: str
    at: str | None
    results: list[Expectation]


class Code(Said):
    """The commit that was checked out; `dirty` is the hash of what differed from it."""

    commit: str
    dirty: str | None


class Environment(Said):
    """What it was trained in."""

    lock_hash: str
    python: str
    platform: str | None
    machine: str | None
    packages: dict[str, str] | None = Field(description="installed distributions by name")


class Metric(Said):
    """A metric on the holdout; low and high are its 95 % interval, where one was computed."""

    name: str
    value: float
    low: float | None
    high: float | None
    train: float | None = Field(description="the same on the training rows")
    cross_validation: float | None = Field(description="mean over the folds")
    deviation: float | None = Field(description="standard deviation over the folds")


class Difference(Said):
    """How much better than the champion on the same rows, with its 95 % interval."""

    metric: str
    champion: float
    improvement: float
    low: float
    high: float
    rows: int


class Comparison(Said):
    """What served when the version was evaluated, on the same rows."""

    champion: int
    metrics: dict[str, float]
    differences: list[Difference]


class Slice(Said):
    """The holdout rows where a segment holds one value; no metrics where they are too few."""

    segment: str
    value: str
    rows: int
    metrics: dict[str, float] | None
    difference: Difference | None


class Gate(Said):
    """A gate of the release, as it was decided last; without `blocking` it only warns."""

    gate: str
    passed: bool
    blocking: bool
    says: str
    at: str | None
    run: str | None = Field(description="the Dagster run that decided it")
    evidence: dict[str, Any]


class Gates(Said):
    """Whether the version may be deployed, and what that rests on."""

    verdict: Literal["passed", "refused", "not evaluated"]
    why: str
    results: list[Gate]


class Bundle(Said):
    """The folder that is served."""

    digest: str
    uri: str
    files: int | None
    signed: bool | None
    runtime: str | None
    runtime_reason: str | None


class Security(Said):
    """What the security assessment found; the whole is in the version's security.json."""

    secure: bool
    findings: dict[str, int] = Field(description="how many of each severity")


class Moved(Said):
    """A time that the version took the traffic, or lost it to another."""

    at: str
    what: What
    other: int | None = Field(description="the version that served before, or serves after")
    actor: str
    reason: str
    run: str


class Quarantine(Said):
    """Why it must not be promoted again by itself."""

    at: str | None
    reason: str


class Night(Said):
    """An evaluation of one day (UTC)."""

    day: str
    run: str = Field(description="MLflow run")
    verdicts: dict[str, Verdict]
    metrics: dict[str, float]


class Nights(Said):
    """How it has done since."""

    count: int
    first: str
    last: str
    metric: str = Field(description="the main metric")
    baseline: float | None = Field(description="what the main metric was on the holdout")
    worst: Night | None = Field(description="the night with the worst main metric")
    most_drift: Night | None = Field(description="the night that was farthest from training")
    alarms: dict[str, int] | None = Field(description="nights with an alarm, by what was judged")
    recent: list[Night] = Field(description="the last 31, oldest first")


class Parent(Said):
    """The version that served when this one was trained, and what is different."""

    version: int
    changed: list[str]


class Runs(Said):
    """Where it was made."""

    mlflow: str
    dagster: str | None


class Hashes(Said):
    """What seals the record: see `mlops lineage --verify`."""

    record: str | None
    bill_of_materials: str | None


class Proof(Said):
    """A recorded hash or value beside what was found when it was recomputed."""

    thing: str
    recorded: str
    found: str
    holds: bool


class Record(Said):
    """Everything behind one version of a model.

    A part that was not recorded is null, and `missing` says why, by the part's name.
    """

    model_config = ConfigDict(title="Record of a model version", serialize_by_alias=True)

    schema_: Literal[1] = Field(1, alias="schema", validation_alias="schema")
    model: str
    version: int
    task: str
    created: str = Field(description="RFC 3339, UTC, as all times are")
    aliases: list[str]
    runs: Runs
    data: Data | None
    expectations: Expectations | None
    code: Code
    environment: Environment
    params: dict[str, str]
    seeds: dict[str, str]
    metrics: list[Metric]
    cost: dict[str, float] = Field(description="seconds and MiB of the training")
    comparison: Comparison | None
    slices: list[Slice] | None
    parent: Parent | None
    gates: Gates
    security: Security | None
    bundle: Bundle | None
    image: str | None = Field(description="digest")
    hashes: Hashes
    moves: list[Moved]
    quarantine: Quarantine | None
    nights: Nights | None
    missing: dict[str, str]
    proofs: list[Proof] | None = Field(None, description="where they were asked for")

    def with_proofs(self, proofs: Iterable[proof.Proof]) -> Record:
        """The record with what was recomputed of it."""
        said = [Proof(**vars(each), holds=each.holds) for each in proofs]
        return self.model_copy(update={"proofs": said})


def json_schema() -> dict[str, Any]:
    """The schema of a record, as it is published."""
    return {"$schema": IDENTIFIER, **Record.model_json_schema(by_alias=True, mode="serialization")}
