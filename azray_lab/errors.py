"""Every error AzRay Lab raises, in one tree.

    AzRayError                       failed                                   exit code 1
    |-- UsageError                   what was asked cannot be done as asked   exit code 2
    |   |-- SpecError                a spec, a YAML file or a setting is wrong
    |   |-- UnknownClusterError      no cluster of that name is registered
    |   |-- UnknownNameError         no verb, flag, job or node of that name
    |   |-- UnsupportedError         not in this version, or not on this machine
    |   `-- ReplaceRequiredError     the running cluster differs in what cannot be changed in place
    |-- StartError                   a cluster or a node of it did not start
    |   |-- RayMissingError          Ray is not installed in this environment
    |   |-- PortTakenError           a port that was asked for is in use
    |   `-- ResourceError            too little memory, disk, /dev/shm, CPU or GPU
    |-- ClusterLostError             the cluster's head is gone
    |-- VersionMismatchError         Python or Ray differ between here and the cluster
    |-- LeftoverError                `down` could not prove that nothing is left
    |-- RegistryError                the registry cannot be read or written
    |-- CredentialError              a credential is missing, refused or unsafe
    |   `-- InsecureFileError        a secret's file can be read by others
    |-- StorageError                 a Blob service answered with an error
    |   `-- BlobNotFoundError        no such container or blob
    |-- MountError                   a folder could not be mounted or unmounted
    |-- JobError                     a job could not be submitted, followed or stopped
    |   |-- JobFailedError           a job ended with a failure
    |   `-- PackageTooLargeError     a working directory is above Ray's limit
    |-- DeadlineError                something was waited for longer than allowed
    |-- CancelledError               the user or another command ended the operation   exit code 130
    |-- DeclinedError                the user was asked, and the answer was no
    `-- MissingExtraError            an optional part is not installed (also an ImportError)

An error says what happened and to what (the message), why (`cause`), and what to do next (`next_step`); `facts` holds
ids, counts and codes for programs. Secrets are never part of any of the four. Imports nothing of this package.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# Of a shared access signature (its delegate's ids too), and of a connection string.
_SECRET = re.compile(r"\b(sig|skoid|sktid|AccountKey|SharedAccessSignature)=[^&\s'\";)\]]+", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """`text` without the values of signatures and keys that it quotes."""
    return _SECRET.sub(r"\1=***", text)


class AzRayError(Exception):
    """The base of every error of this package.

    `cause` is the reason in words, `next_step` the command or change that mends it, `facts` plain JSON values.
    `str(error)` is one line: message, cause and next step. Signatures and keys of storage accounts are taken out of all
    of them, for what people typed and what libraries say is quoted in many places.
    """

    exit_code = 1

    def __init__(self, message: str, *, cause: str = "", next_step: str = "", **facts: Any) -> None:
        self.message = without_secrets(message)
        self.cause = without_secrets(cause)
        self.next_step = without_secrets(next_step)
        self.facts: dict[str, Any] = {
            name: without_secrets(fact) if isinstance(fact, str) else fact for name, fact in facts.items()
        }
        super().__init__(self.message)

    def __str__(self) -> str:
        text = self.message.rstrip(".")
        if self.cause:
            text += f": {self.cause.rstrip('.')}"
        if self.next_step:
            text += f"{'' if text.endswith(('?', '!')) else '.'} Next: {self.next_step}"
        return text

    @property
    def code(self) -> str:
        """The error's class name without `Error`, the stable word that `--json` prints."""
        return type(self).__name__.removesuffix("Error")

    def to_dict(self) -> dict[str, Any]:
        """The error as plain JSON, the form that `--json` and `--events` print."""
        return {
            "code": self.code,
            "message": self.message,
            "cause": self.cause,
            "next_step": self.next_step,
            "facts": self.facts,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # Facts are keyword arguments, which the default pickling of exceptions drops; Ray and thread pools pickle.
        return (_rebuild, (type(self), self.message, self.cause, self.next_step, self.facts))


def _rebuild(kind: type[AzRayError], message: str, cause: str, next_step: str, facts: dict[str, Any]) -> AzRayError:
    return kind(message, cause=cause, next_step=next_step, **facts)


class UsageError(AzRayError):
    """What was asked cannot be done as asked; nothing was changed."""

    exit_code = 2


class SpecError(UsageError):
    """A spec, a YAML file or a setting is wrong; facts: `file`, `line`, `column`, `key` where known."""


class UnknownClusterError(UsageError):
    """No cluster of that name is registered; facts: `name`, `known`."""


class UnknownNameError(UsageError):
    """No verb, flag, job or node of that name; facts: `name`, `known`."""


class UnsupportedError(UsageError):
    """This version, or this machine, does not offer what was asked."""


class ReplaceRequiredError(UsageError):
    """The running cluster differs from the spec in what cannot be changed in place; facts: `changes`."""


class StartError(AzRayError):
    """A cluster or a node of it did not start; everything it had made is removed again."""


class RayMissingError(StartError):
    """Ray is not installed in this environment."""


class PortTakenError(StartError):
    """A port that was asked for is in use; facts: `port`."""


class ResourceError(StartError):
    """Too little memory, disk, /dev/shm, CPU or GPU; facts: `needed`, `available` (bytes or counts)."""


class ClusterLostError(AzRayError):
    """The cluster's head is gone; `up` repairs it."""


class VersionMismatchError(AzRayError):
    """Python or Ray differ between this process and the cluster; facts: `here`, `there`."""


class LeftoverError(AzRayError):
    """`down` could not prove that nothing is left; facts: `left`."""


class RegistryError(AzRayError):
    """The registry cannot be read or written; facts: `path`."""


class CredentialError(AzRayError):
    """A credential is missing, refused or unsafe."""


class InsecureFileError(CredentialError):
    """A secret's file can be read by others; facts: `path`, `mode`."""


class StorageError(AzRayError):
    """A Blob service answered with an error; facts: `status`, `request_id` where known."""


class BlobNotFoundError(StorageError):
    """No such container or blob; facts: `uri`."""


class MountError(AzRayError):
    """A folder could not be mounted or unmounted; facts: `path`, `uri`, `open` (who has files open)."""


class JobError(AzRayError):
    """A job could not be submitted, followed or stopped; facts: `job`."""


class JobFailedError(JobError):
    """A job ended with a failure; facts: `job`, `status`, `driver_exit_code`."""


class PackageTooLargeError(JobError):
    """A working directory is above Ray's limit; facts: `size`, `limit` (bytes), `largest`."""


class DeadlineError(AzRayError):
    """Something was waited for longer than allowed; facts: `seconds`."""


class CancelledError(AzRayError):
    """The user or another command ended the operation; what it had made is removed again."""

    exit_code = 130


class DeclinedError(AzRayError):
    """The user was asked, and the answer was no; nothing was changed."""


class MissingExtraError(AzRayError, ImportError):
    """An optional part is not installed; the next step is the exact pip line. Facts: `extra`."""


def missing_extra(module: str, extra: str) -> MissingExtraError:
    """The error for a missing optional `module`, with the pip line that installs the extra it belongs to."""
    return MissingExtraError(
        f"{module} is not installed",
        cause=f"it belongs to the extra [{extra}] of azray-lab",
        next_step=f'pip install "azray-lab[{extra}]"',
        extra=extra,
        module=module,
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` with a leading space for the known name nearest to `name`, else an empty string."""
    import difflib

    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""
