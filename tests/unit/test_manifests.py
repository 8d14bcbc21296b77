"""The files of deploy/: their commands exist, and Kubernetes' schemas take them."""

import shlex
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml
from training import ROOT

from daskgnn.cli import gnn
from daskgnn.cluster.serving import parsed

DEPLOY = ROOT / "deploy"
SCHEMAS = "operator/deployment/helm/dask-kubernetes-operator/crds"


def content(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def check(words):
    """Fail if the command line does not take these words."""
    name, *rest = words
    if name in ("scheduler", "worker"):
        parsed(name, rest)
    else:
        command = gnn.get_command(click.Context(gnn), name)
        command.make_context(name, rest)


def test_commands_of_containers():
    services = content("compose/compose.yaml")["services"]
    ours = {n: s for n, s in services.items() if s.get("image") == "daskgnn"}
    assert {"scheduler", "worker-1", "worker-2", "driver"} <= ours.keys()
    for service in ours.values():
        check(shlex.split(service["command"]))


def containers(tree):
    """Yield every container of a manifest."""
    if isinstance(tree, dict):
        yield from tree.get("containers", ())
        tree = tree.values()
    if isinstance(tree, list | type({}.values())):
        for value in tree:
            yield from containers(value)


def test_commands_of_pods():
    cluster, job = content("kubernetes/cluster.yaml"), content("kubernetes/job.yaml")
    for container in containers(cluster):
        check(container["args"])
    (driver,) = containers(job["spec"]["job"])
    lines = driver["args"][0].split(";")
    for line in lines:
        if "exec daskgnn" in line:
            words = shlex.split(line.partition("exec daskgnn")[2])
            check([w.replace("$DASK_SCHEDULER_ADDRESS", "tcp://a:1") for w in words])


def test_the_job_has_the_cluster_of_the_other_manifest():
    cluster, job = content("kubernetes/cluster.yaml"), content("kubernetes/job.yaml")
    there = job["spec"]["cluster"]["spec"]
    there["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = "daskgnn"
    assert there == cluster["spec"]


def closed(schema):
    """Return a schema that refuses fields it does not name, as the server warns of."""
    if isinstance(schema, list):
        return [closed(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    if "x-kubernetes-preserve-unknown-fields" in schema:
        found.pop("additionalProperties", None)
    return found


@pytest.mark.parametrize(
    ("manifest", "kind"), [("cluster", "daskcluster"), ("job", "daskjob")]
)
def test_schemas_take_the_manifests(manifest, kind):
    jsonschema = pytest.importorskip("jsonschema")
    found = find_spec("dask_kubernetes")
    if found is None:
        pytest.skip("no schemas: pip install --no-deps dask-kubernetes")
    folder = Path(found.origin).parent / SCHEMAS
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # nine thousand lines
    definition = yaml.load((folder / f"{kind}.yaml").read_text(), loader)
    told = content(f"kubernetes/{manifest}.yaml")
    assert told["kind"] == definition["spec"]["names"]["kind"]
    (version,) = definition["spec"]["versions"]
    assert told["apiVersion"] == f"{definition['spec']['group']}/{version['name']}"
    schema = closed(version["schema"]["openAPIV3Schema"])
    jsonschema.validate({"spec": told["spec"]}, schema)
    told["spec"]["worker" if manifest == "cluster" else "job"]["sped"] = 1
    with pytest.raises(jsonschema.ValidationError, match="sped"):
        jsonschema.validate({"spec": told["spec"]}, schema)
