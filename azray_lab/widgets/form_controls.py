"""The widgets of single settings: a field with its label, and beside it what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import ipywidgets as widgets

from azray_lab import views
from azray_lab.errors import SpecError
from azray_lab.spec.problems import Loc, dotted
from azray_lab.widgets.form_fields import MISSING, Setting, targets_of, text_of, value_of
from azray_lab.widgets.form_texts import choice_of, label_of, say

if TYPE_CHECKING:
    from azray_lab.widgets.form_fields import Kind

# The value of the choice "not set"; None means to a Dropdown that nothing is chosen, and it shows nothing.
_UNSET = ""
_CODE = re.compile(r"`([^`]+)`")


@dataclass
class Reading:
    """What stood in the form at one moment: where each part is, and which could not be read."""

    places: dict[str, Part] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What every part of one form shares.

    `changed` is called after a change, `runs` are the targets of this version, and `guarded` makes a callback of work:
    alone in the form, with its errors shown there.
    """

    changed: Callable[..., None]
    runs: frozenset[str]
    guarded: Callable[[Callable[[], None]], Callable[..., None]]


class Part(Protocol):
    """A setting, a section or a list, as the form uses it."""

    box: widgets.DOMWidget
    label: str
    advanced: bool

    def read(self, at: Loc, reading: Reading) -> Any:
        """The data that was typed, MISSING where nothing was; notes its place, and what cannot be read."""
        ...

    def fill(self, value: Any) -> None:
        """Shows `value`, the data of a spec; MISSING empties it."""
        ...

    def tell(self, words: str) -> None:
        """Says beside it what is wrong; an empty text says that nothing is."""
        ...

    def aim(self, target: str) -> None:
        """Says which settings the chosen target does not use."""
        ...

    def focus(self) -> None:
        """Puts the keyboard there."""
        ...


class Noted:
    """A box whose last child says what is wrong, while something is."""

    def __init__(self, children: Sequence[Any], *classes: str, advanced: bool = False) -> None:
        self.box = widgets.VBox(list(children))
        self.advanced = advanced
        for name in (*classes, *(["azray-advanced"] if advanced else [])):
            self.box.add_class(name)
        self._note: Any = None
        self._said = ("", "")
        self._wrong = self._hint = ""

    def tell(self, words: str) -> None:
        """Says what is wrong; an empty text says that nothing is."""
        self._wrong = words
        self._draw()

    def hint(self, words: str) -> None:
        """Says what is worth knowing and is not wrong."""
        self._hint = words
        self._draw()

    def _draw(self) -> None:
        if self._said == (said := (self._wrong, self._hint)):
            return
        self._said = said
        if self._note is None:
            self._note = widgets.HTML()
            self._note.add_class("azray-note")
            # Views before it stay as they are, and with them the keyboard's focus.
            self.box.children = (*self.box.children, self._note)
        # The sign is for the eye; words say the same.
        sign = '<span aria-hidden="true">&#9888;</span>'
        words = _CODE.sub(r"<code>\1</code>", views.escape(self._wrong))
        wrong = f'<p class="azray-wrong">{sign} {words}</p>'
        hint = f'<p class="azray-hint">{views.escape(self._hint)}</p>'
        self._note.value = wrong * bool(self._wrong) + hint * bool(self._hint)


class Field(Noted):
    """One setting with its label, its field, and beside it what is wrong."""

    def __init__(self, setting: Setting, context: Context) -> None:
        self.setting = setting
        self.label = label_of(setting.key)
        self._context = context
        self.input = _input(setting, self.label, context)
        self._help = f"{setting.key}: {setting.info.description or self.label}"
        self.input.tooltip = self._help
        super().__init__([self.input], "azray-field", f"azray-kind-{setting.kind}", advanced=not setting.basic)
        self.input.observe(context.changed, "value")

    def read(self, at: Loc, reading: Reading) -> Any:
        """The value that was typed, MISSING where nothing was or where it is the default."""
        reading.places[dotted(at)] = self
        if self.setting.kind in {"choice", "switch"}:
            value = self.input.value
            return MISSING if value in {_UNSET, self.setting.default} else value
        try:
            return value_of(self.setting, self.input.value)
        except SpecError as error:
            reading.problems[dotted(at)] = _words(error.message, error.cause, error.next_step)
            return MISSING

    def fill(self, value: Any) -> None:
        """Shows a value of a spec; MISSING shows nothing, or the default of a choice."""
        if self.setting.kind in {"choice", "switch"}:
            self.input.value = _shown(self.setting.default if value is MISSING else value)
        else:
            self.input.value = "" if value is MISSING else text_of(self.setting, value)

    def tell(self, words: str) -> None:
        """Says what is wrong, beside the field and in its title."""
        if words and self.setting.info.is_required() and self.input.value == "":
            words = say("needed", value=self.setting.example)
        super().tell(words)
        # The title is what a screen reader says of the field beside its label.
        self.input.tooltip = f"{say('wrong', words=words)} {self._help}" if words else self._help

    def aim(self, target: str) -> None:
        """Says where the chosen target has no use for it, or is not in this version."""
        only = targets_of(self.setting.key)
        if self.setting.key == "target":
            self.hint("" if target in self._context.runs else say("target.later", target=target))
        elif only and target not in only:
            later = not self._context.runs & set(only)
            self.hint(say("later" if later else "elsewhere", targets=", ".join(only), target=target))
        else:
            self.hint("")

    def focus(self) -> None:
        """Puts the keyboard into the field."""
        self.input.focus()


def _input(setting: Setting, label: str, context: Context) -> Any:
    make: dict[Kind, Callable[[], Any]] = {
        "choice": lambda: widgets.Dropdown(
            options=[(_choice(setting, value, context), _shown(value)) for value in setting.choices],
            value=_shown(setting.default),
            description=label,
        ),
        "switch": lambda: widgets.Checkbox(value=setting.default, description=label, indent=False),
        "mapping": lambda: widgets.Textarea(description=label, placeholder=setting.example, rows=2),
    }
    return make.get(setting.kind, lambda: widgets.Text(description=label, placeholder=_placeholder(setting)))()


def _shown(value: Any) -> Any:
    return _UNSET if value is None else value


def _choice(setting: Setting, value: Any, context: Context) -> str:
    words = choice_of(setting.key, value)
    return say("choice.later", choice=words) if setting.key == "target" and value not in context.runs else words


def _placeholder(setting: Setting) -> str:
    if setting.default not in (None, ()):
        return say("default", value=text_of(setting, setting.default))
    return say("example", value=setting.example) if setting.example else ""


def _words(message: str, cause: str, next_step: str) -> str:
    """A problem as one line beside its field, which need not say where it is."""
    text = cause or message
    return f"{text}; {next_step}" if next_step and "write it" not in text else text


def words_of(problem: dict[str, Any]) -> str:
    """A problem of a SpecError, an entry of its fact `problems`, as one line beside its field."""
    message = str(problem["message"]).removeprefix(f"{problem['key']}: ")
    return _words(message, problem["cause"], problem["next_step"])
