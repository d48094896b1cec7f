"""The widgets of sections and lists of settings, each made from its part of the spec's models."""

from __future__ import annotations

import itertools
from typing import Any

import ipywidgets as widgets

from azray_lab import views
from azray_lab.spec.problems import Loc, dotted
from azray_lab.widgets import nested
from azray_lab.widgets.form_controls import Context, Field, Noted, Part, Reading
from azray_lab.widgets.form_fields import MISSING, Many, Section, Setting
from azray_lab.widgets.form_texts import TEXTS, heading_of, say

# These lead a section, whatever the order of the models.
_FIRST = ("name", "target", "count")


def part_for(part: Setting | Section | Many, context: Context) -> Part:
    """The widgets of a setting, a section or a list."""
    if isinstance(part, Setting):
        return Field(part, context)
    return Items(part, context) if isinstance(part, Many) else Fields(part, context)


def heading(words: str, level: int) -> Any:
    """A heading inside the form."""
    made = widgets.HTML(f"<h{level}>{views.escape(words)}</h{level}>")
    made.add_class("azray-heading")
    return made


def _order(part: Setting | Section | Many) -> tuple[int, bool]:
    first = _FIRST.index(part.name) if part.name in _FIRST else len(_FIRST)
    return first, not part.basic


class Fields(Noted):
    """A section: its settings beside each other, the sections and lists in it below them.

    A section within a section, such as `gpus`, has no heading: its settings stand in the row of the outer one.
    """

    def __init__(self, section: Section, context: Context, title: Any = None, label: str = "") -> None:
        self.label = label or heading_of(section.key)
        ordered = sorted(section.parts, key=_order)
        self.parts: dict[str, Part] = {part.name: part_for(part, context) for part in ordered}
        beside = [part.name for part in ordered if isinstance(part, Setting) or "." in part.key]
        row = widgets.HBox([self.parts[name].box for name in beside])
        row.add_class("azray-row")
        below = [part.box for name, part in self.parts.items() if name not in beside]
        self.inline = inline = "." in section.key
        if section.key and not inline and title is None:
            title = heading(self.label, 4)
        super().__init__(
            [*([title] if title else []), row, *below],
            "azray-inline" if inline else "azray-section",
            advanced=not section.basic,
        )

    def read(self, at: Loc, reading: Reading) -> Any:
        """The settings that were given, MISSING where none was."""
        reading.places[dotted(at)] = self
        data = {name: part.read((*at, name), reading) for name, part in self.parts.items()}
        return {name: value for name, value in data.items() if value is not MISSING} or MISSING

    def fill(self, value: Any) -> None:
        """Fills each setting; those that `value` does not hold are emptied."""
        data = value if isinstance(value, dict) else {}
        for name, part in self.parts.items():
            part.fill(data.get(name, MISSING))

    def aim(self, target: str) -> None:
        """Tells each part the chosen target."""
        for part in self.parts.values():
            part.aim(target)

    def focus(self) -> None:
        """Puts the keyboard into the first field."""
        next(iter(self.parts.values())).focus()


class Items(Noted):
    """A list: a section for each entry, a button that adds one, and one beside each that removes it."""

    def __init__(self, many: Many, context: Context) -> None:
        self.many = many
        self.label = heading_of(many.key)
        self._context = context
        self._target = ""
        self.items: list[Fields] = []
        self._list = widgets.VBox([])
        self._list.add_class("azray-list")
        self._none = TEXTS.get(f"none.{many.key}", "")
        words = TEXTS.get(f"add.{many.key}") or say("add", label=self.label)
        self.add_button = widgets.Button(description=words, icon="plus", tooltip=many.info.description or words)
        self.add_button.on_click(context.guarded(self._add))
        title = widgets.HBox([heading(self.label, 4), self.add_button])
        title.add_class("azray-bar")
        super().__init__([title, self._list], "azray-section", advanced=not many.basic)
        self._show()

    def read(self, at: Loc, reading: Reading) -> Any:
        """The data of each entry, MISSING where there is none."""
        reading.places[dotted(at)] = self
        data = [item.read((*at, number), reading) for number, item in enumerate(self.items)]
        return [{} if one is MISSING else one for one in data] or MISSING

    def fill(self, value: Any) -> None:
        """Makes as many entries as `value` has, and fills them."""
        data = value if isinstance(value, list) else []
        kept = self.items[: len(data)]
        over = self.items[len(data) :]
        self.items = [*kept, *(self._made() for _ in range(len(data) - len(kept)))]
        for item, one in zip(self.items, data, strict=True):
            item.fill(one)
        self._show()
        for item in over:
            nested.close(item.box)

    def aim(self, target: str) -> None:
        """Tells each entry the chosen target, and those that come later."""
        self._target = target
        for item in self.items:
            item.aim(target)

    def focus(self) -> None:
        """Puts the keyboard on the button that adds an entry."""
        self.add_button.focus()

    def _add(self) -> None:
        item = self._made()
        item.fill(self._first_values())
        item.aim(self._target)
        self.items.append(item)
        self._show()
        nested.answer_beside_cells(item.box)
        self._context.changed()

    def _first_values(self) -> dict[str, Any]:
        """What a new entry begins with: a name that no other has, and one node."""
        names = {part.name: part for part in self.many.item.parts if isinstance(part, Setting)}
        given: dict[str, Any] = {"count": 1} if "count" in names else {}
        if "name" in names and self.items:
            default = names["name"].default or self.many.key
            taken = {item.parts["name"].read((), Reading()) for item in self.items}
            numbered = (f"{default}-{number}" for number in itertools.count(2))
            given["name"] = next(name for name in numbered if name not in taken)
        return given

    def _remove(self, item: Fields) -> None:
        if item in self.items:  # two clicks on one button may both be under way
            self.items.remove(item)
            self._show()
            self._context.changed()
            self.focus()
            nested.close(item.box)

    def _made(self) -> Fields:
        button = widgets.Button(icon="trash")
        title = widgets.HBox([heading("", 5), button])
        title.add_class("azray-bar")
        item = Fields(self.many.item, self._context, title, self.label)
        item.box.add_class("azray-item")
        button.on_click(self._context.guarded(lambda: self._remove(item)))
        return item

    def _show(self) -> None:
        for number, item in enumerate(self.items, start=1):
            item.label = self._numbered("heading.{}.item", "heading.item", number)
            bar = item.box.children[0]
            bar.children[0].value = f"<h5>{views.escape(item.label)}</h5>"
            bar.children[1].description = self._numbered("remove.{}", "remove", number)
        self._list.children = [item.box for item in self.items]
        self.hint("" if self.items else self._none)

    def _numbered(self, own: str, common: str, number: int) -> str:
        words = TEXTS.get(own.format(self.many.key)) or TEXTS[common]
        return words.format(label=self.label, number=number)
