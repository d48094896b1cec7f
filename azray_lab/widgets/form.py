"""`azray_lab.ui()`: the spec as a form, with its YAML, its plan, and the cluster that comes of it.

Callbacks of widgets may come on another thread than cells do (JupyterLab's subshells), several at a time; what they
share stands behind one lock, and what takes long runs in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from azray_lab import views
from azray_lab.errors import SpecError, UnknownNameError, nearest
from azray_lab.spec.loading import Source, load
from azray_lab.spec.writing import to_yaml
from azray_lab.widgets import cells
from azray_lab.widgets.form_controls import Field, Reading, words_of
from azray_lab.widgets.form_fields import MISSING
from azray_lab.widgets.form_static import as_html, as_text
from azray_lab.widgets.form_texts import say
from azray_lab.widgets.form_view import View

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
        self._filling = False
        self._spec = spec
        self._made: View | None = None
        self._operation: Operation[Cluster] | None = None
        self._asked: ClusterSpec | None = None
        self._threads: list[threading.Thread] = []
        self._presses = 0
        self._reading = Reading()
        self._data: dict[str, Any] = spec.to_dict()

    @property
    def _view(self) -> View:
        """Its widgets, made when they are first needed: where nothing is shown or typed there are none."""
        with self._lock:
            if self._made is None:
                pressed = {"plan": self._guarded(self._plan), "up": self._guarded(self._up)}
                self._made = View(self._alone(self._changed), self._alone, pressed)
                self._fill(self._spec)
            return self._made

    @property
    def widget(self) -> Any:
        """What is displayed: the widget that all others of the form are in."""
        return self._view.root

    @property
    def seen(self) -> bool:
        """True: what was typed into a form is worth keeping, also where front ends do not name the cell."""
        return True

    def close(self) -> None:
        """Ends its widgets, which disappear from the page; shown again, it begins with the last spec that was right.

        What Up began goes on. A cell that is run again does this to the form that it showed before.
        """
        with self._lock:
            if self._made is not None:
                self._spec = self._read()[0] or self._spec
                made, self._made, self._data = self._made, None, self._spec.to_dict()
                self._reading = Reading()  # its places hold the widgets
                made.close()

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
        """The spec as the text of `azray.yaml`: name, target, and what differs from the defaults.

        What is wrong stands in it as it was typed.
        """
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
        filled = load(spec, arguments=overrides).spec
        with self._lock:
            if self._made is None:
                self._spec, self._data = filled, filled.to_dict()
            else:
                self._fill(filled)

    def _fill(self, spec: ClusterSpec) -> None:
        view = self._view
        self._filling = True
        try:
            view.fields.fill(spec.to_dict())
        finally:
            self._filling = False
        view.settle()
        self._changed()

    def field(self, key: str) -> Any:
        """The widget in which the setting `key` is typed: `form.field("lease.idle").value = "30m"`."""
        with self._lock:
            self._view  # noqa: B018 - its fields are made now, if they were not yet
            self._read()
            part = self._reading.places.get(key)
        if not isinstance(part, Field):
            known = [name for name, place in self._reading.places.items() if isinstance(place, Field)]
            message = say("field.unknown", key=repr(key))
            raise UnknownNameError(message, cause=nearest(key, known).strip(), name=key)
        return part.input

    def button(self, name: str) -> Any:
        """The button `plan` or `up`; `.click()` presses it."""
        buttons = self._view.buttons
        if name not in buttons:
            known = ", ".join(buttons)
            message = say("button.unknown", name=repr(name))
            raise UnknownNameError(message, cause=say("button.known", names=known), name=name, known=known)
        return buttons[name]

    def wait(self, timeout: float | None = None) -> None:
        """Waits until what Plan and Up began has ended, at most `timeout` seconds each."""
        for thread in list(self._threads):
            thread.join(timeout)
        if self._operation:
            self._operation.wait(timeout)

    # What changes.

    def _changed(self) -> None:
        if self._filling or self._made is None:
            return
        spec, problems = self._read()
        self._tell(problems)
        self._made.fields.aim(str(self._data.get("target", "local")))
        yaml = self._made.yaml
        yaml.text = self._text(spec)
        yaml.wrong = bool(problems)
        yaml.status = say("yaml.wrong", places=self._places(problems)) if problems else say("yaml.right")

    def _read(self) -> tuple[ClusterSpec | None, dict[str, str]]:
        """The spec, or what is wrong with it by the places of the form."""
        if self._made is None:
            return self._spec, {}
        reading = Reading()
        data = self._made.fields.read((), reading)
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
            self._view.unfold(shown=True)

    def _folded(self, key: str) -> bool:
        """Whether the place at `key`, or one around it, is folded away at first."""
        parts = key.split(".")
        around = (self._reading.places.get(".".join(parts[:end])) for end in range(1, len(parts) + 1))
        return any(part.advanced for part in around if part)

    def _places(self, problems: dict[str, str]) -> str:
        return ", ".join(self._named(key) for key in problems)

    def _named(self, key: str) -> str:
        """A place in words: `Worker group 1: CPUs`, also for what lies deeper in it, as `workers.0.gpus.type`."""
        outer = key.rpartition(".")[0]
        while (inner := self._reading.places.get(outer)) and getattr(inner, "inline", False):
            outer = outer.rpartition(".")[0]
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
                self._view.show_error(error)

        return callback

    def _alone(self, work: Callable[[], None]) -> Callable[..., None]:
        """`work` as such a callback, during which nothing else of the form changes."""

        def locked() -> None:
            with self._lock:
                work()

        return self._guarded(locked)

    def _complete(self) -> ClusterSpec | None:
        """The spec; None after saying what is wrong and putting the keyboard there."""
        with self._lock:
            spec, problems = self._read()
            if spec is not None:
                return spec
            self._tell(problems)
            words = views.escape(say("mend", places=self._places(problems)))
            self._view.say(f'<p class="azray-wrong">{words}</p>', role="alert")
            self._reading.places[next(iter(problems))].focus()
            return None

    def _plan(self) -> None:
        with self._lock:
            number = self._pressed()
            if (spec := self._complete()) is None:
                return
            self._view.say(f"<p>{views.escape(say('plan.busy', name=spec.name))}</p>")
        self._in_background(lambda: self._show_plan(spec, number))

    def _pressed(self) -> int:
        """Tells the front end that the press has arrived; returns its number."""
        self._presses += 1
        self._view.yaml.heard = self._presses
        return self._presses

    def _show_plan(self, spec: ClusterSpec, number: int) -> None:
        """Shows the plan, or why there is none; an answer that comes after a later press is nobody's any more."""
        from azray_lab.planning import plan

        shown = ""
        error: Exception | None = None
        try:
            shown = plan(spec)._repr_html_()
        except Exception as caught:  # noqa: BLE001 - shown; there is nobody else to tell
            error = caught
        with self._lock:
            if number == self._presses and self._made is not None:
                self._made.show_plan(shown)
                self._made.show_error(error) if error else self._made.say("")

    def _up(self) -> None:
        from azray_lab.cluster import up_operation

        with self._lock:
            self._pressed()
            if (spec := self._complete()) is None:
                return
            if self._operation and not self._operation.done:
                self._tell_busy(self._operation, spec)
                return
            task = up_operation(spec)
            self._operation, self._asked = task.operation, spec
            self._view.say("")
            self._view.show_plan("")
        task.operation.subscribe(self._on_event)
        task.start()
        self._show_card(task)

    def _tell_busy(self, work: Operation[Cluster], spec: ClusterSpec) -> None:
        """A second click on what is under way does nothing; for another spec it says why."""
        busy = f"<p>{views.escape(say('up.busy', operation=work.name))}</p>"
        self._view.say("" if spec == self._asked else busy)

    def _show_card(self, task: Task[Cluster]) -> None:
        from azray_lab.widgets.card import card_for

        with self._lock:
            if self._made is not None:
                self._made.show_card(task.operation.subject, lambda: card_for(task))

    def _on_event(self, event: Event) -> None:
        if event.kind == "result" and self._operation and self._made is not None:
            use = say("up.use", name=self._operation.subject)
            self._made.say(f"<p>{views.escape(use)}</p>")

    def _in_background(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guarded(work), name="azray-form", daemon=True)
        self._threads = [*(t for t in self._threads if t.is_alive()), thread]
        thread.start()

    # How it looks.

    def to_dict(self) -> dict[str, Any]:
        """What the form says, as the JSON of a spec."""
        return self.spec.to_dict()

    def __repr__(self) -> str:
        return as_text(self._data, self.yaml)

    def _repr_html_(self) -> str:
        return as_html(self._data, self.yaml)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        from azray_lab.widgets.display import interactive

        text = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if not interactive():  # nobody can click, as under papermill: what is kept is the form as it is
            return text
        cells.shows(self)
        shown: dict[str, Any] = self.widget._repr_mimebundle_(**kwargs)
        return {**shown, **text}
