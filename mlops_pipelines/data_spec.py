"""What a declaration may say about its rows: where from, what to predict, how they are split."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from mlops_pipelines.parts import ImportPath, Part, Text
from mlops_pipelines.wording import FieldError


class Sql(Part):
    """A query, over any database that SQLAlchemy reaches."""

    url: Text = Field(description="SQLAlchemy URL, or {env: NAME}")
    query: str = Field(min_length=1, description="the SELECT that gives one row per example")


class Source(Part):
    """Where rows come from; exactly one of csv, parquet, sql, python."""

    csv: str | None = Field(None, description="path or glob, relative to the project folder")
    parquet: str | None = Field(None, description="path or glob, relative to the project folder")
    sql: Sql | None = Field(None, description="{url, query}")
    python: ImportPath | None = Field(None, description="function that returns a data frame")
    params: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the python function"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        given = [kind for kind in ("csv", "parquet", "sql", "python") if getattr(self, kind)]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"exactly one of csv, parquet, sql, python is needed, not {found}")
        if self.params and self.python is None:
            raise FieldError(f"belongs to a python source, not to {given[0]}", "params")
        return self

    @property
    def kind(self) -> str:
        """csv, parquet, sql or python."""
        return next(kind for kind in ("csv", "parquet", "sql", "python") if getattr(self, kind))


class Split(Part):
    """How the snapshot is split; by time where `event_time` is declared, else by row hash."""

    holdout: float = Field(0.2, gt=0, lt=0.9, description="share of rows kept for evaluation")
    seed: int = Field(0, ge=0, description="which rows fall into the holdout")


class Data(Part):
    """Training data: where from, what to predict, and which columns matter."""

    source: Source
    target: str = Field(min_length=1, description="column to predict")
    positive: str | int | bool | None = Field(
        None, description="which of the two classes is the positive one; default: the larger label"
    )
    event_time: str | None = Field(None, description="column that says when a row happened")
    segments: tuple[str, ...] = Field((), description="columns; every metric also per value")
    features: tuple[str, ...] | None = Field(
        None, description="columns the model sees; default: all others"
    )
    drop: tuple[str, ...] = Field((), description="columns the model must not see")
    split: Split = Field(default_factory=Split)

    @field_validator("positive", mode="before")
    @classmethod
    def _is_a_class(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, str | int):
            raise ValueError("must be a value of the target: text, a whole number, true or false")
        return value

    @model_validator(mode="after")
    def _columns_agree(self) -> Data:
        for field, columns in (
            ("features", self.features or ()),
            ("drop", self.drop),
            ("segments", self.segments),
            ("event_time", (self.event_time,)),
        ):
            if self.target in columns:
                raise FieldError(f"must not contain the target {self.target!r}", field)
        both = sorted(set(self.features or ()) & set(self.drop))
        if both:
            raise FieldError(f"must not contain {both[0]!r}, which is among the features", "drop")
        return self
