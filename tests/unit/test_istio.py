"""envoy/istio: what its files say agrees with envoy/bootstrap.yaml, with the service, and with one another."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from ext_proc.bundle.load import examine
from ext_proc.cli import app
from ext_proc.demo.files import shipped
from ext_proc.limits import DEFAULTS
from tests.envoy.harness import gatehouse_parts
from tests.envoy.istio_proxies import demo_bootstrap, resource

ENVOY_FILTERS = ["sidecar-inbound.yaml", "sidecar-inbound-socket.yaml", "gateway.yaml"]
DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"
BOOTSTRAP = demo_bootstrap()
every_envoy_filter = pytest.mark.parametrize("name", ENVOY_FILTERS)


def value(name: str, apply_to: str) -> dict[str, Any]:
    """The value of the only patch for `apply_to`."""
    patches = resource(name)["spec"]["configPatches"]
    (found,) = (patch["patch"]["value"] for patch in patches if patch["applyTo"] == apply_to)
    return dict(found)


def of_kind(kind: str) -> dict[str, Any]:
    found = yaml.safe_load_all(shipped("envoy/istio/gatehouse.yaml").read_text(encoding="utf-8"))
    (only,) = (part for part in found if part["kind"] == kind)
    return dict(only)


def pod(name: str) -> dict[str, Any]:
    """The pod's template of the Deployment in gatehouse.yaml, or what gatehouse-in-pod.yaml adds to another's."""
    deployment = of_kind("Deployment") if name == "gatehouse.yaml" else resource(name)
    return dict(deployment["spec"]["template"])


def container(name: str) -> dict[str, Any]:
    (only,) = pod(name)["spec"]["containers"]
    return dict(only)


def option(name: str, flag: str) -> str:
    (found,) = (text for text in container(name)["args"] if text.startswith(f"--{flag}="))
    return str(found.partition("=")[2])


@every_envoy_filter
def test_the_filter_is_that_of_the_bootstrap(name: str) -> None:
    assert value(name, "HTTP_FILTER") == gatehouse_parts(BOOTSTRAP)[0]


@every_envoy_filter
def test_the_connection_manager_gets_what_the_bootstrap_has(name: str) -> None:
    (manager,) = yaml.safe_load(BOOTSTRAP)["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    merged = value(name, "NETWORK_FILTER")
    assert merged["name"] == manager["name"]
    assert len(merged["typed_config"]) == 5
    assert merged["typed_config"].items() <= manager["typed_config"].items()


@every_envoy_filter
def test_the_buffer_is_what_bundles_believe(name: str) -> None:
    assert value(name, "LISTENER") == {"per_connection_buffer_limit_bytes": DEFAULTS.envoy_buffer}


@every_envoy_filter
def test_the_cluster_is_that_of_the_bootstrap_at_another_address(name: str) -> None:
    ours, theirs = value(name, "CLUSTER"), gatehouse_parts(BOOTSTRAP)[1]
    assert ours.pop("load_assignment")["cluster_name"] == theirs.pop("load_assignment")["cluster_name"]
    if name != "sidecar-inbound-socket.yaml":
        # The service has several addresses, and its connections cross a network.
        assert (ours.pop("type"), theirs.pop("type")) == ("STRICT_DNS", "STATIC")
        (protocol,) = ours["typed_extension_protocol_options"].values()
        assert protocol["explicit_http_config"]["http2_protocol_options"].pop("connection_keepalive")
    assert ours == theirs


@every_envoy_filter
def test_an_envoy_filter_names_its_workload_and_its_turn(name: str) -> None:
    found = resource(name)
    assert (found["apiVersion"], found["kind"]) == ("networking.istio.io/v1alpha3", "EnvoyFilter")
    assert found["spec"]["workloadSelector"]["labels"]
    assert found["spec"]["priority"] > 0
    contexts = {patch["match"]["context"] for patch in found["spec"]["configPatches"]}
    assert contexts == {"GATEWAY" if name == "gateway.yaml" else "SIDECAR_INBOUND"}


@pytest.mark.parametrize("name", ["sidecar-inbound.yaml", "gateway.yaml"])
def test_the_cluster_leads_to_the_service(name: str) -> None:
    (endpoint,) = value(name, "CLUSTER")["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    service = of_kind("Service")
    (port,) = service["spec"]["ports"]
    where = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.cluster.local"
    assert (address["address"], address["port_value"]) == (where, port["port"])
    # STRICT_DNS takes all addresses that a name has, and only a headless service's has those of the pods.
    assert service["spec"]["clusterIP"] == "None"


def test_the_service_leads_to_where_gatehouse_listens() -> None:
    (port,) = of_kind("Service")["spec"]["ports"]
    ports = {found["name"]: found["containerPort"] for found in container("gatehouse.yaml")["ports"]}
    assert of_kind("Service")["spec"]["selector"].items() <= pod("gatehouse.yaml")["metadata"]["labels"].items()
    assert option("gatehouse.yaml", "listen") == f"0.0.0.0:{ports[port['targetPort']]}"
    assert option("gatehouse.yaml", "admin") == f"0.0.0.0:{ports['admin']}"


def test_probes_ask_what_the_admin_endpoint_answers() -> None:
    found = {kind: container("gatehouse.yaml")[kind]["httpGet"] for kind in ("readinessProbe", "livenessProbe")}
    assert found["readinessProbe"] == {"path": "/readyz", "port": "admin"}
    assert found["livenessProbe"] == {"path": "/healthz", "port": "admin"}
    commands = [container("gatehouse-in-pod.yaml")[kind]["exec"]["command"][-1] for kind in found]
    assert re.findall(r"127\.0\.0\.1:9902/\w+", " ".join(commands)) == [
        "127.0.0.1:9902/readyz",
        "127.0.0.1:9902/healthz",
    ]


def test_only_the_port_for_envoys_is_open() -> None:
    policy = of_kind("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod("gatehouse.yaml")["metadata"]["labels"].items()
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["grpc"]


@pytest.mark.parametrize("name", ["gatehouse.yaml", "gatehouse-in-pod.yaml"])
def test_the_command_line_is_one_that_gatehouse_reads(name: str) -> None:
    command, *arguments = container(name)["args"]
    commands = typer.main.get_command(app)
    found = commands.get_command(None, command)  # type: ignore[attr-defined]
    assert found.make_context(command, list(arguments)).params["bundle"] == Path(option(name, "bundle"))


@pytest.mark.parametrize("name", ["gatehouse.yaml", "gatehouse-in-pod.yaml"])
def test_the_container_may_do_nothing_but_its_work(name: str) -> None:
    context = pod(name)["spec"].get("securityContext", {}) | container(name)["securityContext"]
    (user,) = set(re.findall(r"^USER (\d+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE))
    assert context["runAsNonRoot"] is context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert (context["runAsUser"], context["capabilities"]) == (int(user), {"drop": ["ALL"]})
    assert container(name)["resources"]["limits"]["memory"]


def test_running_exchanges_have_their_time_before_the_kill() -> None:
    (seconds,) = container("gatehouse.yaml")["lifecycle"]["preStop"]["exec"]["command"][1:]
    drain = float(option("gatehouse.yaml", "drain-seconds"))
    # Envoy looks DNS up every 5 s unless told otherwise.
    assert int(seconds) >= 2 * 5
    assert int(seconds) + drain + 5 <= pod("gatehouse.yaml")["spec"]["terminationGracePeriodSeconds"]


def test_the_bundle_is_valid_and_reads_istios_claims(tmp_path: Path) -> None:
    path = tmp_path / "bundle.yaml"
    path.write_text(of_kind("ConfigMap")["data"]["bundle.yaml"])
    examined = examine(path)
    assert (examined.problems, examined.warnings) == ((), ())
    (identity,) = yaml.safe_load(path.read_text())["identity"]
    assert identity == {"metadata": {"namespace": "envoy.filters.http.jwt_authn", "key": "payload"}}
    (volume,) = pod("gatehouse.yaml")["spec"]["volumes"]
    assert volume["configMap"]["name"] == of_kind("ConfigMap")["metadata"]["name"]
    (mount,) = container("gatehouse.yaml")["volumeMounts"]
    assert option("gatehouse.yaml", "bundle") == f"{mount['mountPath']}/bundle.yaml"


def test_both_containers_of_a_pod_see_the_same_socket() -> None:
    (endpoint,) = value("sidecar-inbound-socket.yaml", "CLUSTER")["load_assignment"]["endpoints"][0]["lb_endpoints"]
    path = endpoint["endpoint"]["address"]["pipe"]["path"]
    assert option("gatehouse-in-pod.yaml", "listen") == f"unix:{path}"
    annotations = pod("gatehouse-in-pod.yaml")["metadata"]["annotations"]
    (sidecar,) = json.loads(annotations["sidecar.istio.io/userVolumeMount"])
    assert sidecar in container("gatehouse-in-pod.yaml")["volumeMounts"]
    assert path.startswith(sidecar["mountPath"] + "/")
    volumes = {volume["name"]: volume for volume in pod("gatehouse-in-pod.yaml")["spec"]["volumes"]}
    assert "emptyDir" in volumes[sidecar["name"]]
    assert container("gatehouse-in-pod.yaml")["securityContext"]["runAsGroup"] == 1337
