"""environment.yml, constraints.txt and the extras say the same as pyproject.toml."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONDA_EXTRAS = ("lab", "serve", "azure", "kube", "dev")


def _parse(lines: list[str]) -> dict[str, Requirement]:
    return {str(canonicalize_name(r.name)) + "".join(sorted(r.extras)): r for r in map(Requirement, lines)}


def _wanted(project: dict[str, Any], extras: tuple[str, ...]) -> list[str]:
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return wanted


@pytest.fixture
def conda(root: Path) -> dict[str, Any]:
    """environment.yml."""
    loaded: dict[str, Any] = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    return loaded


def test_conda_environment_holds_the_same_requirements(conda: dict[str, Any], project: dict[str, Any]) -> None:
    """The pip part of environment.yml is the core and all extras but [train], with the same ranges."""
    pip = next(item["pip"] for item in conda["dependencies"] if isinstance(item, dict))
    listed = [line for line in pip if not line.startswith("-")]
    assert sorted(map(str, map(Requirement, listed))) == sorted(
        map(str, map(Requirement, _wanted(project, CONDA_EXTRAS)))
    )


def test_conda_environment_has_the_same_python(conda: dict[str, Any], project: dict[str, Any]) -> None:
    """environment.yml asks conda for the Python versions that pyproject.toml allows."""
    assert f"python{project['requires-python']}" in conda["dependencies"]


def test_constraints_pin_every_requirement_within_its_range(root: Path, project: dict[str, Any]) -> None:
    """Each requirement has pins, and all of its pins lie in the range that is declared as tested."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    for requirement in map(Requirement, _wanted(project, CONDA_EXTRAS)):
        versions = [
            next(iter(pin.specifier)).version
            for pin in pins
            if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        ]
        assert versions, f"constraints.txt does not pin {requirement.name}: make constraints"
        assert all(map(requirement.specifier.contains, versions)), f"{requirement} against {versions}: make constraints"


def test_constraints_hold_no_addresses_and_no_torch(root: Path) -> None:
    """Constraints name versions only: no index, no file, no hash, and nothing of [train]."""
    text = (root / "constraints.txt").read_text(encoding="utf-8")
    assert not [word for word in ("://", "--", " @ ", "\ntorch=", "nvidia-cu") if word in text]


def test_demo_installs_no_torch(project: dict[str, Any]) -> None:
    """What `make demo` installs, the core and [lab], names no torch; [train] does."""
    names = _parse(_wanted(project, ("lab",)))
    assert "torch" not in names
    assert "torch" in _parse(project["optional-dependencies"]["train"])


def test_missing_parts_name_the_extra_that_holds_them(root: Path, project: dict[str, Any]) -> None:
    """Each `missing_extra(module, extra)` in the code names an extra of pyproject.toml that installs the module."""
    extras = project["optional-dependencies"]
    held = {extra: {canonicalize_name(Requirement(line).name) for line in lines} for extra, lines in extras.items()}
    for path in sorted((root / "azray_lab").rglob("*.py")):
        for module, extra in _missing_extras(path):
            assert canonicalize_name(module) in held[extra], f"{path.name}: {module} is not in [{extra}]"


def _missing_extras(path: Path) -> list[tuple[str, str]]:
    """The two texts of each call of `missing_extra` in a file."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    named = [call for call in calls if ast.unparse(call.func).rpartition(".")[2] == "missing_extra"]
    return [tuple(ast.literal_eval(argument) for argument in call.args) for call in named]
