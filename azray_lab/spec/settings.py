"""Settings: the only module that reads the process environment and settings files.

| variable | meaning | default |
|---|---|---|
| `AZRAY_HOME` | where handles and histories are kept | `$XDG_STATE_HOME/azray-lab`, else `~/.local/state/azray-lab` |
| `AZRAY_RUNTIME_DIR` | where Ray keeps sessions and sockets; a short path | `/tmp/azray-<user id>` |
| `AZRAY_SPEC` | the spec's file | `azray.yaml` in the working directory |
| `AZRAY_CLUSTER` | the cluster that a verb means when none is named | the only one that runs |
| `AZRAY_LOG` | level of the package's own log | `warning` |
| `AZRAY_REQUIRE` | parts that the tests must not skip, by commas | none |
| `AZRAY_AZURITE` | the Azurite program for tests and the demo | found, or installed |
| `AZRAY_CLUSTER_ID`, `AZRAY_NODE` | set by `up` in every process of a cluster; never by people | |
| `AZRAY_SEALED`, `AZRAY_SETUP_HOOK`, `AZRAY_SEALED_JOB`, `AZRAY_JOB_HOOK` | set by `azray_lab.runtime_env` and jobs | |
| `AZRAY_<FIELD>`, `AZRAY_<FIELD>__<FIELD>` | a field of the spec, as `AZRAY_WORKERS=2`, `AZRAY_LEASE__IDLE=30m` | |

Light on purpose: `azray list` and `azray status` start with it, so it imports neither pydantic nor PyYAML.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from azray_lab.errors import InsecureFileError, RegistryError, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX = "AZRAY_"
RESERVED = frozenset(
    PREFIX + name
    for name in (
        *("HOME", "RUNTIME_DIR", "SPEC", "CLUSTER", "LOG", "REQUIRE", "AZURITE", "CLUSTER_ID", "NODE"),
        *("SEALED", "SETUP_HOOK", "SEALED_JOB", "JOB_HOOK"),
    )
)
SPEC_FILE = "azray.yaml"
# A spec is written by hand; what is larger is another file given by mistake.
MAX_FILE_BYTES = 1024 * 1024
_HOME_HINT = "export AZRAY_HOME=/some/writable/folder"
_RUNTIME_HINT = "export AZRAY_RUNTIME_DIR=/some/short/folder/of/yours"


def variable(name: str, environ: Mapping[str, str] | None = None) -> str:
    """The value of an environment variable; unset and empty are both an empty string."""
    return (os.environ if environ is None else environ).get(name, "")


def export(values: Mapping[str, str]) -> None:
    """Sets variables of this process, for libraries that read them when they are loaded."""
    os.environ.update(values)


def withdraw(names: Iterable[str]) -> None:
    """Takes variables out of this process's environment."""
    for name in names:
        os.environ.pop(name, None)


def process_environment() -> dict[str, str]:
    """A copy of this process's environment, the base of what child processes get."""
    return dict(os.environ)


def blob_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The `AZURE_STORAGE_*` variables that are set, for `storage` to make credentials of; holds secrets."""
    return _with_prefix("AZURE_STORAGE_", environ)


def azure_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The `AZURE_*` variables that are set, for credentials and identities; holds secrets."""
    return _with_prefix("AZURE_", environ)


def identity_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What azure-identity reads by itself: endpoints of managed identities, and where the Azure CLI keeps sign-ins."""
    names = ("AZURE_CONFIG_DIR", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "PATH")
    found = _with_prefix("IDENTITY_", environ) | _with_prefix("MSI_", environ)
    return found | {name: value for name in names if (value := variable(name, environ))}


def spec_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The `AZRAY_*` variables that are set and are not reserved: fields of a spec, or misspelled ones."""
    return {name: value for name, value in _with_prefix(PREFIX, environ).items() if name not in RESERVED}


def _with_prefix(prefix: str, environ: Mapping[str, str] | None) -> dict[str, str]:
    # An empty variable is how shells and YAML files of pipelines write "not set".
    everything = os.environ if environ is None else environ
    return {name: value for name, value in everything.items() if name.startswith(prefix) and value}


