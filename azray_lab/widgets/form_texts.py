"""Every text of the form, in one place. `TEXTS.update(...)` before a form is made translates it.

Said as those of the cards are (`texts.py`): `say("later", targets="aks", target="local")`.
"""

from __future__ import annotations

from azray_lab.widgets.texts import fill

TEXTS: dict[str, str] = {
    # Labels: by key without indices, else by the key's last part, else the part itself.
    "label.name": "Name",
    "label.target": "Runs on",
    "label.count": "Number of nodes",
    "label.cpus": "CPUs",
    "label.gpus.count": "GPUs",
    "label.gpus.type": "GPU type",
    "label.gpus.pretend": "Pretend GPUs",
    "label.vm_size": "VM size",
    "label.memory": "Memory",
    "label.object_store_memory": "Object store",
    "label.resources": "Custom resources",
    "label.labels": "Labels",
    "label.min": "At least",
    "label.max": "At most",
    "label.gpu": "GPU type and count",
    "label.spot": "Spot capacity",
    "label.uri": "Container and folder",
    "label.path": "Appears at",
    "label.profile": "Tuned for",
    "label.lease.idle": "End when idle for",
    "label.lease.max": "End at the age of",
    "label.env": "Environment variables",
    "label.azure.region": "Regions",
    "label.resource_group": "Resource group",
    "label.subscription": "Subscription",
    "label.dashboard_port": "Dashboard port",
    "label.object_store_directory": "Object store on disk",
    # Headings of sections.
    "heading.form": "Ray cluster",
    "heading.head": "Head node",
    "heading.workers": "Workers",
    "heading.mounts": "Mounts",
    "heading.lease": "Lease",
    "heading.azure": "Azure",
    "heading.local": "This machine",
    "heading.workers.item": "Worker group {number}",
    "heading.mounts.item": "Mount {number}",
    "heading.item": "{label} {number}",
    "remove.workers": "Remove worker group {number}",
    "remove.mounts": "Remove mount {number}",
    # What a list says and offers.
    "add.workers": "Add a worker group",
    "add.mounts": "Add a mount",
    "add": "Add to {label}",
    "remove": "Remove {label} {number}",
    "none.workers": "No workers: the head alone runs tasks.",
    "none.mounts": "No mounts.",
    # Choices.
    "choice.target.local": "this machine (local)",
    "choice.target.dsvm": "Azure virtual machines (dsvm)",
    "choice.target.aks": "Azure Kubernetes Service (aks)",
    "choice.unset": "not set",
    "choice.later": "{choice}: not in this version",
    # Beside fields.
    "default": "default: {value}",
    "example": "such as {value}",
    "later": "{targets} only: not in this version",
    "elsewhere": "{targets} only: not used by {target}",
    "target.later": "This version does not run {target} yet. It checks the spec, and the YAML can be kept.",
    "needed": "needed, such as {value}",
    "wrong": "Not right: {words}",
    # What the form refuses by itself; the spec has words for the rest.
    "line.colon": "{line} has no colon",
    "line.colon.next": "write `key: value` on each line",
    "line.twice": "{key} stands here twice",
    "line.twice.next": "keep one",
    "spec.wrong": "{place}: {words}",
    "spec.form": "the form",
    "spec.next": "mend it in the form",
    "field.unknown": "the form has no field {key}",
    "button.unknown": "the form has no button {name}",
    "button.known": "its buttons are {names}",
    "value.unreadable": "{text} cannot be read as a value",
    # The YAML and what stands below it.
    "yaml.title": "azray.yaml",
    "yaml.copy": "Copy",
    "yaml.copied": "Copied",
    "yaml.selected": "Selected: press Ctrl+C",
    "yaml.lost": "Not live: run the cell again. The kernel that made this form has ended.",
    "yaml.waits": "The kernel has not answered yet. It waits for the running cell.",
    "yaml.right": "The spec is complete.",
    "yaml.wrong": "To mend: {places}.",
    "advanced.show": "Show advanced settings",
    "advanced.hide": "Hide advanced settings",
    "plan": "Plan",
    "plan.help": "Show what Up would make; make nothing",
    "plan.busy": "Planning {name}",
    "up": "Up",
    "up.help": "Make the cluster, or bring it to what the form says",
    "up.busy": "{operation} is under way with what the form said then; press Up again when it has ended.",
    "up.use": "Use it in a cell: %azray connect {name}",
    "mend": "Nothing was done. To mend: {places}.",
    "details": "Details",
    # Without a front end.
    "static.title": "Form for the spec of {name}",
    "static.columns": "setting, value",
    "static.how": "Nothing here can be clicked: this is the form as text. In a cell: azray_lab.up(form.spec), or "
    "azray up in a terminal.",
}


def say(key: str, /, **values: object) -> str:
    """The text of that key, filled in."""
    return fill(TEXTS, key, **values)


def label_of(key: str) -> str:
    """The label of a setting: that of its longest known ending, else its name with spaces."""
    parts = key.split(".")
    for start in range(len(parts)):
        if found := TEXTS.get(f"label.{'.'.join(parts[start:])}"):
            return found
    return parts[-1].replace("_", " ").capitalize()


def heading_of(key: str) -> str:
    """The heading of a section or a list, else its name with spaces."""
    return TEXTS.get(f"heading.{key}") or key.rpartition(".")[2].replace("_", " ").capitalize()


def choice_of(setting: str, value: object) -> str:
    """A choice as it is offered."""
    return say("choice.unset") if value is None else TEXTS.get(f"choice.{setting}.{value}", str(value))
