"""02_train, then 03_serve with the models that it left, unmodified under nbmake; and their checks on wrong results."""

from __future__ import annotations

import http.server
import importlib.util
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import azray_lab

if TYPE_CHECKING:
    from azray_lab.testing.azurite import Azurite

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TRAIN, SERVE = "02_train.ipynb", "03_serve.ipynb"
# The deadline is for machines that are busy with other things, and a little later than that of both notebooks.
RUNS_BOTH = [pytest.mark.slow, pytest.mark.ray, pytest.mark.azurite, pytest.mark.timeout(1200)]
pytestmark = pytest.mark.usefixtures("no_cluster_left")


@pytest.fixture(scope="module")
def torch_installed(require: Callable[..., None]) -> None:
    """Skips where the extra [train] could not be installed; AZRAY_REQUIRE=torch makes that a failure."""
    missing = [name for name in ("torch", "onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(name)]
    require("torch", not missing, f"not installed: {', '.join(missing)} (scripts/install_torch.sh says why)")


Cells = list[dict[str, Any]]
Run = Callable[..., subprocess.CompletedProcess[str]]


def _cells(path: Path) -> Cells:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def _cell(name: str, words: str) -> str:
    """The source of the one code cell that holds these words."""
    (source,) = (text for cell in _cells(NOTEBOOKS / name) if words in (text := "".join(cell["source"])))
    return source


def _printed(cells: Cells) -> str:
    """All that the cells show as text."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    texts = [output.get("text") or output.get("data", {}).get("text/plain", []) for output in outputs]
    return "\n".join("".join(text) for text in texts)


def _plots(cells: Cells) -> int:
    return sum("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])


@pytest.fixture(scope="module")
def executed(
    torch_installed: None, nbmake: Callable[..., None], tmp_path_factory: pytest.TempPathFactory, azurite: Azurite
) -> Callable[[str], Cells]:
    """Runs copies of both notebooks, one after the other, under nbmake; gives the executed cells of each."""
    del torch_installed
    folder = tmp_path_factory.mktemp("tutorials")
    copies = [Path(shutil.copy(NOTEBOOKS / name, folder)) for name in (TRAIN, SERVE)]
    nbmake(*copies, overwrite=True, **azurite.environment())
    return lambda name: _cells(folder / name)


class TestExecuted:
    """Both notebooks, run once on one Blob service."""

    pytestmark = RUNS_BOTH

    def test_training_is_killed_and_resumed(self, executed: Callable[[str], Cells]):
        """All epochs are reported, one process alone finds the same losses, and two models are exported."""
        cells = executed(TRAIN)
        text = _printed(cells)
        assert "with one worker killed" in text
        assert "one process alone finds the same losses" in text
        assert "v1, epoch 4" in text
        assert "v2, epoch 8" in text
        assert _plots(cells) == 2

    def test_serving_uses_the_models_that_training_left(self, executed: Callable[[str], Cells]):
        """The models come from Blob, replicas grow and die, and no request fails."""
        cells = executed(SERVE)
        text = _printed(cells)
        assert "holds the models of 02_train.ipynb" in text
        assert "training them here" not in text
        assert "all by v2, which has 2 replicas now" in text
        assert "requests, none failed" in text
        assert _plots(cells) == 2

    @pytest.mark.parametrize("name", [TRAIN, SERVE])
    def test_outputs_hold_no_noise_and_no_secret(self, name: str, executed: Callable[[str], Cells], azurite: Azurite):
        """Nothing on stderr, no log lines of Ray, no terminal codes, and not the storage account's key."""
        cells = executed(name)
        streams = [o for cell in cells for o in cell["outputs"] if o["output_type"] == "stream"]
        assert [o["text"] for o in streams if o["name"] == "stderr"] == []
        text = _printed(cells)
        assert azurite.key not in json.dumps(cells)
        assert [word for word in ("\x1b[", "(raylet)", "WARNING", "INFO") if word in text] == []

    def test_only_the_models_are_left(self, executed: Callable[[str], Cells], azurite: Azurite):
        """Of all the blobs that both notebooks made there are the two models, as 02_train says."""
        executed(TRAIN)
        blobs = azray_lab.filesystem("az://", environ=azurite.environment())
        assert sorted(blobs.find("factory")) == ["factory/models/v1.onnx", "factory/models/v2.onnx"]

    def test_a_bad_model_is_not_served(
        self, executed: Callable[[str], Cells], python: Run, azurite: Azurite, tmp_path: Path
    ):
        """Under papermill: 03_serve fails at its check when `v2` in Blob has forgotten all that it had learned."""
        import onnx

        executed(TRAIN)
        blobs = azray_lab.filesystem("az://", environ=azurite.environment())
        good = blobs.cat_file("factory/models/v2.onnx")
        model = onnx.load_from_string(good)
        # Numbers without a fraction are shapes, without which it would not be a model at all.
        for weights in (each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT):
            weights.CopyFrom(onnx.numpy_helper.from_array(0 * onnx.numpy_helper.to_array(weights), weights.name))
        blobs.pipe_file("factory/bad/v2.onnx", model.SerializeToString())
        blobs.pipe_file("factory/bad/v1.onnx", good)
        try:
            papermill = ["-m", "papermill", "--no-progress-bar", str(NOTEBOOKS / SERVE), str(tmp_path / SERVE)]
            done = python(*papermill, "-p", "models_folder", "bad", **azurite.environment())
        finally:
            blobs.rm("factory/bad", recursive=True)
        assert done.returncode != 0
        assert "AssertionError: the model of az://factory/bad/v2.onnx is bad" in done.stderr, done.stderr[-3000:]


# The check cells of both notebooks, on results that are wrong.

OLD, NEW = ["head:1", "worker-1:2"], ["head:3", "worker-1:4"]


def _judge(processes: list[list[str]]) -> None:
    """Executes the cell of 02_train that looks at the epochs, for a training by these processes."""
    reports = [(None, {"epoch": n, "loss": 1 / n, "processes": each}) for n, each in enumerate(processes, start=1)]
    names = {"result": SimpleNamespace(best_checkpoints=reports), "epochs": 4, "kill_after": 2}
    exec(_cell(TRAIN, "somebody survived"), names)  # noqa: S102 - our own notebook


def test_a_training_that_was_killed_and_resumed_is_accepted():
    """Four epochs, two by each group of processes."""
    _judge([OLD, OLD, NEW, NEW])


@pytest.mark.parametrize(
    ("processes", "complaint"),
    [
        ([OLD, OLD, NEW], "these epochs were reported"),
        ([OLD, OLD, OLD, OLD], "somebody survived"),
        ([OLD, OLD, ["head:1", "worker-1:4"], ["head:1", "worker-1:4"]], "somebody survived"),
        ([OLD, NEW, NEW, NEW], "expected one group of workers"),
    ],
    ids=["an epoch is missing", "nobody was killed", "one survived", "killed at another time"],
)
def test_a_training_that_was_not_is_refused(processes: list[list[str]], complaint: str):
    """A missing epoch, no kill, a survivor, or a kill at another time fail the cell."""
    with pytest.raises(AssertionError, match=complaint):
        _judge(processes)


class _Service(http.server.ThreadingHTTPServer):
    """Answers all requests alike."""

    daemon_threads = True

    def __init__(self, status: int, fault: str) -> None:
        body = json.dumps({"fault": fault, "version": "v1", "pid": 1, "batch": 1}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


def _ask(status: int, fault: str) -> Any:
    """The load test of 03_serve against a service that answers so; all windows are healthy."""
    chances = {"v1": np.array([[1.0, 0.0]])}
    names: dict[str, Any] = {
        "requests_each": 10,
        "deadline": 60,
        "chances": chances,
        "signals": np.zeros((1, 4)),
        "np": np,
    }
    names |= {"FAULTS": ["healthy", "bearing"], "requests": importlib.import_module("requests")}
    with _Service(status, fault) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        names["url"] = f"http://127.0.0.1:{service.server_port}/judge"
        exec(_cell(SERVE, "class Callers"), names)  # noqa: S102 - our own notebook
        with names["Callers"](2) as load:
            load.wait(lambda answers: len(answers) >= 10 or load.failures, "answers")
        service.shutdown()
    return load.table()


def test_a_load_test_with_right_answers_is_accepted():
    """Each request has one row, none was sent again."""
    table = _ask(200, "healthy")
    assert len(table) >= 10
    assert set(table.again) == {0}


@pytest.mark.parametrize(
    ("status", "fault", "complaint"),
    [(200, "bearing", "answers differ from the model's"), (404, "healthy", "requests failed for good")],
)
def test_a_load_test_with_wrong_answers_fails(status: int, fault: str, complaint: str):
    """An answer that the model does not give, and a request that fails after all, fail the notebook."""
    with pytest.raises(AssertionError, match=complaint):
        _ask(status, fault)
