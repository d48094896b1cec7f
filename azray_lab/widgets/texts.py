"""Every text of cards, dashboard and charts, in one place. `TEXTS.update(...)` before they are made translates them.

One way to say them on both sides: `say("card", name="a")` in Python, `say("card", {name: "a"})` in the front end, which
gets this dictionary with the document. Fields stand in braces. A text that counts has the forms `KEY.one` and
`KEY.many`; `say(KEY, count=2)` takes the right one. The form's texts are in `form_texts.py` and are said alike. What
comes from below is not ours to translate: names, stages, reasons and errors.
"""

from __future__ import annotations

from collections.abc import Mapping

TEXTS: dict[str, str] = {
    # Values. A time has one unit, or two neighbouring ones.
    "time.s": "{s} s",
    "time.min": "{min} min",
    "time.min.s": "{min} min {s} s",
    "time.h": "{h} h",
    "time.h.min": "{h} h {min} min",
    "time.d": "{d} d",
    "time.d.h": "{d} d {h} h",
    "size": "{size} GiB",
    "share": "{percent} %",
    "degrees": "{degrees} °C",
    "untold": "-",
    "date": "%Y-%m-%d %H:%M:%S",
    "card": "Cluster {name}",
    # States, each with what it means.
    "state.starting": "starting",
    "state.running": "running",
    "state.degraded": "degraded",
    "state.lost": "lost",
    "state.stopping": "stopping",
    "state.down": "down",
    "state.failed": "failed",
    "state.unknown": "unknown",
    "state.ended": "it was ended",
    # The line below the name.
    "nodes.one": "1 node",
    "nodes.many": "{count} nodes",
    "made": "up for {time}",
    "dashboard": "Ray dashboard",
    "dashboard.help": "Opens in a new tab and asks for the cluster's token, which is in {path}",
    # Liveness.
    "live.checking": "This shows how it was at {time}. Asking the kernel whether it is still so.",
    "live.not": "Not live: this shows how it was at {time}. Run the cell again for a live card.",
    # An operation.
    "operation": "{name}: {state}",
    "operation.running": "{time} so far",
    "operation.rest": "{time} so far, about {rest} left",
    "operation.over": "over the usual {usual}",
    "operation.done": "{name} took {time}",
    "operation.cancel": "Cancel",
    "operation.cancel.help": "Stop it and remove what it has made",
    "operation.cancelled": "cancelled in the card",
    "said": "{name}: {what}",
    "stages": "Stages",
    "column.stage": "stage",
    "column.state": "state",
    "column.time": "time",
    "column.message": "message",
    "stage.running": "running",
    "stage.done": "done",
    "stage.failed": "failed",
    "stage.repeated": "failed, tried again",
    "stage.of": "{time} of about {usual}",
    "outcome.running": "running",
    "outcome.done": "done",
    "outcome.failed": "failed",
    "outcome.cancelled": "cancelled",
    # Errors.
    "error.cause": "Why",
    "error.next": "Next step",
    "error.dismiss": "Dismiss",
    # Meters.
    "usage": "In use",
    "meter.cpu": "CPU",
    "meter.gpu": "GPU",
    "meter.memory": "Memory",
    "meter.object_store": "Object store",
    "meter.value": "{used} of {total}",
    "meter.unknown": "not reported yet",
    "meter.chart": "{label} in the last {minutes} min: now {now}, lowest {lowest} %, highest {highest} %",
    # The lease.
    "lease.none": "No lease: it runs until it is ended.",
    "lease.rest": "Lease ends in {time}",
    "lease.idle": "Lease ends after {limit} without work.",
    "lease.why.idle": "because it idles",
    "lease.why.max": "its age limit is {limit}",
    "lease.over": "The lease is over.",
    "lease.extend": "Extend by 1 h",
    "lease.extend.help": "Let it live one hour longer",
    # Actions.
    "scale": "Scale",
    "scale.workers": "Workers",
    "down": "Down",
    "down.help": "End the cluster; asks first",
    "down.title": "End cluster {name}?",
    "down.idle": "This ends {nodes}. No job runs on it.",
    "down.busy.one": "This ends {nodes} and 1 job or connected program:",
    "down.busy.many": "This ends {nodes} and {count} jobs and connected programs:",
    "down.unknown": "This ends what runs of {nodes}. It does not answer, so which jobs run on it is not known.",
    "down.were": "This ends what runs of {nodes}. It does not answer; when it did, these jobs ran:",
    "down.yes": "End it",
    "down.no": "Keep it",
    "doing": "{action} is under way",
    "doing.extend": "Extending",
    "doing.scale": "Scaling",
    "doing.down": "Ending",
    "doing.cancel": "Cancelling",
    "doing.stop": "Stopping a job",
    # Tables.
    "nodes.title": "Nodes",
    "nodes": "Nodes ({count})",
    "nodes.all": "Show all {count} nodes",
    "column.node": "node",
    "column.role": "role",
    "column.cpu": "CPU",
    "column.gpu": "GPU",
    "column.memory": "memory",
    "column.object_store": "object store",
    "column.load": "load",
    "column.reason": "reason",
    "jobs.title": "Jobs",
    "jobs": "Jobs ({running} running, {count} in all)",
    "jobs.left_out.one": "1 more job, {running} running: azray jobs --cluster {name} lists all",
    "jobs.left_out.many": "{count} more jobs, {running} running: azray jobs --cluster {name} lists all",
    "jobs.none": "No jobs.",
    "column.job": "job",
    "column.status": "status",
    "column.entrypoint": "entrypoint",
    "column.action": "action",
    "job.stop": "Stop",
    "job.stop.help": "Stop job {job}",
    "job.notebook": "a notebook",
    "job.driver": "a connected program: end it where it runs",
    # The dashboard of all clusters.
    "feed.read": "a read failed: {error}",
    "feed.show": "a card cannot be shown: {error}",
    "clusters": "Clusters",
    "clusters.count": "Clusters ({count})",
    "clusters.none": "No cluster is registered. %azray up makes one.",
    "column.cluster": "cluster",
    "column.target": "target",
    "column.size": "nodes",
    "column.age": "age",
    "column.card": "card",
    "cluster.open": "Open",
    "cluster.open.help": "Open the card of {name} below the table",
    "cluster.close": "Close",
    "cluster.close.help": "Close the card of {name}",
    "cluster.filter": "Filter by name or state",
    "cluster.found": "{shown} of {count} shown",
    # The chart of GPUs.
    "gpus": "GPUs",
    "gpus.count": "GPUs ({count})",
    "gpus.none": "No GPU.",
    "gpus.as_of": "{what} as of {time}",
    "gpus.report": "The report in full",
    # The columns of its tables, by the report's own names for them.
    "report.node": "node",
    "report.vendor": "vendor",
    "report.type": "type",
    "report.count": "count",
    "report.memory": "memory",
    "report.used": "used",
    "report.temp.": "temp.",
    "report.driver": "driver",
    "report.CUDA": "CUDA",
    "report.MIG": "MIG",
    "report.NVLink": "NVLink",
    "report.held by": "held by",
    "report.GPUs": "GPUs",
    "report.cell": "cell",
    "report.job": "job",
    "column.gpu.device": "device",
    "column.utilisation": "utilisation",
    "column.temperature": "temperature",
    "gpu.pretend": "pretended",
    "gpu.memory": "{used} / {total}",
    "gpu.times": "{count} x",
    "gpu.chart.as_of": "{label} of {device} in the {minutes} min before {time}: last {now} %, highest {highest} %",
    "gpu.chart": "{label} of {device} in the last {minutes} min: now {now} %, highest {highest} %",
    # Without a front end.
    "static": "A live card shows here while the kernel runs; this is how it was at {time}.",
    "repr": "<card of cluster {name}: {state}>",
    "repr.reason": "<card of cluster {name}: {state}: {reason}>",
}


def say(key: str, /, **values: object) -> str:
    """The text of that key, filled in."""
    return fill(TEXTS, key, **values)


def fill(texts: Mapping[str, str], key: str, /, **values: object) -> str:
    """The text of `key` among `texts`, with its fields filled in; by `count` where it has a form for one and for many.

    KeyError for a text, or a field of it, that is not there.
    """
    if key not in texts:
        key += ".one" if values.get("count") == 1 else ".many"
    return texts[key].format(**values)
