"""The files under `deploy/` say what the program understands."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from controlplane.cli.root import app
from controlplane.runtime.catalogue import ALARMS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def options_of_up() -> set[str]:
    command: Any = typer.main.get_command(app)
    return {
        name
        for parameter in command.commands["up"].params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


def options_in(text: str) -> set[str]:
    """The options of every `loadstar up` in a command line."""
    found: set[str] = set()
    for command in re.findall(r"\bloadstar up\b([^;&|]*)", text):
        found |= {word.partition("=")[0] for word in shlex.split(command) if word.startswith("--")}
    return found


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    documents = yaml.safe_load_all((DEPLOY / "kuberay" / "loadstar.yaml").read_text())
    return {document["kind"]: document for document in documents}


def containers(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    return [each for group in groups for each in group["template"]["spec"]["containers"]]


def test_the_options_in_the_manifests_and_units_exist(manifests: dict[str, Any]) -> None:
    used = [" ".join(each["args"]) for each in containers(manifests["RayCluster"])]
    used += [unit.read_text() for unit in UNITS]
    named = [options_in(text) for text in used]
    assert sum(bool(options) for options in named) == 3
    assert set().union(*named) <= options_of_up()


def test_the_ray_cluster_keeps_the_rules_for_ray(manifests: dict[str, Any]) -> None:
    cluster = manifests["RayCluster"]
    spec = cluster["spec"]
    assert cluster["apiVersion"] == "ray.io/v1"
    assert f"ray=={spec['rayVersion']}\n" in (ROOT / "requirements.lock").read_text()
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["gcsFaultToleranceOptions"]["redisAddress"]
    for container in containers(cluster):
        environment = {each["name"]: each for each in container["env"]}
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        secret = environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert secret == {"name": "loadstar-token", "key": "token"}
        assert int(environment["RAY_gcs_rpc_server_reconnect_timeout_s"]["value"]) >= 86_400
        if container["name"] != "ray-head":
            assert environment["RAY_worker_niceness"]["value"] == "0"
        assert "$KUBERAY_GEN_RAY_START_CMD" in " ".join(container["args"])


def test_the_manifests_fit_each_other(manifests: dict[str, Any]) -> None:
    (group,) = manifests["RayCluster"]["spec"]["workerGroupSpecs"]
    labels = {"ray.io/cluster": "loadstar", "ray.io/group": group["groupName"]}
    assert manifests["Service"]["spec"]["selector"] == labels
    policy = manifests["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    named = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in manifests["Service"]["spec"]["ports"]} <= named
    assert {each["name"] for each in container["volumeMounts"]} == {
        each["name"] for each in pod["volumes"]
    }


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_valid(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    for each in UNITS:
        # What they start is not installed here.
        text = re.sub(r"/opt/loadstar/bin/\w+", "/bin/true", each.read_text())
        (tmp_path / each.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    complaints = [line for line in done.stderr.splitlines() if "loadstar" in line]
    assert not complaints


def test_every_alarm_of_a_site_is_measured_and_alarmed_on() -> None:
    source = (ROOT / "controlplane" / "site" / "alarms.py").read_text()
    raised = set(re.findall(r'present\["(\w+)"', source))
    assert {"plan_late", "overload"} <= raised
    assert raised <= set(ALARMS.values)
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    watched = " ".join(expression for expression in rules if "loadstar_site_alarms" in expression)
    assert {alarm for alarm in ALARMS.values if not re.search(rf"\b{alarm}\b", watched)} == set()
