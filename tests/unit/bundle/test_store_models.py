"""What an operator may write under `store`, and what is told of a mistake."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.bundle.building import changed, examined

URL = "redis://app:hunter2@redis.example:6379/0"


def problems(store: Any, url: str = URL) -> dict[str, str]:
    """The message of each problem by its path."""
    bundle = {**changed("store", store), "secrets": {"where": {"env": "URL"}}}
    found = examined(bundle, environ={"URL": url}).problems
    assert "hunter2" not in "".join(map(str, found))
    return {problem.path: problem.message for problem in found}


@pytest.mark.parametrize(
    "store",
    [
        {},
        {"hosts": "one"},
        {"hosts": "several", "redis": {"url": "where"}},
        {"embedded": {"path": "state/here.db", "max_size": "1MiB", "timeout": "5ms"}},
        {
            "redis": {
                "url": "where",
                "prefix": "acme:prod",
                "cluster": True,
                "timeout": "20ms",
                "connect_timeout": "1s",
                "max_connections": 4,
                "failures": 1,
                "pause": "5s",
            }
        },
    ],
    ids=str,
)
def test_a_good_store_has_no_problem(store: Any) -> None:
    assert problems(store) == {}


@pytest.mark.parametrize(
    ("store", "path", "words"),
    [
        ({"hosts": 2}, "store.hosts", "'one' or 'several'"),
        ({"embedded": {"path": ""}}, "store.embedded.path", "at least 1 character"),
        ({"embedded": {"max_size": "1KiB"}}, "store.embedded.max_size", "at least 1MiB"),
        ({"embedded": {"timeout": 20}}, "store.embedded.timeout", "duration with its unit"),
        ({"embeded": {}}, "store.embeded", "did you mean 'embedded'?"),
        ({"redis": {}}, "store.redis.url", "required"),
        ({"redis": {"url": "elsewhere"}}, "store.redis.url", "no usable secret"),
        ({"redis": {"url": "where", "prefix": "{x}"}}, "store.redis.prefix", "letters, digits"),
        ({"redis": {"url": "where", "prefix": "x" * 65}}, "store.redis.prefix", "1 to 64"),
        ({"redis": {"url": "where", "failures": 0}}, "store.redis.failures", "at least 1"),
        ({"redis": {"url": "where"}, "embedded": {}}, "store", "either embedded or redis"),
    ],
    ids=str,
)
def test_each_mistake_is_told_at_its_place(store: Any, path: str, words: str) -> None:
    found = problems(store)
    assert list(found) == [path]
    assert words in found[path]


def test_an_url_written_in_place_of_its_key_is_not_shown() -> None:
    assert "no usable secret" in problems({"redis": {"url": URL}})["store.redis.url"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://app:hunter2@redis.example", "rediss://"),
        ("redis://app:hunter2@redis.example?retry_on_timeout=1", "options only"),
        ("redis://app:hunter2@redis.example:hunter2", "such as redis://"),
    ],
)
def test_an_url_that_cannot_be_used_is_a_problem_that_does_not_show_it(url: str, words: str) -> None:
    ((path, message),) = problems({"redis": {"url": "where"}}, url).items()
    assert path == "store.redis"
    assert words in message
    assert "where" in message


def test_a_clusters_node_has_no_socket() -> None:
    url = "unix://app:hunter2@/run/redis.sock"
    assert problems({"redis": {"url": "where"}}, url) == {}
    assert "Unix socket" in problems({"redis": {"url": "where", "cluster": True}}, url)["store.redis"]
