"""The profiler's report: what ran outside the event loop is left out, what C did counts for its caller."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import CodeType

from tests.bench.sampler import report

_ROOT = Path(__file__).resolve().parents[2]


def _code(path: str, name: str) -> CodeType:
    return compile("pass", path, "exec").replace(co_name=name, co_qualname=name)


_LOOP = _code("/usr/lib/python3/asyncio/runners.py", "run")
_ENGINE = _code(str(_ROOT / "ext_proc/engine/exchange.py"), "receive")
_LIBRARY = _code("/x/site-packages/other/thing.py", "work")


def test_samples_count_for_the_innermost_of_our_floors() -> None:
    text = report(Counter({(_LIBRARY, _ENGINE, _LOOP): 3, (_LOOP,): 1}), {"1 python": 2.5})
    assert "4 samples" in text
    assert "75.0%  ext_proc/engine" in text
    assert "25.0%  the event loop and gRPC's core" in text
    assert "75.0%  other/thing.py:1 work" in text
    assert "2.50  1 python" in text


def test_what_ran_before_the_event_loop_is_left_out() -> None:
    text = report(Counter({(_ENGINE, _LOOP): 1, (_ENGINE,): 9}), {})
    assert "1 samples" in text


def test_what_starts_the_event_loop_is_not_above_it() -> None:
    main = _code(str(_ROOT / "ext_proc/cli.py"), "main")
    assert "ext_proc/cli.py" not in report(Counter({(_ENGINE, _LOOP, main): 1}), {})
