"""The tables of a run as Markdown, and everything behind them as JSON.

Rules:
- A ratio comes first and carries its spread; absolute figures stand beside it, for they hold on one machine only.
- What was seen of the rest of the machine, and what was left out, stands above the tables.

Not here: what a figure means at length (docs/benchmarks/README.md), the picture (chart.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.cases import EVENT_EVERY, Case
from tests.bench.figures import Figures, Sample, Spread
from tests.bench.rounds import CONNECTIONS, Memory, Pace
from tests.bench.variants import DIRECT, GO, MCP_FILTER, Variant


@dataclass(frozen=True, slots=True)
class Run:
    """A run, measured.

    Attributes:
        facts: what it ran on and of which commit, in words, by title.
        left_out: sentences about what could not be measured here.
        memory: by variant.
        again: how many samples were taken again, because something else kept the machine busy.
        failures: of samples that were taken again for them, in words.
        messages: ext_proc messages per exchange, by JSON case; {} where no processor ran.
    """

    facts: Mapping[str, str]
    left_out: Sequence[str]
    pace: Pace
    cases: Sequence[Case]
    variants: Sequence[Variant]
    figures: Figures
    again: int
    failures: Sequence[str]
    memory: Mapping[str, Memory]
    messages: Mapping[str, tuple[float, float]]


def markdown(run: Run) -> str:
    """The tables; headings from the second level on."""
    parts = [_facts(run)]
    parts += [f"**Left out:** {sentence}" for sentence in run.left_out]
    parts += [f"**Failed, and taken again:** {failure}" for failure in run.failures]
    parts.append("## Requests")
    parts += [_requests(run, case) for case in run.cases if not case.streams]
    parts.append("## Streams")
    parts += [_streams(run, case) for case in run.cases if case.streams]
    parts += ["## Memory", _memory(run)]
    return "\n\n".join(parts) + "\n"


def as_json(run: Run) -> str:
    """Every sample, without the single latencies."""
    return json.dumps(
        {
            "facts": dict(run.facts),
            "left_out": list(run.left_out),
            "samples_taken_again": run.again,
            "failures": list(run.failures),
            "samples": [_sample(sample) for sample in run.figures.samples],
            "memory": {name: _as_dict(memory) for name, memory in run.memory.items()},
            "messages_per_exchange": dict(run.messages),
        },
        indent=1,
    )


def _facts(run: Run) -> str:
    lines = [f"- {title}: {text}" for title, text in run.facts.items()]
    busy = run.figures.foreign()
    if busy is not None:
        lines.append(
            f"- busy with something else during the samples: {busy} CPUs; samples taken again for it: {run.again}"
        )
    lines.append(f"- {run.pace.rounds} rounds, interleaved; figures are medians over the rounds (lowest to highest)")
    lines += [f"- **{variant.name}**: {variant.means}" for variant in run.variants]
    return "\n".join(lines)


def _requests(run: Run, case: Case) -> str:
    asked = case.asks
    if case.name in run.messages:
        asked += f"; ext_proc messages each way: {run.messages[case.name][0]:g}"
    head = (
        "p50 vs direct", "requests/s vs direct", "vs Go no-op", "vs `mcp` filter", "CPU µs/request",
        "Envoy's CPU µs/request", "load's and upstream's", "p50 ms", "p99 ms", "requests/s",
    )  # fmt: skip
    rows = []
    for variant in run.variants:
        alone, loaded = (variant.name, case.name, 1), (variant.name, case.name, CONNECTIONS)
        rows.append(
            (
                variant.name,
                _ratio(run, variant, DIRECT, case, 1, _p50),
                *(_ratio(run, variant, against, case, CONNECTIONS, _rate) for against in (DIRECT, GO, MCP_FILTER)),
                _cell(run.figures.over_rounds(*loaded, lambda sample: sample.micros("processor"))),
                _cell(run.figures.over_rounds(*loaded, lambda sample: sample.micros("envoy"))),
                _cell(run.figures.over_rounds(*loaded, _bench_micros)),
                f"{run.figures.pooled(*alone, 0.5):.2f}",
                f"{run.figures.pooled(*alone, 0.99):.2f}",
                _cell(run.figures.over_rounds(*loaded, _rate)),
            )
        )
    return f"### {case.name}\n\nPlan: {asked}.\n\n{_table(head, rows)}"


def _streams(run: Run, case: Case) -> str:
    wanted = case.streams / EVENT_EVERY
    head = (
        "events/s vs direct", "added delay, p50 ms", "added delay, p99 ms", "CPU µs/event", "Envoy's CPU µs/event",
        "CPUs in use", "events/s",
    )  # fmt: skip
    rows = []
    for variant in run.variants:
        here = (variant.name, case.name, case.streams)
        against = (variant.name, DIRECT, case.name, case.streams)
        rows.append(
            (
                variant.name,
                _ratio(run, variant, DIRECT, case, case.streams, _rate),
                *(
                    "-" if variant.name == DIRECT else _cell(run.figures.difference(*against, read))
                    for read in (_p50, _p99)
                ),
                _cell(run.figures.over_rounds(*here, lambda sample: sample.micros("processor"))),
                _cell(run.figures.over_rounds(*here, lambda sample: sample.micros("envoy"))),
                _cell(run.figures.over_rounds(*here, lambda sample: sum(sample.cpu.values()) / sample.seconds)),
                _cell(run.figures.over_rounds(*here, _rate)),
            )
        )
    return f"### {case.name}\n\nPlan: {case.asks}. Written: {wanted:.0f} events/s.\n\n{_table(head, rows)}"


def _memory(run: Run) -> str:
    head = ("idle", "after all rounds", "per open silent stream", "per open silent stream in Envoy")
    rows = [
        (
            variant.name,
            _size(run.memory[variant.name].idle, 1 << 20, "MiB"),
            _size(run.memory[variant.name].loaded, 1 << 20, "MiB"),
            _size(run.memory[variant.name].per_stream, 1 << 10, "KiB"),
            _size(run.memory[variant.name].per_stream_envoy, 1 << 10, "KiB"),
        )
        for variant in run.variants
    ]
    return _table(head, rows)


def _rate(sample: Sample) -> float:
    return sample.rate


def _bench_micros(sample: Sample) -> float | None:
    load, upstream = sample.micros("load"), sample.micros("upstream")
    return None if load is None or upstream is None else load + upstream


def _p50(sample: Sample) -> float:
    return sample.percentile(0.5)


def _p99(sample: Sample) -> float:
    return sample.percentile(0.99)


def _ratio(
    run: Run, variant: Variant, against: str, case: Case, connections: int, read: Callable[[Sample], float]
) -> str:
    if variant.name == against:
        return "1"
    return _cell(run.figures.ratio(variant.name, against, case.name, connections, read))


def _cell(value: Spread | None) -> str:
    return "-" if value is None else str(value)


def _size(value: float | None, unit: int, name: str) -> str:
    return "-" if value is None else f"{value / unit:.1f} {name}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| | {' | '.join(head)} |", "|" + "---|" * (len(head) + 1)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def _sample(sample: Sample) -> dict[str, object]:
    return {
        "variant": sample.variant,
        "case": sample.case,
        "round": sample.round,
        "connections": sample.connections,
        "seconds": round(sample.seconds, 4),
        "count": sample.count,
        "p50_ms": round(sample.percentile(0.5), 4),
        "p99_ms": round(sample.percentile(0.99), 4),
        "cpu_seconds": {name: round(used, 4) for name, used in sample.cpu.items()},
        "foreign_cpu_seconds": round(sample.foreign, 4),
    }


def _as_dict(memory: Memory) -> dict[str, object]:
    return {
        "idle": memory.idle,
        "after_all_rounds": memory.loaded,
        "per_stream": memory.per_stream,
        "per_stream_envoy": memory.per_stream_envoy,
    }