def required_parts(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """The parts that tests must not skip, from `AZRAY_REQUIRE=azurite,browser`."""
    return frozenset(part.strip() for part in variable("AZRAY_REQUIRE", environ).split(",") if part.strip())


def default_cluster(environ: Mapping[str, str] | None = None) -> str | None:
    """The cluster that `AZRAY_CLUSTER` names, if any."""
    return variable("AZRAY_CLUSTER", environ) or None


def spec_file(environ: Mapping[str, str] | None = None) -> Path | None:
    """The spec's file when none was given: `AZRAY_SPEC`, else `azray.yaml` here if it exists, else none."""
    if named := variable("AZRAY_SPEC", environ):
        return Path(named).expanduser()
    here = Path(SPEC_FILE)
    # A link that points nowhere was meant to be a spec; reading it says so.
    return here if here.exists() or here.is_symlink() else None


def read_settings_file(path: Path) -> bytes:
    """The content of a settings file of at most 1 MiB; SpecError with the reason where it cannot be had."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OSError as error:
        raise SpecError(
            f"{path} cannot be read", cause=error.strerror or str(error), next_step=f"ls -ld {path}", file=str(path)
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise SpecError(
            f"{path} is no spec",
            cause=f"it is larger than {MAX_FILE_BYTES // 1024} KiB",
            next_step="give the YAML file of a spec, such as azray.yaml",
            file=str(path),
        )
    return content


def _missing(path: Path) -> SpecError:
    folder = path.parent
    there = sorted(p.name for p in folder.glob("*.y*ml"))[:5] if folder.is_dir() else []
    cause = f"YAML files there: {', '.join(there)}" if there else "no YAML file is there"
    step = f"azray spec show -f {folder / there[0]}" if there else "azray up --workers 2 (needs no file)"
    return SpecError(f"there is no file {path}", cause=cause, next_step=step, file=str(path))


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The folder for handles and histories; made if need be, for its user alone.

    RegistryError, with the variable to set, where there is no place or it cannot be written. Without HOME the user
    database says where home is.
    """
    path = _state_path(environ)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The effective user is what open() goes by; a read-only file system says no here to root, too.
        writable = os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    except OSError as error:
        raise _no_state(path, error.strerror or str(error)) from error
    if not writable:
        raise _no_state(path, "it is read-only for this user")
    return path


def _state_path(environ: Mapping[str, str] | None) -> Path:
    # platformdirs would say the same on Linux, for 30 to 50 ms of the 300 that `azray list` may take.
    if explicit := variable("AZRAY_HOME", environ):
        path = Path(explicit).expanduser()
        if not path.is_absolute():
            raise RegistryError(
                f"AZRAY_HOME is the relative path {explicit}",
                cause="clusters would be found from one working directory only",
                next_step=_HOME_HINT,
                path=explicit,
            )
        return path
    shared = variable("XDG_STATE_HOME", environ)
    # The XDG base directory specification 0.8 says that relative paths are to be ignored.
    base = Path(shared) if Path(shared).is_absolute() else _home(environ) / ".local" / "state"
    return base / "azray-lab"


def _home(environ: Mapping[str, str] | None) -> Path:
    if home := variable("HOME", environ):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError as error:
        raise RegistryError(
            "there is no place for the registry",
            cause=f"HOME is not set and user {os.geteuid()} is not in the user database",
            next_step=_HOME_HINT,
        ) from error


def _no_state(path: Path, reason: str) -> RegistryError:
    return RegistryError(
        f"the registry's folder {path} cannot be written", cause=reason, next_step=_HOME_HINT, path=str(path)
    )


def runtime_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The folder for Ray's sessions, sockets and logs; made if need be.

    Short, because a Unix socket's path has at most 107 bytes and Ray adds about 75. InsecureFileError unless it is
    a folder of this user that nobody else may enter: /tmp is everybody's, and tokens lie below.
    """
    path = _runtime_path(environ)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        reason = error.strerror or str(error)
        raise RegistryError(
            f"the runtime folder {path} cannot be made", cause=reason, next_step=_RUNTIME_HINT, path=str(path)
        ) from error
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        raise _insecure(path, mode, "it is a symbolic link")
    if found.st_uid != os.geteuid():
        raise _insecure(path, mode, f"it belongs to user {found.st_uid}, not to user {os.geteuid()}")
    if mode & 0o077:
        raise _insecure(path, mode, f"others may enter it (mode {mode:04o})", f"chmod 700 {path}")
    return path


def _runtime_path(environ: Mapping[str, str] | None) -> Path:
    if explicit := variable("AZRAY_RUNTIME_DIR", environ):
        return Path(explicit).expanduser().absolute()
    return Path(f"/tmp/azray-{os.geteuid()}")  # noqa: S108 - short, and `runtime_dir` looks whose it is


def _insecure(path: Path, mode: int, reason: str, next_step: str = _RUNTIME_HINT) -> InsecureFileError:
    return InsecureFileError(
        f"the runtime folder {path} is not safe", cause=reason, next_step=next_step, path=str(path), mode=f"{mode:04o}"
    )
