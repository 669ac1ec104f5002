"""A stand-in for ``kubectl kustomize``, for what openshift/ uses: resources, components, JSON patches, images.

An unknown field is an error. Where kubectl is installed, a test compares the two.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

_FIELDS = {"apiVersion", "kind", "resources", "components", "patches", "images"}
_SET = re.compile(r"([^\s,]+) in \(([^)]*)\)")


#: The C loader, where there is one.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class KustomizeError(Exception):
    """A kustomization that cannot be built; the message says where and why."""


def build(folder: Path) -> list[dict[str, Any]]:
    """The objects that a kustomization creates.

    Raises:
        KustomizeError: a path does not exist or is outside, a patch matches nothing, or an object appears twice.
    """
    return _build(folder.resolve(), [])


def _build(folder: Path, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    file = folder / "kustomization.yaml"
    if not file.is_file():
        msg = f"{folder}: no kustomization.yaml"
        raise KustomizeError(msg)
    content = _load(file)[0]
    kinds = {
        "kustomize.config.k8s.io/v1beta1": "Kustomization",
        "kustomize.config.k8s.io/v1alpha1": "Component",
    }
    if set(content) - _FIELDS or kinds.get(content["apiVersion"]) != content["kind"]:
        msg = f"{file}: unknown fields, kind or version"
        raise KustomizeError(msg)
    for name in content.get("resources", []):
        path = (folder / name).resolve()
        if path.is_dir():
            if folder.is_relative_to(path):
                msg = f"{file}: {name} contains this folder"
                raise KustomizeError(msg)
            added = _build(path, [])
        else:
            added = _load(_inside(folder, path))
        for each in added:
            if any(_identity(each) == _identity(other) for other in objects):
                msg = f"{file}: {_identity(each)} is there already"
                raise KustomizeError(msg)
            objects.append(each)
    for name in content.get("components", []):
        objects = _build((folder / name).resolve(), objects)
    for each in content.get("patches", []):
        _patch(objects, each, folder)
    for each in content.get("images", []):
        _set_image(objects, each, file)
    return objects


def _load(file: Path) -> list[Any]:
    return list(yaml.load_all(file.read_text(), _LOADER))


def _inside(folder: Path, path: Path) -> Path:
    """A file that a kustomization may read: in its folder or below."""
    if not path.is_relative_to(folder):
        msg = f"{path}: outside of {folder}, which Kustomize refuses"
        raise KustomizeError(msg)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise KustomizeError(msg)
    return path


def _identity(each: dict[str, Any]) -> tuple[str, str, str]:
    return each["apiVersion"], each["kind"], each["metadata"]["name"]


def _patch(objects: list[dict[str, Any]], entry: dict[str, Any], folder: Path) -> None:
    if "patch" in entry:
        operations = yaml.load(entry["patch"], _LOADER)
    else:
        operations = _load(_inside(folder, (folder / entry["path"]).resolve()))[0]
    targets = [each for each in objects if selected(each, entry["target"])]
    if not targets:
        msg = f"{folder}: the patch {entry.get('path', 'of ' + str(entry['target']))} has no target"
        raise KustomizeError(msg)
    for each in targets:
        apply_patch(each, operations)


def selected(each: dict[str, Any], target: dict[str, str]) -> bool:
    """True if an object is a patch's target.

    Raises:
        KustomizeError: the target has a field that is not supported here.
    """
    if set(target) - {"kind", "name", "labelSelector"}:
        msg = f"unknown target {target}"
        raise KustomizeError(msg)
    if each["kind"] != target["kind"] or not re.fullmatch(target.get("name", ".*"), each["metadata"]["name"]):
        return False
    if "labelSelector" not in target:
        return True
    found = _SET.fullmatch(target["labelSelector"])
    if found is None:
        msg = f"unknown labelSelector {target['labelSelector']}"
        raise KustomizeError(msg)
    return each["metadata"].get("labels", {}).get(found[1]) in [value.strip() for value in found[2].split(",")]


def apply_patch(document: dict[str, Any], operations: list[dict[str, Any]]) -> None:
    """Change a document by a JSON patch (RFC 6902): add, replace, remove, test.

    Raises:
        KustomizeError: the patch does not fit the document.
    """
    for operation in operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        try:
            at: Any = document
            for part in way:
                at = at[int(part)] if isinstance(at, list) else at[part]
            _apply(at, last, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            msg = f"{_identity(document)}: {operation}: {error!r}"
            raise KustomizeError(msg) from None


def _apply(at: Any, last: str, operation: dict[str, Any]) -> None:
    key: Any = int(last) if isinstance(at, list) and last != "-" else last
    value = copy.deepcopy(operation.get("value"))
    match operation["op"]:
        case "add" if isinstance(at, list):
            at.insert(len(at) if key == "-" else key, value)
        case "add":
            at[key] = value
        case "replace":
            at[key]  # has to be there
            at[key] = value
        case "remove":
            del at[key]
        case "test" if at[key] == value:
            pass
        case _:
            msg = f"found {at[key]!r}"
            raise ValueError(msg)


def _set_image(objects: list[dict[str, Any]], entry: dict[str, str], file: Path) -> None:
    changed = 0
    for each in objects:
        spec = each.get("spec", {}).get("template", {}).get("spec", {})
        for container in (*spec.get("initContainers", []), *spec.get("containers", [])):
            if container["image"].partition(":")[0] == entry["name"]:
                version = f"@{entry['digest']}" if "digest" in entry else f":{entry['newTag']}"
                container["image"] = f"{entry['newName']}{version}"
                changed += 1
    if not changed:
        msg = f"{file}: nothing has the image {entry['name']}"
        raise KustomizeError(msg)
