"""The manifests of the cluster: whole, valid, and no more rights than stages need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def objects(project_root: Path) -> dict[str, dict[str, Any]]:
    """What `kubectl apply -k manifests/base` makes: kind -> object."""
    folder = project_root / "manifests" / "base"
    index = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert {file.name for file in folder.iterdir()} == {*index["resources"], "kustomization.yaml"}
    found = [yaml.safe_load((folder / name).read_text()) for name in index["resources"]]
    return {one["kind"]: one for one in found}


def test_the_api_schema_knows_every_field(objects: dict[str, dict[str, Any]]):
    validate = pytest.importorskip("kubernetes_validate")
    for one in objects.values():
        validate.validate(one, "1.31", strict=True)


def test_the_account_is_bound_to_a_role_of_its_namespace_without_secrets(objects: dict[str, dict[str, Any]]):
    namespace = objects["Namespace"]["metadata"]["name"]
    binding, account, role = (objects[kind] for kind in ("RoleBinding", "ServiceAccount", "Role"))
    assert {one["metadata"]["namespace"] for one in (binding, account, role)} == {namespace}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == [account["metadata"]["name"]]
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert resources == {"jobs", "trainjobs", "pods", "pods/log"}
