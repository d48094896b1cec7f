"""What runs on the cluster when a job is a notebook or a cell. Travels with the job as one file; needs no azray_lab.

    python _azray_runner.py notebook NOTEBOOK [-p NAME JSON]...
    python _azray_runner.py cell CODE [-o NAME]

What goes back is written below the folder of the job's log, from where the dashboard serves it: that is the one folder
of a Ray node that can be read from outside, on every target.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import hmac
import importlib
import json
import os
import pickle
import sys
import traceback
import types
from pathlib import Path
from typing import Any

RESULT_VARIABLE = "AZRAY_RESULT"
"""The environment variable that names the file to bring back, relative to the folder of the job's log."""

SEALED_VARIABLE = "AZRAY_SEALED_JOB"
"""The environment variable with the job's own variables, sealed as `azray_lab.storage.credentials.sealing` does."""

NEXT_HOOK_VARIABLE = "AZRAY_JOB_HOOK"
"""The environment variable that names a set-up function to call after ours."""

_LABEL = b"azray-lab seal 1"


def set_up() -> None:
    """Sets the job's variables; Ray calls it in each process of the job: its supervisor, so its driver, its workers."""
    os.environ.update(unsealed(os.environ[SEALED_VARIABLE]))
    if following := os.environ.get(NEXT_HOOK_VARIABLE):
        module, _, name = following.rpartition(".")
        getattr(importlib.import_module(module), name)()


def unsealed(text: str) -> dict[str, str]:
    """The variables in a seal, opened with the cluster's token, which every process of the cluster can read."""
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    token = os.environ.get("RAY_AUTH_TOKEN") or Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text().strip()
    cipher = AESSIV(hmac.digest(token.encode(), _LABEL, hashlib.sha512))
    found: dict[str, str] = json.loads(cipher.decrypt(base64.urlsafe_b64decode(text), [_LABEL]))["variables"]
    return found


def main() -> int:
    """Runs what the command line says; the exit code is the job's."""
    parser = argparse.ArgumentParser(prog="_azray_runner.py")
    kinds = parser.add_subparsers(dest="kind", required=True)
    notebook = kinds.add_parser("notebook")
    notebook.add_argument("path", type=Path)
    notebook.add_argument("-p", dest="parameters", nargs=2, action="append", default=[])
    cell = kinds.add_parser("cell")
    cell.add_argument("path", type=Path)
    cell.add_argument("-o", dest="name")
    given = parser.parse_args()
    target = result_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    if given.kind == "notebook":
        return run_notebook(given.path, target, {name: json.loads(value) for name, value in given.parameters})
    return run_cell(given.path, target, given.name)


def result_path() -> Path:
    """Where the result goes: this process's output is the job's log, so its folder is the one to write to."""
    log = Path(f"/proc/{os.getpid()}/fd/1").readlink()
    return log.parent / os.environ[RESULT_VARIABLE]


def run_notebook(path: Path, target: Path, parameters: dict[str, Any]) -> int:
    """Executes the notebook at `path` into `target`, which papermill writes after each cell."""
    try:
        import papermill
    except ImportError as error:
        return complain(f"a notebook needs papermill and ipykernel on the cluster ({error}): pip install azray-lab")
    kernel = kernel_of(path)
    try:
        papermill.execute_notebook(
            path,
            target,
            parameters,
            kernel_name=kernel,
            language="python" if kernel else None,
            cwd=path.parent,
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except papermill.PapermillExecutionError as error:
        return complain(f"cell {error.exec_count or error.cell_index} failed: {error.ename}: {error.evalue}")
    return 0


def kernel_of(path: Path) -> str | None:
    """None for the notebook's own kernel, `python3` when the cluster has no kernel of that name."""
    from jupyter_client.kernelspec import KernelSpecManager

    wanted = json.loads(path.read_text(encoding="utf-8")).get("metadata", {}).get("kernelspec", {}).get("name")
    if wanted in KernelSpecManager().find_kernel_specs():
        return None
    sys.stderr.write(f"note: the cluster has no kernel {wanted!r}, so python3 executes the notebook\n")
    return "python3"


def run_cell(path: Path, target: Path, name: str | None) -> int:
    """Executes the code at `path` as a program, and brings back variable `name` or the value of the last expression."""
    module = types.ModuleType("__main__")
    # cloudpickle sends what __main__ defines by value: the functions and classes of the cell.
    sys.modules["__main__"] = module
    try:
        last, found = execute(path, module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - a program ends with its traceback and code 1, whatever it raised
        traceback.print_exception(type(error), error, inside(error))
        return 1
    target.write_bytes(pickle.dumps(answer(module.__dict__, name, last, found=found)))
    return 0


def execute(path: Path, namespace: dict[str, Any]) -> tuple[Any, bool]:
    """The value of the last expression of the code at `path`, and whether its last statement is one."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=path.name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, path.name, "exec"), namespace)  # noqa: S102 - this is what was asked for
    if not isinstance(last, ast.Expr):
        return None, False
    return eval(compile(ast.Expression(last.value), path.name, "eval"), namespace), True  # noqa: S307 - the same


def inside(error: BaseException) -> types.TracebackType | None:
    """The error's traceback without the frames of this file."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


def answer(namespace: dict[str, Any], name: str | None, last: Any, *, found: bool) -> tuple[str, Any]:
    """What goes back: ("value", pickle), ("text", text) when it cannot be pickled, ("missing", names), ("none", "")."""
    if name is not None and name in namespace:
        value = namespace[name]
    elif found:
        value = last
    elif name is not None:
        return "missing", sorted(key for key in namespace if not key.startswith("__"))
    else:
        return "none", ""
    from ray import cloudpickle

    try:
        return "value", cloudpickle.dumps(value)  # type: ignore[no-untyped-call]  # Ray's copy has no types
    except Exception as error:  # noqa: BLE001 - pickling runs the value's own code
        sys.stderr.write(f"note: the value cannot be pickled, so its text goes back: {error}\n")
        return "text", repr(value)


def complain(text: str) -> int:
    """Writes why the job failed; returns the exit code."""
    sys.stderr.write(f"{text}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
