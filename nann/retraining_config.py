"""Options of the steps of retraining: the two gates, and the services that they guard."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator

from data_prep.option_values import unix_seconds
from nann.option_types import GRAPH_FORMS, GraphForm, NotNegativeNumber, OpensModels, StepConfig

_CREATE = "make the service where there is none; it changes nothing where there is one"


class GateConfig(OpensModels):
    """Options of `nann gate`."""

    k: int = Field(200, ge=1, description="list length K of recall and coverage")
    max_users: int = Field(10_000, ge=1, description="validation users whom all models answer for: at most this many")
    min_users: int = Field(100, ge=1, description="least number of them")
    error: float = Field(
        0.05, gt=0, lt=0.5, description="probability that a candidate passes a comparison of recalls that is worse by just the margin"
    )
    graph: Literal["served", GraphForm] = Field(
        "served", description=f"exported form to ask: served, the one that nann serve takes here; {GRAPH_FORMS}"
    )
    batch_size: int = Field(16, ge=1, description="users per call when quality is measured")
    exact_users: int = Field(500, ge=1, description="users of these at most for whom the exact list is made, to measure coverage")
    latency_requests: int = Field(200, ge=1, description="calls with one user each per model, taken in turns, whose median is the latency")
    min_baseline_ratio: float = Field(
        1.0, ge=0, description="least ratio to the recall of the best simple method that must be shown; 0: none is measured"
    )
    min_recall: float = Field(0, ge=0, le=1, description="least recall@K of the candidate")
    min_coverage: float = Field(0.9, ge=0, le=1, description="least share of the exact top K that the candidate's graph finds")
    min_catalogue_coverage: float = Field(
        0.02, ge=0, le=1, description="least number of different items in all lists, as a share of those that could be there"
    )
    max_category_excess: float = Field(
        0.3, ge=0, le=1, description="most that one category's share of the lists may be above its share of held-out items"
    )
    max_latency_ms: float = Field(0, ge=0, description="most median latency of the candidate; 0: no limit")
    max_size_mb: float = Field(0, ge=0, description="most MB of the form that is asked; 0: no limit")
    max_recall_loss: float = Field(
        0.03,
        ge=-1,
        le=1,
        description="margin: most of the recall of each published version that may be lost, as a share; below 0: a gain is asked for; "
        "1: any loss",
    )
    max_coverage_loss: float = Field(0.01, ge=0, le=1, description="most that coverage may be below that of each published version")
    max_catalogue_loss: float = Field(0.1, ge=0, le=1, description="most of their catalogue coverage that may be lost, as a share of it")
    max_latency_ratio: float = Field(1.5, ge=0, description="most median latency as a multiple of theirs; 0: no limit")
    max_size_ratio: float = Field(2.0, ge=0, description="most size as a multiple of theirs; 0: no limit")


class CheckDataConfig(StepConfig):
    """Options of `nann check-data`."""

    on_refusal: Literal["fail", "continue"] = Field(
        "fail", description="what a window out of range does: fail ends the command, or the run, with an error; continue only says so"
    )
    min_windows: int = Field(2, ge=1, description="earlier windows needed to compare with; with fewer only absolute bounds hold")
    keep: int = Field(30, ge=1, description="windows to keep for the next check, this one among them")
    accept: tuple[str, ...] = Field((), description="figures that may be out of range this time, because it is known why")
    min_rows: int = Field(100, ge=0, description="least rows of a window")
    min_users: int = Field(10, ge=0, description="least users of a window")
    min_items: int = Field(10, ge=0, description="least items of a window")
    max_ratio: float = Field(
        2.0, ge=1, description="numbers of rows, users, items, and events per user: between the past's least / this and its most x this"
    )
    max_span_ratio: float = Field(1.3, ge=1, description="hours from the first event to the last: as max_ratio")
    max_windows: float = Field(
        7, ge=1, description="a window may be as long as so many usual ones (after a pause, or refused candidates), its numbers likewise"
    )
    max_gap_hours: float = Field(10, gt=0, description="most hours without any event")
    max_gap_share: float = Field(0.4, gt=0, le=1, description="most hours without any event as a share of the usual window")
    max_shift_hours: float = Field(
        2, ge=0, description="hours from the end of the window before to the first event: most outside of the past's range"
    )
    max_bad_share: float = Field(0.05, ge=0, le=1, description="most rows that could not be used, as a share of all")
    max_equal_rows_share: float = Field(0.3, ge=0, le=1, description="most rows that repeat user, item and time of another one, as a share")
    max_busiest_share: float = Field(0.2, gt=0, le=1, description="largest share of the events of one user")
    max_share_rise: float = Field(
        0.1,
        ge=0,
        le=1,
        description="shares (rows that are bad, equal, or without category; changed categories): most above the past median",
    )
    max_busiest_ratio: float = Field(5.0, ge=1, description="share of the busiest user: most as a multiple of the past's most")
    max_new_rise: float = Field(0.35, ge=0, le=1, description="shares of new items, categories and users: most above the past median")
    max_new_share: float = Field(0.97, ge=0, le=1, description="largest share of new items, categories or users")
    min_correlation_ratio: float = Field(
        0.4,
        ge=0,
        le=1,
        description="rank correlation of the items' events with those of the window before: least as a multiple of the past's least",
    )
    max_hour_distance: float = Field(0.3, ge=0, le=1, description="Jensen-Shannon distance of the hours of the day from the past; 1: any")
    max_kind_distance: float = Field(0.25, ge=0, le=1, description="the same of kinds of events")
    max_category_distance: float = Field(0.5, ge=0, le=1, description="the same of categories")
    max_popularity_distance: float = Field(0.2, ge=0, le=1, description="the same of events by the rank of their item")
    max_activity_distance: float = Field(0.2, ge=0, le=1, description="the same of users by their number of events")
    max_distance_ratio: float = Field(2.0, ge=1, description="a distance may always be as large as the past's most x this")


class InServiceConfig(StepConfig):
    """Options of `nann in-service`."""

    earlier: int = Field(
        2, ge=0, description="versions that were in service before to take, too: the gate compares with each, so that losses do not add up"
    )
    create: bool = Field(False, description=_CREATE)


class PublishConfig(OpensModels):
    """Options of `nann publish`."""

    create: bool = Field(False, description=_CREATE)
    keep: int = Field(5, ge=2, description="versions to keep, the one in service among them; as many refused candidates")
    smoke_users: int = Field(
        20, ge=0, description="users for whom the published version must answer as the candidate does, else it is withdrawn; 0: do not ask"
    )


class ItemPriorConfig(OpensModels):
    """Options of `nann item-prior`."""

    window_hours: float = Field(24, gt=0, description="length of the window that shares are foreseen for, and learned from")
    moment: str | None = Field(
        None, description="look at the log as of this time: unix seconds, or ISO 8601 (UTC unless it says otherwise); default: its end"
    )
    strengths: tuple[NotNegativeNumber, ...] = Field(
        (0.125, 0.25, 0.5, 1.0, 2.0), min_length=1, description="multiples of the log share to choose from; 0, no prior, is always tried"
    )
    k: int = Field(50, ge=1, description="list length K of the recall that is chosen by")
    max_users: int = Field(1000, ge=1, description="validation users asked at most")
    batch_size: int = Field(16, ge=1, description="users per call")
    error: float = Field(0.05, gt=0, lt=0.5, description="probability that a prior which helps nobody is taken")

    @field_validator("moment", mode="before")
    @classmethod
    def _time_as_text(cls, value: Any) -> Any:
        if value is None:
            return value
        text = value.isoformat() if isinstance(value, date) else str(value)  # YAML makes dates of what looks like one
        unix_seconds(text)
        return text
