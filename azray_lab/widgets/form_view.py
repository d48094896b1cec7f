"""The widgets of one form: its fields, the YAML, the buttons, and what stands below them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from azray_lab import views
from azray_lab.errors import AzRayError
from azray_lab.widgets import nested
from azray_lab.widgets.form_controls import Context
from azray_lab.widgets.form_fields import tree
from azray_lab.widgets.form_sections import Fields, heading
from azray_lab.widgets.form_texts import say
from azray_lab.widgets.form_yaml import YamlView

if TYPE_CHECKING:
    from azray_lab.widgets.card import Card

Guard = Callable[[Callable[[], None]], Callable[..., None]]


class View:
    """The widgets; `root` is what is displayed, 216 widgets for a spec with one worker group."""

    def __init__(self, changed: Callable[..., None], alone: Guard, pressed: Mapping[str, Callable[..., None]]) -> None:
        self._alone = alone
        self._all = False
        self.fields = Fields(tree(), Context(changed, _runs(), alone))
        words = ("title", "copy", "copied", "selected", "lost", "waits")
        self.yaml = YamlView(words={name: say(f"yaml.{name}") for name in words})
        self.message = widgets.HTML()
        self.planned = widgets.VBox([])
        self.card = widgets.VBox([])
        self.buttons = {name: _button(name, press) for name, press in pressed.items()}
        self.root = self._drawn()
        self.settle()

    def _drawn(self) -> Any:
        self._fold = widgets.Button(description=say("advanced.show"), icon="caret-right")
        self._fold.on_click(self._alone(lambda: self.unfold(shown=not self._all)))
        actions = widgets.HBox([*self.buttons.values()])
        settings = widgets.VBox([self.fields.box, self._fold])
        result = widgets.VBox([self.yaml, actions, self.message, self.planned, self.card])
        columns = widgets.HBox([settings, result])
        root = widgets.VBox([heading(say("heading.form"), 3), columns])
        for box, name in ((root, "form"), (columns, "columns"), (settings, "settings"), (result, "result")):
            box.add_class(f"azray-{name}")
        actions.add_class("azray-actions")
        self.message.add_class("azray-message")
        return root

    def settle(self) -> None:
        """Has all widgets, those that came since as well, answered while a cell runs."""
        nested.answer_beside_cells(self.root)

    def unfold(self, *, shown: bool) -> None:
        """Shows the advanced settings, or folds them away."""
        self._all = shown
        (self.root.add_class if shown else self.root.remove_class)("azray-all")
        self._fold.description = say("advanced.hide" if shown else "advanced.show")
        self._fold.icon = "caret-down" if shown else "caret-right"

    def say(self, markup: str, role: str = "status") -> None:
        """Shows HTML below the buttons; `role` is "alert" for what went wrong."""
        self.message.value = f'<div role="{role}">{markup}</div>' if markup else ""

    def show_error(self, error: Exception) -> None:
        """Shows an error; with its traceback when it is none of ours."""
        said = str(error) if isinstance(error, AzRayError) else f"{type(error).__name__}: {error}"
        more = ""
        if not isinstance(error, AzRayError):
            trace = views.escape("".join(traceback.format_exception(error)))
            more = f"<details><summary>{say('details')}</summary><pre>{trace}</pre></details>"
        self.say(f'<p class="azray-wrong">{views.escape(said)}</p>{more}', role="alert")

    def show_plan(self, markup: str) -> None:
        """Shows a plan, and none with an empty text, in place of the one before."""
        old = self.planned.children
        self.planned.children = [widgets.HTML(markup)] if markup else []
        for one in old:
            nested.close(one)

    def show_card(self, name: str, make: Callable[[], Card]) -> None:
        """Shows the card of that cluster; the one that is there already shows what begins now."""
        old = self.card.children
        if not old or old[0].name != name:
            self.card.children = [make()]
            for card in old:
                nested.close(card)
            self.settle()

    def close(self) -> None:
        """Closes all of its widgets."""
        nested.close(self.root)


def _button(name: str, press: Callable[..., None]) -> Any:
    button = widgets.Button(description=say(name), tooltip=say(f"{name}.help"))
    button.button_style = "primary" if name == "up" else ""
    button.on_click(press)
    return button


def _runs() -> frozenset[str]:
    """The kinds of targets that this version runs."""
    from azray_lab.cluster.targets import every_target

    return frozenset(target.kind for target in every_target())
