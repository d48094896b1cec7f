"""`azray_lab.ui()`: the spec as a form, with its YAML, its plan, and the cluster that comes of it.

Callbacks of widgets may come on another thread than cells do (JupyterLab's subshells), several at a time; what they
share stands behind one lock, and what takes long runs in a thread of its own.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from azray_lab import views
from azray_lab.errors import AzRayError, SpecError, UnknownNameError, nearest
from azray_lab.spec.loading import Source, load
from azray_lab.spec.writing import to_yaml
from azray_lab.widgets.form_controls import Context, Field, Reading, words_of
from azray_lab.widgets.form_fields import MISSING, tree
from azray_lab.widgets.form_sections import Fields, heading
from azray_lab.widgets.form_static import as_html, as_text
from azray_lab.widgets.form_texts import say
from azray_lab.widgets.form_yaml import YamlView

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster
    from azray_lab.operation import Event, Operation, Task
    from azray_lab.spec.models import ClusterSpec


def ui(spec: Source | None = None, **overrides: Any) -> Form:
    """A form for a cluster, filled from `spec` and `overrides` as `up` takes them; display it as a cell's last value.

    `spec` is a path (`"azray.yaml"`), a mapping, a ClusterSpec, or None for `azray.yaml` and the environment.
    SpecError where that spec is wrong. Makes nothing before Up is pressed.
    """
    return Form(load(spec, arguments=overrides).spec)


class Form:
    """The form of one spec. Reading and showing it costs no request; `spec` and `yaml` are what it says now."""

    def __init__(self, spec: ClusterSpec) -> None:
        self._lock = threading.RLock()
        self._filling = self._all = False
        self._operation: Operation[Cluster] | None = None
        self._threads: list[threading.Thread] = []
        self._presses = 0
        self._fields = Fields(tree(), Context(self._alone(self._changed), _runs(), self._alone))
        self._reading = Reading()
        self._data: dict[str, Any] = {}
        words = ("title", "copy", "copied", "selected", "lost")
        self._yaml = YamlView(words={name: say(f"yaml.{name}") for name in words})
        self._message = widgets.HTML()
        self._planned = widgets.VBox([])
        self._card = widgets.VBox([])
        self.widget = self._drawn()
        self.fill(spec)

    # What it says.

    @property
    def spec(self) -> ClusterSpec:
        """The spec that the form says; SpecError where something in it is wrong."""
        with self._lock:
            spec, problems = self._read()
        if spec is None:
            key, words = next(iter(problems.items()))
            message = say("spec.wrong", place=key or say("spec.form"), words=words)
            raise SpecError(message, next_step=say("spec.next"), key=key)
        return spec

    @property
    def yaml(self) -> str:
        """The spec as the text of `azray.yaml`: what differs from the defaults, and what is wrong as it was typed."""
        with self._lock:
            return self._text(self._read()[0])

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong, by the key of the setting (`workers.0.cpus`)."""
        with self._lock:
            return dict(self._read()[1])

    @property
    def cluster(self) -> Cluster | None:
        """The cluster that Up made; None before, and while it is being made. Raises what went wrong with it."""
        operation = self._operation
        return operation.result() if operation and operation.done else None

    def fill(self, spec: Source | None = None, **overrides: Any) -> None:
        """Fills the form from another spec, given as to `azray_lab.ui`."""
        data = load(spec, arguments=overrides).spec.to_dict()
        with self._lock:
            self._filling = True
            try:
                self._fields.fill(data)
            finally:
                self._filling = False
            self._changed()

    def field(self, key: str) -> Any:
        """The widget in which the setting `key` is typed: `form.field("lease.idle").value = "30m"`."""
        with self._lock:
            self._read()
            part = self._reading.places.get(key)
        if not isinstance(part, Field):
            known = [name for name, place in self._reading.places.items() if isinstance(place, Field)]
            message = say("field.unknown", key=repr(key))
            raise UnknownNameError(message, cause=nearest(key, known).strip(), name=key)
        return part.input

    def button(self, name: str) -> Any:
        """The button `plan` or `up`; `.click()` presses it."""
        return self._buttons[name]

    def wait(self, timeout: float | None = None) -> None:
        """Waits until what Plan and Up began has ended, at most `timeout` seconds each."""
        for thread in list(self._threads):
            thread.join(timeout)
        if self._operation:
            self._operation.wait(timeout)

    # What changes.

    def _changed(self) -> None:
        if self._filling:
            return
        spec, problems = self._read()
        self._tell(problems)
        self._fields.aim(str(self._data.get("target", "local")))
        self._yaml.text = self._text(spec)
        self._yaml.wrong = bool(problems)
        self._yaml.status = say("yaml.wrong", places=self._places(problems)) if problems else say("yaml.right")

    def _read(self) -> tuple[ClusterSpec | None, dict[str, str]]:
        """The spec, or what is wrong with it by the places of the form."""
        reading = Reading()
        data = self._fields.read((), reading)
        self._reading, self._data = reading, {} if data is MISSING else data
        try:
            spec = load(self._data).spec
        except SpecError as error:
            found = error.facts.get("problems") or [{"key": "", **error.to_dict()}]
            problems = {self._place(p["key"]): words_of(p) for p in reversed(found)} | reading.problems
            return None, {key: problems[key] for key in reading.places if key in problems}
        return (None if reading.problems else spec), reading.problems

    def _place(self, key: str) -> str:
        """The innermost part of the form that a key of the spec stands in."""
        while key and key not in self._reading.places:
            key = key.rpartition(".")[0]
        return key

    def _tell(self, problems: dict[str, str]) -> None:
        for key, part in self._reading.places.items():
            part.tell(problems.get(key, ""))
        if any(self._folded(key) for key in problems):
            self._unfold(shown=True)

    def _folded(self, key: str) -> bool:
        """Whether the place at `key`, or one around it, is folded away at first."""
        parts = key.split(".")
        around = (self._reading.places.get(".".join(parts[:end])) for end in range(1, len(parts) + 1))
        return any(part.advanced for part in around if part)

    def _places(self, problems: dict[str, str]) -> str:
        return ", ".join(self._named(key) for key in problems)

    def _named(self, key: str) -> str:
        """A place in words: `Worker group 1: CPUs`."""
        outer, _, _ = key.rpartition(".")
        around = self._reading.places.get(outer) if outer else None
        label = self._reading.places[key].label
        return f"{around.label}: {label}" if around else label

    def _text(self, spec: ClusterSpec | None) -> str:
        data = spec.to_dict() if spec else self._data
        first = {name: data[name] for name in ("name", "target") if name in data}
        return to_yaml(first | data)

    # What is pressed.

    def _guarded(self, work: Callable[[], None]) -> Callable[..., None]:
        """`work` as a callback whose errors appear in the form, where ipywidgets would lose them."""

        def callback(*_arguments: Any) -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - shown; there is nobody else to tell
                self._show_error(error)

        return callback

    def _alone(self, work: Callable[[], None]) -> Callable[..., None]:
        """`work` as such a callback, during which nothing else of the form changes."""

        def locked() -> None:
            with self._lock:
                work()

        return self._guarded(locked)

    def _show_error(self, error: Exception) -> None:
        said = str(error) if isinstance(error, AzRayError) else f"{type(error).__name__}: {error}"
        more = ""
        if not isinstance(error, AzRayError):
            trace = views.escape("".join(traceback.format_exception(error)))
            more = f"<details><summary>{say('details')}</summary><pre>{trace}</pre></details>"
        self._say(f'<p class="azray-wrong">{views.escape(said)}</p>{more}', role="alert")

    def _say(self, markup: str, role: str = "status") -> None:
        self._message.value = f'<div role="{role}">{markup}</div>' if markup else ""

    def _complete(self) -> ClusterSpec | None:
        """The spec; None after saying what is wrong and putting the keyboard there."""
        with self._lock:
            spec, problems = self._read()
            if spec is not None:
                return spec
            self._tell(problems)
            words = views.escape(say("mend", places=self._places(problems)))
            self._say(f'<p class="azray-wrong">{words}</p>', role="alert")
            self._reading.places[next(iter(problems))].focus()
            return None

    def _plan(self) -> None:
        with self._lock:
            self._presses += 1
            number = self._presses
            if (spec := self._complete()) is None:
                return
            self._say(f"<p>{views.escape(say('plan.busy', name=spec.name))}</p>")
        self._in_background(lambda: self._show_plan(spec, number))

    def _show_plan(self, spec: ClusterSpec, number: int) -> None:
        """Shows the plan, or why there is none; an answer that comes after a later press is nobody's any more."""
        from azray_lab.planning import plan

        shown: list[Any] = []
        error: Exception | None = None
        try:
            shown = [widgets.HTML(plan(spec)._repr_html_())]
        except Exception as caught:  # noqa: BLE001 - shown; there is nobody else to tell
            error = caught
        with self._lock:
            if number == self._presses:
                self._planned.children = shown
                self._show_error(error) if error else self._say("")

    def _up(self) -> None:
        from azray_lab.cluster import up_operation

        with self._lock:
            self._presses += 1
            if (spec := self._complete()) is None:
                return
            if self._operation and not self._operation.done:
                busy = say("up.busy", operation=self._operation.name)
                self._say(f"<p>{views.escape(busy)}</p>")
                return
            task = up_operation(spec)
            self._operation = task.operation
            self._say("")
            self._planned.children = []
        task.operation.subscribe(self._on_event)
        task.start()
        self._show_card(task)

    def _show_card(self, task: Task[Cluster]) -> None:
        from azray_lab.widgets.card import card_for

        old = self._card.children
        # The card of this cluster that is there already shows what begins now.
        if not old or old[0].name != task.operation.subject:
            self._card.children = [card_for(task)]
            for card in old:
                card.close()

    def _on_event(self, event: Event) -> None:
        if event.kind == "result" and self._operation:
            use = say("up.use", name=self._operation.subject)
            self._say(f"<p>{views.escape(use)}</p>")

    def _in_background(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded(work), name="azray-form", daemon=True)
        self._threads = [*(t for t in self._threads if t.is_alive()), thread]
        thread.start()

    # How it looks.

    def _drawn(self) -> Any:
        self._fold = widgets.Button(description=say("advanced.show"), icon="caret-right")
        self._fold.on_click(self._alone(lambda: self._unfold(shown=not self._all)))
        self._buttons = {name: self._button(name) for name in ("plan", "up")}
        actions = widgets.HBox([*self._buttons.values()])
        settings = widgets.VBox([self._fields.box, self._fold])
        result = widgets.VBox([self._yaml, actions, self._message, self._planned, self._card])
        columns = widgets.HBox([settings, result])
        root = widgets.VBox([heading(say("heading.form"), 3), columns])
        for box, name in ((root, "form"), (columns, "columns"), (settings, "settings"), (result, "result")):
            box.add_class(f"azray-{name}")
        actions.add_class("azray-actions")
        self._message.add_class("azray-message")
        return root

    def _button(self, name: str) -> Any:
        button = widgets.Button(description=say(name), tooltip=say(f"{name}.help"))
        button.button_style = "primary" if name == "up" else ""
        button.on_click(self._guarded(self._plan if name == "plan" else self._up))
        return button

    def _unfold(self, *, shown: bool) -> None:
        self._all = shown
        (self.widget.add_class if shown else self.widget.remove_class)("azray-all")
        self._fold.description = say("advanced.hide" if shown else "advanced.show")
        self._fold.icon = "caret-down" if shown else "caret-right"

    def to_dict(self) -> dict[str, Any]:
        """What the form says, as the JSON of a spec."""
        return self.spec.to_dict()

    def __repr__(self) -> str:
        return as_text(self._data, self.yaml)

    def _repr_html_(self) -> str:
        return as_html(self._data, self.yaml)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        from azray_lab.widgets.display import interactive

        # Where nobody can click, as under papermill, what is kept is the form as it is.
        shown: dict[str, Any] = self.widget._repr_mimebundle_(**kwargs) if interactive() else {}
        return {**shown, "text/plain": repr(self), "text/html": self._repr_html_()}


def _runs() -> frozenset[str]:
    """The kinds of targets that this version runs."""
    from azray_lab.cluster.targets import every_target

    return frozenset(target.kind for target in every_target())
