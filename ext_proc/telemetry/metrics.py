"""Prometheus metrics over trails, in a registry of their own.

Rules:
- Every series carries `region` and, where it belongs to an exchange, the `revision` that the exchange ran under: the
  label is set when it is observed, so a reload starts new series and an exchange counts to the bundle it began with.
- No label grows without bound: names and reasons past a count become "other", and the series of all but the last
  `REVISIONS` revisions are dropped.

Not here: serving them (server/admin.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase

from ext_proc.trail import Entry, Trail, Word

REVISIONS = 8
NAMES = 256  # distinct routes, policies, and models
REASONS = 64  # distinct reasons of one policy
LONGEST = 64  # characters of a label's value
OTHER = "other"
# The kinds of tokens that a policy may have measured; cached ones are input, too, and reasoning is output.
TOKENS = ("input", "output", "cached", "cache_write", "reasoning", "input_audio", "output_audio")
MOST_TOKENS = 10**12  # of one exchange; a larger figure is no count

_EXCHANGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_STORE_SECONDS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1)
_POLICY_SECONDS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


class Vocabulary:
    """The first `size` values of a label; any other becomes `OTHER`."""

    __slots__ = ("_known", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: set[str] = set()

    def fold(self, value: str) -> str:
        """`value`, or `OTHER` where it is one too many, too long, or no printable text."""
        if value in self._known:
            return value
        if len(self._known) >= self._size or len(value) > LONGEST or not value.isprintable():
            return OTHER
        self._known.add(value)
        return value


class Metrics:
    """All metrics of one process.

    Args:
        region: what the operator calls the place this process runs in.
    """

    def __init__(self, region: str = "") -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._region = region
        self._revisions: list[str] = []  # the latest used last
        self._routes = Vocabulary(NAMES)
        self._policies = Vocabulary(NAMES)
        self._models = Vocabulary(NAMES)
        self._reasons: dict[str, Vocabulary] = {}
        self._visit_reasons: dict[str, Vocabulary] = {}
        self._children: dict[tuple[Any, ...], Any] = {}
        place = ("region", "revision")
        self._exchanges = Counter(
            "gatehouse_exchanges",
            "Exchanges that are over, by how they ended.",
            (*place, "route", "protocol", "outcome", "cause"),
            registry=self.registry,
        )
        self._duration = Histogram(
            "gatehouse_exchange_duration_seconds",
            "From an exchange's first event to its end.",
            (*place, "route", "protocol"),
            buckets=_EXCHANGE_SECONDS,
            registry=self.registry,
        )
        self._verdicts = Counter(
            "gatehouse_verdicts",
            "Verdicts of policies; those that are not enforced changed nothing.",
            (*place, "policy", "stage", "verdict", "reason", "enforced"),
            registry=self.registry,
        )
        self._policy_duration = Histogram(
            "gatehouse_policy_duration_seconds",
            "What one policy took at one stage of one exchange, over all its messages.",
            (*place, "policy", "stage"),
            buckets=_POLICY_SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter(
            "gatehouse_tokens",
            "Tokens, reported by providers or estimated here; cached, cache_write and input_audio are part of input,"
            " reasoning and output_audio of output.",
            (*place, "route", "protocol", "model", "kind", "counted"),
            registry=self.registry,
        )
        self._unpriced = Counter(
            "gatehouse_prices_unknown",
            "Exchanges whose model has no price although there are prices.",
            (*place, "route", "model"),
            registry=self.registry,
        )
        self._active = Gauge(
            "gatehouse_exchanges_active", "Exchanges that are under way.", ("region",), registry=self.registry
        )
        self._reloads = Counter(
            "gatehouse_bundle_reloads",
            "Attempts to replace the bundle while running.",
            ("region", "result"),
            registry=self.registry,
        )
        self._info = Gauge(
            "gatehouse_bundle_info",
            "1 for the bundle in force.",
            ("region", "name", "revision"),
            registry=self.registry,
        )
        self._store_operations = Counter(
            "gatehouse_store_operations",
            "Operations on the store of policies' state, by how they went.",
            ("region", "store", "operation", "result"),
            registry=self.registry,
        )
        self._store_duration = Histogram(
            "gatehouse_store_operation_duration_seconds",
            "What an operation on the store took, with its waiting; failed ones count, too.",
            ("region", "store", "operation"),
            buckets=_STORE_SECONDS,
            registry=self.registry,
        )
        self._store_up = Gauge(
            "gatehouse_store_up",
            "1 where the last operation on the store was answered, 0 where it failed.",
            ("region", "store"),
            registry=self.registry,
        )
        self._keys = Counter(
            "gatehouse_key_refreshes",
            "Attempts to have issuers' keys anew, from a URL or from a file that changed.",
            ("region", "result"),
            registry=self.registry,
        )
        self._visits = Counter(
            "gatehouse_page_visits",
            "Visits of people to policies' pages, by the class of their status.",
            ("region", "policy", "status", "reason"),
            registry=self.registry,
        )
        for result in ("ok", "failed"):
            self._reloads.labels(region, result)
            self._keys.labels(region, result)

    def record(self, trail: Trail) -> None:
        """Counts a finished exchange."""
        place = (self._region, self._revision(trail.revision))
        route = self._routes.fold(trail.route)
        what = (*place, route, trail.protocol)
        self._child(self._exchanges, (*what, str(trail.outcome), trail.cause)).inc()
        self._child(self._duration, what).observe(trail.duration)
        counted = "estimated" if trail.facts.get("usage_estimated") is True else "reported"
        for kind in TOKENS:
            tokens = trail.facts.get(f"{kind}_tokens")
            if isinstance(tokens, int) and 0 < tokens <= MOST_TOKENS:
                self._child(self._tokens, (*what, self._model(trail), kind, counted)).inc(tokens)
        if trail.facts.get("price_unknown"):
            self._child(self._unpriced, (*place, route, self._model(trail))).inc()
        spent: dict[tuple[str, str], float] = {}
        for entry in trail.entries:
            policy = self._policies.fold(entry.policy)
            at = (policy, str(entry.stage))
            reason = self._reason(policy, entry)
            verdict = (*place, *at, str(entry.verdict), reason, "true" if entry.enforced else "false")
            self._child(self._verdicts, verdict).inc(entry.count)
            spent[at] = spent.get(at, 0.0) + entry.duration
        for at, seconds in spent.items():
            self._child(self._policy_duration, (*place, *at)).observe(seconds)

    def reloaded(self, ok: bool) -> None:
        """Counts an attempt to replace the bundle."""
        self._reloads.labels(self._region, "ok" if ok else "failed").inc()

    def store_operation(self, store: str, operation: str, result: str, seconds: float) -> None:
        """Counts an operation on a store.

        Args:
            store: "embedded" or "redis".
            operation: "read", "write" or "count".
            result: "ok"; "conflict", where a version had changed; "limited", where a limit would be passed; "failed";
                "cancelled", where nobody waited for the end.
        """
        self._child(self._store_operations, (self._region, store, operation, result)).inc()
        self._child(self._store_duration, (self._region, store, operation)).observe(seconds)

    def store_up(self, store: str, up: bool) -> None:
        """Says whether a store answers."""
        self._store_up.labels(self._region, store).set(up)

    def store_gone(self, store: str) -> None:
        """Says that no store of this kind is open any more."""
        self._store_up.remove_by_labels({"store": store})

    def keys_refreshed(self, ok: bool) -> None:
        """Counts an attempt to have the keys of an issuer anew."""
        self._keys.labels(self._region, "ok" if ok else "failed").inc()

    def visited(self, policy: str, status: int, reason: str) -> None:
        """Counts a visit to a page.

        Args:
            policy: "" where the visit reached none.
            status: of HTTP; 0 where the visit was cut off.
        """
        policy = self._policies.fold(policy)
        known = self._visit_reasons.setdefault(policy, Vocabulary(REASONS))
        self._child(self._visits, (self._region, policy, f"{status // 100}xx", known.fold(reason))).inc()

    def in_force(self, name: str, revision: str) -> None:
        """Says which bundle is in force."""
        self._info.clear()
        self._info.labels(self._region, name, revision).set(1)

    def track_active(self, count: Callable[[], float]) -> None:
        """Takes the number of exchanges under way from `count` at each scrape."""
        self._active.labels(self._region).set_function(count)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics as text, and its content type: OpenMetrics where `accept` asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _model(self, trail: Trail) -> str:
        """The model that answered, or that was asked."""
        return self._models.fold(str(trail.facts.get("model_served") or trail.facts.get("model", "")))

    def _reason(self, policy: str, entry: Entry) -> str:
        # What a change did is told in words of its own ("hid 2 of 7 tools"): for the trail, no label.
        if entry.verdict is Word.CHANGE:
            return ""
        # One vocabulary per policy: a plug-in with many reasons cannot crowd out the others'.
        known = self._reasons.get(policy)
        if known is None:
            known = self._reasons[policy] = Vocabulary(REASONS)
        return known.fold(entry.reason)

    def _child(self, metric: MetricWrapperBase, labels: tuple[str, ...]) -> Any:
        # The library's `labels` takes a lock and makes texts anew: five times the cost of looking a series up here.
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _revision(self, revision: str) -> str:
        if self._revisions and self._revisions[-1] == revision:
            return revision
        if revision in self._revisions:
            self._revisions.remove(revision)
        self._revisions.append(revision)
        if len(self._revisions) > REVISIONS:
            self._retire(self._revisions.pop(0))
        return revision

    def _retire(self, revision: str) -> None:
        metrics = (self._exchanges, self._duration, self._verdicts, self._policy_duration, self._tokens, self._unpriced)
        for metric in metrics:
            metric.remove_by_labels({"revision": revision})
        self._children = {key: child for key, child in self._children.items() if key[2] != revision}
