"""The report of a run: tables with what is missing, JSON, and a picture."""

from __future__ import annotations

import json
import xml.etree.ElementTree

from tests.bench.cases import cases
from tests.bench.chart import chart
from tests.bench.figures import Figures, Sample
from tests.bench.report import Run, as_json, markdown
from tests.bench.rounds import QUICK, Memory
from tests.bench.variants import DIRECT, GATEHOUSE, VARIANTS


def _run() -> Run:
    call, stream = cases()[2], cases()[5]
    variants = [variant for variant in VARIANTS if variant.name in (DIRECT, GATEHOUSE)]
    samples = []
    for name, count in ((DIRECT, 100), (GATEHOUSE, 50)):
        cpu = {"envoy": 0.1, "load": 0.1, "upstream": 0.1} | ({"processor": 0.2} if name == GATEHOUSE else {})
        for case, connections in ((call, 1), (call, 32), (stream, 10)):
            samples.append(Sample(name, case.name, 0, connections, 1.0, count, (1_000_000,) * count, cpu, 0.1))
    memory = {DIRECT: Memory(None, None, None, 2048.0), GATEHOUSE: Memory(3 << 20, 4 << 20, 1024.0, 2048.0)}
    left_out = ["the Go no-op: there is no `go` here."]
    messages = {call.name: (4.0, 4.0)}
    return Run(
        {"commit": "abc"},
        left_out,
        QUICK,
        [call, stream],
        variants,
        Figures(samples),
        0,
        ["Gatehouse: it broke"],
        memory,
        messages,
    )


def test_the_tables_have_ratios_first_and_say_what_was_left_out() -> None:
    text = markdown(_run())
    assert "**Failed, and taken again:** Gatehouse: it broke" in text
    assert "**Left out:** the Go no-op: there is no `go` here." in text
    assert "| Gatehouse | 1.00 (1.00 to 1.00) | 0.50 (0.50 to 0.50) | - | - | 4000 " in text
    assert "; ext_proc messages each way: 4." in text
    assert "| Gatehouse | 3.0 MiB | 4.0 MiB | 1.0 KiB | 2.0 KiB |" in text


def test_the_json_has_every_sample() -> None:
    found = json.loads(as_json(_run()))
    assert len(found["samples"]) == 6
    assert found["samples"][0]["count"] == 100
    assert found["left_out"] == ["the Go no-op: there is no `go` here."]


def test_the_picture_has_a_bar_for_every_case_and_variant() -> None:
    run = _run()
    root = xml.etree.ElementTree.fromstring(chart(run.figures, run.cases, run.variants))
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "tools/call 300 B" in words
    assert words.count("0.50") == 1
    assert words.count("1.00") == 1
