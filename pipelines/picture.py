"""The picture of a compiled pipeline: an SVG with a row per task and a lane per artifact.

A task is a box on the left; where it writes an artifact a lane starts with a filled dot, and where a later task reads it the lane has a
ring. Everything is taken from the compiled document, so the picture cannot say anything else than the DAG does. The exit task reads no
artifact and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from pipelines.compilation import steps_dag

ROW_HEIGHT, LANE_WIDTH, BOX_WIDTH, BOX_HEIGHT, MARGIN, HEAD_HEIGHT = 56, 104, 132, 34, 20, 44
# Shown by the pipeline's UI, not passed between tasks.
_VIEWS = {"system.Metrics", "system.Markdown", "system.HTML"}
_COLOURS = ("#4c6a92", "#b5651d", "#3f7f5f", "#8a4f7d", "#7a6a2f", "#2f7f8f", "#a04040", "#5a5a9a", "#606060")


@dataclass
class Lane:
    """One artifact: its name, the row that writes it (-1: an input of the pipeline), and the rows that read it."""

    name: str
    writer: int
    readers: list[int] = field(default_factory=list)


def ordered_tasks(spec: Mapping[str, Any]) -> list[str]:
    """Task names in an order in which they can run; among those that can run, by name."""
    tasks = steps_dag(spec)["tasks"]
    order: list[str] = []
    while len(order) < len(tasks):
        ready = sorted(name for name, task in tasks.items() if name not in order and set(task.get("dependentTasks", ())) <= set(order))
        if not ready:
            raise ValueError(f"the tasks {sorted(set(tasks) - set(order))} depend on each other in a circle")
        order.append(ready[0])
    return order


def lanes(spec: Mapping[str, Any]) -> list[Lane]:
    """The pipeline's required inputs and every artifact that tasks pass on, in the order they are written."""
    order = ordered_tasks(spec)
    tasks, components = steps_dag(spec)["tasks"], spec["components"]
    found: dict[tuple[str, str], Lane] = {}
    for name, parameter in spec["root"].get("inputDefinitions", {}).get("parameters", {}).items():
        if not parameter.get("isOptional"):
            found["", name] = Lane(name, -1)
    for row, task_name in enumerate(order):
        outputs = components[tasks[task_name]["componentRef"]["name"]].get("outputDefinitions", {}).get("artifacts", {})
        for name, output in outputs.items():
            if output["artifactType"]["schemaTitle"] not in _VIEWS:
                found[task_name, name] = Lane(name, row)
        inputs = tasks[task_name].get("inputs", {})
        for source in inputs.get("artifacts", {}).values():
            produced = source["taskOutputArtifact"]
            found[produced["producerTask"], produced["outputArtifactKey"]].readers.append(row)
        for source in inputs.get("parameters", {}).values():
            # inside an exit handler the pipeline's inputs have a prefix
            lane = found.get(("", source.get("componentInputParameter", "").removeprefix("pipelinechannel--")))
            if lane is not None:
                lane.readers.append(row)
    return list(found.values())


def draw_pipeline(spec: Mapping[str, Any]) -> str:
    """Draws a compiled pipeline; returns SVG text that is equal for equal pipelines."""
    order, all_lanes = ordered_tasks(spec), lanes(spec)
    width = 2 * MARGIN + BOX_WIDTH + LANE_WIDTH * len(all_lanes) + 10
    height = 2 * MARGIN + HEAD_HEIGHT + ROW_HEIGHT * len(order)
    title = f"Tasks and artifacts of {spec['pipelineInfo']['name']}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13"><title>{escape(title)}</title>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for row in range(len(order)):
        touched = [lane for lane in range(len(all_lanes)) if row == all_lanes[lane].writer or row in all_lanes[lane].readers]
        if touched:
            parts.append(_line(MARGIN + BOX_WIDTH, _y(row), _x(max(touched)), _y(row), "#c9ced6", 1.5))
    for position, lane in enumerate(all_lanes):
        parts += _draw_lane(lane, _x(position), _COLOURS[position % len(_COLOURS)])
    for row, name in enumerate(order):
        top = _y(row) - BOX_HEIGHT / 2
        parts.append(f'<rect x="{MARGIN}" y="{top:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="#eef2f7" stroke="#33415c"/>')
        parts.append(_text(MARGIN + BOX_WIDTH / 2, _y(row) + 4.5, name, "#1b2333", "middle", bold=True))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw_lane(lane: Lane, x: float, colour: str) -> list[str]:
    begin = _y(lane.writer) if lane.writer >= 0 else MARGIN + 16
    end = max([begin, *(_y(row) for row in lane.readers)])
    parts = [_line(x, begin, x, end, colour, 2.5)] if end > begin else []
    if lane.writer >= 0:
        parts.append(f'<circle cx="{x:g}" cy="{begin:g}" r="6" fill="{colour}"/>')
    parts += [f'<circle cx="{x:g}" cy="{_y(row):g}" r="5" fill="white" stroke="{colour}" stroke-width="2.5"/>' for row in lane.readers]
    parts.append(_text(x, begin - 12 if lane.writer >= 0 else begin - 6, lane.name, colour, "middle"))
    return parts


def _x(lane: int) -> float:
    return MARGIN + BOX_WIDTH + LANE_WIDTH * (lane + 0.55)


def _y(row: int) -> float:
    return MARGIN + HEAD_HEIGHT + ROW_HEIGHT * (row + 0.5)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="{width:g}"/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
