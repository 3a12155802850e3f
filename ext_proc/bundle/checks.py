"""What can be seen only across the parts of a bundle: references, names that stand twice, promises that cannot be kept.

Rules:
- Problems are found in the bundle as read, so that one wrong part hides nothing in the others.
- Warnings are about a bundle that loads, and may be meant.

Not here: the format of each part (models.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ext_proc.bundle.models import WITHIN, Bundle, MatchPart, RoutePart
from ext_proc.bundle.problems import Describer, Place, near
from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.bundle.store_settings import weakness
from ext_proc.engine.hooks import hooks_of
from ext_proc.errors import Problem
from ext_proc.messages import Message
from ext_proc.policy import Policy
from ext_proc.trail import Stage
from ext_proc.units import parse_size

# Envoy's default for `message_timeout` (ExternalProcessor in ext_proc.proto), in seconds.
MESSAGE_TIMEOUT = 0.200


def references(tree: Mapping[str, Any], describer: Describer) -> list[Problem]:
    """Names that stand twice, and policies of routes that do not exist."""
    problems: list[Problem] = []
    for section in ("routes", "policies"):
        taken: dict[str, int] = {}
        for index, entry in _entries(tree, section):
            name = entry.get("name")
            if isinstance(name, str) and taken.setdefault(name, index) != index:
                message = f"expected a name of its own; {section}[{taken[name]}] has it too"
                problems.append(describer.problem((section, index, "name"), message, name))
    written = [entry["name"] for _, entry in _entries(tree, "policies") if isinstance(entry.get("name"), str)]
    policies = list(dict.fromkeys(written))
    for index, route in _entries(tree, "routes"):
        names = route.get("policies")
        seen: set[str] = set()
        for position, name in enumerate(names if isinstance(names, list) else ()):
            if not isinstance(name, str):
                continue
            place: Place = ("routes", index, "policies", position)
            if name not in policies:
                known = ", ".join(policies) or "none"
                message = f"no policy of this name; there are {known}{near(name, policies)}"
                problems.append(describer.problem(place, message, name))
            elif name in seen:
                problems.append(describer.problem(place, "expected every policy once in a route", name))
            seen.add(name)
    return problems


def contradictions(tree: Mapping[str, Any], describer: Describer) -> list[Problem]:
    """Written limits that exceed another written one; a default gives way instead (LimitsPart.resolved)."""
    limits = tree.get("limits")
    problems = []
    for smaller, larger in WITHIN:
        if not isinstance(limits, Mapping) or smaller not in limits or larger not in limits:
            continue
        try:
            excess = parse_size(limits[smaller]) > parse_size(limits[larger])
        except ValueError:
            continue  # models.py tells
        if excess:
            message = f"expected at most limits.{larger}, which is {limits[larger]}"
            problems.append(describer.problem(("limits", smaller), message, limits[smaller]))
    return problems


def warnings(bundle: Bundle, policies: Mapping[str, Policy[Any, Any]], describer: Describer) -> list[Problem]:
    """What loads, and is probably not meant."""
    return [
        *_slow_decisions(bundle, describer),
        *_unused_policies(bundle, describer),
        *_unreachable_routes(bundle, describer),
        *_evadable_routes(bundle, describer),
        *_deaf_policies(bundle, policies, describer),
        *_changed_before_they_are_seen(bundle, policies, describer),
        *_conditions_without_a_message(bundle, policies, describer),
        *_state_of_one_host(bundle, policies, describer),
        *_weaknesses(bundle, policies, describer),
    ]


def _slow_decisions(bundle: Bundle, describer: Describer) -> Iterator[Problem]:
    decision = bundle.limits.decision
    if decision >= MESSAGE_TIMEOUT:
        message = "Envoy gives up after its message_timeout, 200 ms unless set: raise it above this, or stay below it"
        yield describer.problem(("limits", "decision"), message)
    for index, policy in enumerate(bundle.policies):
        if "timeout" in policy.model_fields_set and policy.timeout > decision:
            message = "longer than limits.decision, which ends the hook first"
            yield describer.problem(("policies", index, "timeout"), message)


def _unused_policies(bundle: Bundle, describer: Describer) -> Iterator[Problem]:
    used = {name for route in bundle.routes for name in route.policies}
    for index, policy in enumerate(bundle.policies):
        if policy.name not in used:
            yield describer.problem(("policies", index, "name"), "no route names this policy", policy.name)


def _unreachable_routes(bundle: Bundle, describer: Describer) -> Iterator[Problem]:
    for index, route in enumerate(bundle.routes):
        for earlier in bundle.routes[:index]:
            if _covers(earlier.match, route.match):
                message = f"never reached: route {earlier.name!r} above takes all of its requests"
                yield describer.problem(("routes", index, "match"), message)
                break


def _evadable_routes(bundle: Bundle, describer: Describer) -> Iterator[Problem]:
    """Routes chosen by what a client writes: with another host or header its requests go ungoverned."""
    if bundle.unmatched == "deny":
        return
    for index, route in enumerate(bundle.routes):
        anybody = route.match.model_copy(update={"hosts": [], "headers": {}})
        caught = any(_covers(other.match, anybody) for other in bundle.routes if other is not route)
        if route.policies and (route.match.hosts or route.match.headers) and not caught:
            message = (
                "a request with another host or header is not governed: set unmatched: deny, or add a route for it"
            )
            yield describer.problem(("routes", index, "match"), message)


def _deaf_policies(bundle: Bundle, policies: Mapping[str, Policy[Any, Any]], describer: Describer) -> Iterator[Problem]:
    for index, route in enumerate(bundle.routes):
        possible = _possible(route)
        for position, name in enumerate(route.policies):
            hooks = {stage: hook for stage, hook in hooks_of(policies[name]).items() if stage in possible}
            heard = {
                stage: [cls for cls in hook.wants if _any_common((cls,), possible[stage])]
                for stage, hook in hooks.items()
            }
            # A hook for the messages of several protocols says that the policy is for each of them: here for this one.
            if any(0 < len(heard[stage]) < len(hook.wants) for stage, hook in hooks.items()):
                continue
            for stage, hook in hooks.items():
                if heard[stage]:
                    continue
                wanted = " or ".join(cls.__name__ for cls in hook.wants)
                message = f"its {stage} hook waits for {wanted}, which {route.protocol} has none of: it is never called"
                yield describer.problem(("routes", index, "policies", position), message, name)


def _changed_before_they_are_seen(
    bundle: Bundle, policies: Mapping[str, Policy[Any, Any]], describer: Describer
) -> Iterator[Problem]:
    """Answers go through the policies in reverse."""
    for index, route in enumerate(bundle.routes):
        for position, name in enumerate(route.policies):
            if not policies[name].sees_answers_first:
                continue
            hooks = {other: hooks_of(policies[other]).get(Stage.RESPONSE) for other in route.policies[position + 1 :]}
            behind = [other for other, hook in hooks.items() if hook is not None and not hook.observes]
            if behind:
                message = f"{', '.join(behind)} may change answers before it sees them: put it behind"
                yield describer.problem(("routes", index, "policies", position), message, name)


def _conditions_without_a_message(
    bundle: Bundle, policies: Mapping[str, Policy[Any, Any]], describer: Describer
) -> Iterator[Problem]:
    for index, part in enumerate(bundle.policies):
        used = sorted(part.when.variables & {"message", "args"}) if part.when is not None else ()
        without = [stage for stage, hook in hooks_of(policies[part.name]).items() if not hook.wants]
        if used and without:
            stages = " and ".join(without)
            message = (
                f"{' and '.join(used)} cannot be known at {stages}: the condition fails there, and on_error follows"
            )
            yield describer.problem(("policies", index, "when"), message)


def _state_of_one_host(
    bundle: Bundle, policies: Mapping[str, Policy[Any, Any]], describer: Describer
) -> Iterator[Problem]:
    message = weakness(bundle, policies)
    if message is not None:
        yield describer.problem(("store", "hosts"), message)


def _weaknesses(bundle: Bundle, policies: Mapping[str, Policy[Any, Any]], describer: Describer) -> Iterator[Problem]:
    """What policies say of how they are set up."""
    for index, part in enumerate(bundle.policies):
        if part.mode != "off":
            for sentence in policies[part.name].weaknesses():
                yield describer.problem(("policies", index, "parameters"), sentence)


def _possible(route: RoutePart) -> dict[Stage, tuple[type[Message], ...]]:
    """The classes of message that a route can hand to its policies."""
    protocol = PROTOCOLS[route.protocol]
    answers = tuple(cls for codec in protocol.codecs() for cls in codec.answers(()))
    return {Stage.REQUEST: protocol.requests, Stage.RESPONSE: answers}


def _any_common(wanted: tuple[type[Message], ...], possible: tuple[type[Message], ...]) -> bool:
    return any(issubclass(a, b) or issubclass(b, a) for a in wanted for b in possible)


def _covers(earlier: MatchPart, later: MatchPart) -> bool:
    """Whether every request that `later` is for is surely `earlier`'s."""
    if earlier == later:
        return True
    if earlier.hosts or earlier.headers:
        return False
    path = later.exact or later.path
    if earlier.path is None or path is None:
        return earlier.exact is not None and earlier.exact == later.exact
    prefix = earlier.path.rstrip("/")
    return path.rstrip("/") == prefix or path.startswith(prefix + "/")


def _entries(tree: Mapping[str, Any], section: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    found = tree.get(section)
    for index, entry in enumerate(found if isinstance(found, list) else ()):
        if isinstance(entry, Mapping):
            yield index, entry
