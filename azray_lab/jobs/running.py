"""Running one piece of work as a job: package, submit, follow, bring back; stopped on the cluster when interrupted."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from azray_lab.errors import (
    AzRayError,
    CancelledError,
    ClusterLostError,
    DeadlineError,
    JobError,
    UnknownNameError,
    UsageError,
)
from azray_lab.jobs import model, package, results
from azray_lab.jobs.client import Client
from azray_lab.jobs.runner import RESULT_VARIABLE, SEALED_VARIABLE
from azray_lab.jobs.work import RUNNER, with_runner
from azray_lab.operation import Operation, Task
from azray_lab.storage.credentials.sealing import seal
from azray_lab.targets.base import read_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from azray_lab.jobs.model import Job, JobResult
    from azray_lab.jobs.work import Work
    from azray_lab.targets.base import Endpoint

_HOOK = f"{RUNNER.removesuffix('.py')}.set_up"
# What `worker_process_setup_hook` is to a job that is running (`ray/_private/ray_constants.py`, 2.60). The field itself
# is read by `ray.init` only, which is too late for the job's supervisor and so for its driver.
WORKER_PROCESS_SETUP_HOOK = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"
# What Python, the loader and Ray read when a process starts, before anything can open a seal; they are no secrets.
_EARLY = ("PYTHON", "LD_", "RAY_")


def run(
    endpoint: Endpoint,
    work: Work,
    *,
    env: Mapping[str, str] | None = None,
    on_log: Callable[[str], None] | None = None,
    detach: bool = False,
    timeout: float | None = None,
    limit: int = package.LIMIT,
) -> Task[JobResult]:
    """The task that runs `work` on the cluster behind `endpoint`; nothing happens before it is run or started.

    `env` are variables of the job's driver and its workers; Ray's records have their values sealed, but for those that
    begin with PYTHON, LD_ or RAY_. `on_log` gets the job's log as it comes, in texts of whole lines, in the thread that
    runs the task; it is no event, because an operation keeps its events. `timeout` (seconds) stops a job that runs
    longer: DeadlineError. `detach` returns after the submission. When the task is cancelled or interrupted the job is
    stopped on the cluster first. The result says how the job ended, also when it failed: `JobResult.check` raises then.
    `limit` is that of `package.build`.
    """
    runner = _Runner(endpoint, work, dict(env or {}), on_log or _drop, timeout)
    return Task(Operation(f"run {work.name}"), lambda operation: runner.do(operation, limit, detach=detach))


def _drop(_text: str) -> None:
    """The log is not wanted."""


class _OverdueError(Exception):
    """The job runs longer than it may."""


class _Runner:
    def __init__(
        self,
        endpoint: Endpoint,
        work: Work,
        env: dict[str, str],
        on_log: Callable[[str], None],
        timeout: float | None,
    ) -> None:
        self._endpoint = endpoint
        self._client = Client(endpoint)
        self._work = with_runner(work) if env else work
        self._env = env
        self._on_log = on_log
        self._timeout = timeout
        # Chosen here, so that the job can be stopped although the answer to its submission never came.
        self._id = f"{work.name}-{secrets.token_hex(4)}"
        self._result = f"{results.FOLDER}/{self._id}{work.result}" if work.result else ""

    def do(self, operation: Operation[JobResult], limit: int, *, detach: bool) -> JobResult:
        uri = self._send(operation, limit)
        try:
            self._submit(operation, uri)
            if detach:
                return model.result(self._client.get(self._id), detached=True)
            self._follow(operation)
        except (CancelledError, KeyboardInterrupt) as error:
            with operation.shielded():
                raise self._stopped(operation, error) from error
        except _OverdueError as error:
            with operation.shielded():
                self._client.stop(self._id, operation)
            raise DeadlineError(
                f"job {self._id} ran longer than {self._timeout:g} s and was stopped",
                next_step=f"azray logs {self._id}",
                job=self._id,
                seconds=self._timeout,
            ) from error
        return self._bring(operation, self._client.get(self._id))

    def _send(self, operation: Operation[JobResult], limit: int) -> str:
        work = self._work
        with operation.stage("package", str(work.directory)) as stage:
            with package.build(work.directory, work.injected, limit=limit, check=operation.check) as built:
                if work.needs and work.needs not in built.names:
                    raise UsageError(
                        f"{work.needs} does not travel to the cluster",
                        cause="a .gitignore or .rayignore file names it",
                        next_step=f"git check-ignore -v {work.needs}",
                    )
                sent = package.upload(self._client.dashboard, built)
            there = "" if sent else ", already there"
            stage.summary = f"{len(built.names)} files, {package.size_text(built.size)}{there}"
        return built.uri

    def _submit(self, operation: Operation[JobResult], uri: str) -> None:
        with operation.stage("submit") as stage:
            env = self._variables() | ({RESULT_VARIABLE: self._result} if self._result else {})
            self._client.submit(
                {
                    "entrypoint": self._work.entrypoint,
                    "submission_id": self._id,
                    "runtime_env": {"working_dir": uri, "env_vars": env},
                    "metadata": {model.RESULT: self._result} if self._result else {},
                }
            )
            stage.summary = self._id

    def _variables(self) -> dict[str, str]:
        """The job's variables as Ray's records may show them: values sealed, but for those that a start needs."""
        early = {name: value for name, value in self._env.items() if name.startswith(_EARLY)}
        hidden = {name: value for name, value in self._env.items() if name not in early}
        if not hidden:
            return early
        sealed = seal({"variables": hidden}, read_token(self._endpoint.token_path))
        return early | {SEALED_VARIABLE: sealed, WORKER_PROCESS_SETUP_HOOK: _HOOK}

    def _follow(self, operation: Operation[JobResult]) -> None:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout

        def check() -> None:
            operation.check()
            if deadline is not None and time.monotonic() > deadline:
                raise _OverdueError(f"longer than {self._timeout:g} s")

        with operation.stage("job", self._id) as stage:
            try:
                for text in self._client.follow(self._id, check):
                    self._on_log(text)
            except (ClusterLostError, DeadlineError, JobError) as error:
                raise self._still_there(error) from error.__cause__
            stage.summary = str(self._client.get(self._id))

    def _still_there(self, error: AzRayError) -> AzRayError:
        """The error with the job in it: losing sight of a job does not end it."""
        error.facts["job"] = self._id
        error.message += f" (job {self._id} may go on)"
        error.next_step = f"azray logs {self._id} -f"
        return error

    def _stopped(self, operation: Operation[JobResult], error: BaseException) -> CancelledError:
        cause = error.cause if isinstance(error, CancelledError) else "interrupted"
        try:
            job = self._client.stop(self._id, operation)
        except UnknownNameError:
            return CancelledError("nothing was submitted", cause=cause)
        except AzRayError as failure:
            return CancelledError(
                f"job {self._id} may still run on the cluster",
                cause=f"it could not be stopped: {failure.message}",
                next_step=f"azray jobs stop {self._id}",
                job=self._id,
            )
        operation.note(f"job {self._id} was stopped on the cluster", job=self._id)
        output = self._work.output if results.copy(self._client, job, self._work.output) else None
        return CancelledError(
            f"job {self._id} was stopped on the cluster",
            cause=cause,
            next_step=f"azray logs {self._id}",
            job=self._id,
            status=job.status,
            output=str(output) if output else None,
        )

    def _bring(self, operation: Operation[JobResult], job: Job) -> JobResult:
        if not job.result:
            return model.result(job)
        with operation.stage("result") as stage:
            if self._work.output is not None:
                output = self._work.output if results.copy(self._client, job, self._work.output) else None
                stage.summary = str(output or "there is none")
                return model.result(job, output=output)
            return model.result(job, value=results.value(self._client, job, self._work.variable))
