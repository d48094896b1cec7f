// The card of a cluster. Written once into the page, then only what differs is changed, so that focus stays.

const MINUTES = 5;
const KINDS = ["cpu", "gpu", "memory", "object_store"];
const FEW_NODES = 50;
const BUSY = new Set(["starting", "running", "degraded"]);

class Card {
  constructor(model, element) {
    this.element = element;
    this.history = [];
    this.live = new Live(model, element, {
      draw: () => this.root && this.draw(),
      tick: () => this.tick(),
      taken: (live, whole) => (this.history = whole.history ?? []),
    });
    this.say = (key, values) => this.live.say(key, values);
    this.build();
    this.draw();
  }

  // Once.

  build() {
    const { say } = this, id = `az-${Math.random().toString(36).slice(2)}`;
    const send = (what, more) => () => this.live.ask(what, more);
    this.name = make("span", { class: "az-name" });
    this.state = badge();
    this.facts = make("span", { class: "az-facts" });
    this.link = make("a", { class: "az-link", target: "_blank", rel: "noopener noreferrer" }, say("dashboard"));
    this.said = make("p", { class: "az-unseen", role: "status", "aria-live": "polite" });
    this.reason = make("p", { class: "az-reason" });
    this.stale = make("p", { class: "az-note", role: "status" });
    this.buildError();
    this.buildOperation();
    this.meters = make("div", { class: "az-meters", role: "group", "aria-label": say("usage") });
    this.tiles = Object.fromEntries(KINDS.map((kind) => [kind, this.tile(kind)]));
    this.meters.append(...KINDS.map((kind) => this.tiles[kind].node));
    this.lease = make("span", { class: "az-lease" });
    this.extend = button(say("lease.extend"), say("lease.extend.help"), send("extend"));
    this.workers = make("input", { type: "number", min: 0, step: 1, id: `${id}-workers`, class: "az-number" });
    this.workers.addEventListener("input", () => (this.edited = true));
    // JupyterLab keeps a browser from submitting a form by Enter.
    this.workers.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.scaling.requestSubmit();
    });
    this.scale = make("button", { type: "submit", class: "az-button" }, say("scale"));
    this.scaling = make("form", { class: "az-form" },
      make("label", { for: `${id}-workers` }, say("scale.workers")), this.workers, this.scale);
    this.scaling.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.scale.getAttribute("aria-disabled") === "true" || this.workers.value === "") return;
      this.edited = false;
      this.live.ask("scale", { workers: Number(this.workers.value) });
    });
    this.down = button(say("down"), say("down.help"), () => this.question(true), "az-danger");
    this.doing = make("span", { class: "az-doing", role: "status", "aria-live": "polite" });
    this.actions = make("div", { class: "az-actions" },
      make("div", { class: "az-terms" }, this.lease, this.extend), this.scaling, this.down, this.doing);
    this.buildQuestion(id);
    this.buildTables();
    this.root = make("section", { class: "az-card", "data-lm-suppress-shortcuts": "true" },
      make("div", { class: "az-head" }, this.name, this.state, this.facts, this.link),
      this.said, this.reason, this.stale, this.error, this.operation, this.meters, this.actions, this.asked,
      this.nodes.details, this.jobs.details);
    this.keepFocus = keepFocus(this.root, this.name);
    this.element.replaceChildren(this.root);
  }

  buildError() {
    const { say } = this;
    this.message = make("p", { class: "az-message" });
    this.cause = make("dd");
    this.next = make("dd");
    this.why = make("div", {}, make("dt", {}, say("error.cause")), this.cause);
    this.then = make("div", {}, make("dt", {}, say("error.next")), this.next);
    this.error = make("div", { class: "az-error", role: "alert", hidden: true }, this.message,
      make("dl", {}, this.why, this.then),
      button(say("error.dismiss"), say("error.dismiss"), () => this.live.ask("dismiss")));
  }

  buildOperation() {
    const { say } = this;
    this.progress = make("progress", { class: "az-progress", max: 1 });
    this.headline = make("span", { class: "az-headline" });
    this.waiting = make("p", { class: "az-waiting" });
    this.cancel = button(say("operation.cancel"), say("operation.cancel.help"), () => this.live.ask("cancel"));
    this.stages = table("az-stages", say("stages"), ["stage", "state", "time", "message"], say);
    this.notes = make("ul", { class: "az-notes" });
    this.stagesSummary = make("summary", {}, say("stages"));
    this.stagesDetails = make("details", { open: true }, this.stagesSummary, this.stages.frame, this.notes);
    this.operation = make("div", { class: "az-operation", hidden: true },
      make("div", { class: "az-row" }, this.headline, this.cancel), this.progress, this.waiting, this.stagesDetails);
  }

  tile(kind) {
    const value = make("span", { class: "az-value" }), chart = sparkline();
    const label = this.say(`meter.${kind}`);
    const node = make("div", { class: "az-meter", "data-kind": kind }, make("span", { class: "az-label" }, label), value, chart);
    return { node, value, chart, label };
  }

  buildQuestion(id) {
    const { say } = this;
    this.askedTitle = make("p", { class: "az-title", id: `${id}-asked` });
    this.askedText = make("p", { id: `${id}-what` });
    this.askedJobs = make("ul", { id: `${id}-jobs` });
    this.keep = button(say("down.no"), say("down.no"), () => this.question(false));
    this.end = button(say("down.yes"), say("down.yes"), () => (this.question(false), this.live.ask("down")), "az-danger az-primary");
    this.asked = make("div", { class: "az-asked", role: "alertdialog", hidden: true, "aria-labelledby": `${id}-asked`,
      "aria-describedby": `${id}-what ${id}-jobs` }, this.askedTitle, this.askedText, this.askedJobs,
      make("div", { class: "az-row" }, this.end, this.keep));
    this.asked.addEventListener("keydown", (event) => event.key === "Escape" && this.question(false));
  }

  buildTables() {
    const { say } = this;
    const nodes = table("az-nodes", say("nodes.title"),
      ["node", "role", "state", ...KINDS, "load", "reason"], say);
    const jobs = table("az-jobs", say("jobs.title"),
      ["job", "status", "node", "time", "entrypoint", "action"], say);
    this.all = button("", "", () => ((this.allNodes = true), this.draw()));
    this.all.hidden = true;
    this.nodes = { ...nodes, summary: make("summary") };
    this.nodes.details = make("details", { class: "az-part" }, this.nodes.summary, nodes.frame, this.all);
    this.jobs = { ...jobs, summary: make("summary"), none: make("p", {}, say("jobs.none")) };
    this.jobs.details = make("details", { class: "az-part" }, this.jobs.summary, jobs.frame, this.jobs.none);
    for (const part of [this.nodes, this.jobs]) part.details.addEventListener("toggle", () => this.draw());
  }

  question(open) {
    if (this.asked.hidden === !open) return;
    this.asked.hidden = !open;
    if (open) this.drawQuestion();
    (open ? this.keep : this.down).focus();
  }

  // After each change.

  draw() {
    const { live, say } = this, d = live.document;
    this.remember();
    put(this.name, d.name);
    attribute(this.root, "aria-label", say("card", { name: d.name }));
    this.state._show(d.state, say(`state.${d.state}`));
    put(this.said, d.said ?? "");
    // Where an operation of this kernel is at work, it tells more.
    put(this.reason, d.operation?.state === "running" ? "" : d.reason ?? "");
    this.reason.hidden = !this.reason.textContent;
    this.link.hidden = !d.dashboard || !BUSY.has(d.state);
    if (/^https?:\/\//.test(d.dashboard ?? "")) attribute(this.link, "href", d.dashboard);
    attribute(this.link, "title", say("dashboard.help", { path: d.token ?? "" }));
    this.drawStale();
    this.drawError(d.error);
    this.drawOperation(d.operation);
    this.drawMeters(d);
    this.drawActions(d);
    this.drawNodes(d.nodes ?? {});
    this.drawJobs(d.jobs ?? {});
    if (!this.asked.hidden) this.drawQuestion();
    this.tick();
    this.keepFocus();
  }

  remember() {
    const usage = this.live.document.usage ?? {}, used = {};
    for (const kind of KINDS) if (usage[kind]?.[1]) used[kind] = usage[kind][0] / usage[kind][1];
    const json = JSON.stringify(used);
    if (json === this.lastUsed) return;
    this.lastUsed = json;
    this.history = this.history.filter(([at]) => at > this.live.now() - 2 * 60 * MINUTES);
    if (json !== "{}") this.history.push([this.live.at ?? this.live.now(), used]);
    this.live.whole.history = this.history; // for the next view of this model
  }

  drawStale() {
    this.dead = this.live.live !== true;
    this.live.drawStale(this.root, this.stale);
  }

  drawError(error) {
    if (!error) return void (this.error.hidden = true);
    const cancelled = error.code === "Cancelled";
    attribute(this.error, "data-kind", cancelled ? "note" : "error");
    put(this.message, error.message ?? "");
    put(this.cause, error.cause ?? "");
    put(this.next, error.next_step ?? "");
    this.why.hidden = !error.cause;
    this.then.hidden = !error.next_step;
    this.error.hidden = false;
  }

  drawOperation(work) {
    const { say } = this;
    this.operation.hidden = !work;
    if (!work) return;
    const running = work.state === "running";
    if (this.wasRunning !== running) (this.stagesDetails.open = running || work.state === "failed"), (this.wasRunning = running);
    this.cancel.hidden = !running;
    attribute(this.cancel, "aria-disabled", this.dead || "cancel" in (this.live.document.doing ?? {}));
    this.progress.hidden = !running;
    put(this.waiting, work.waiting ?? "");
    this.waiting.hidden = !running || !work.waiting;
    this.stagesDetails.hidden = !Object.keys(work.stages ?? {}).length && !(work.notes ?? []).length;
    const rows = Object.entries(work.stages ?? {}).sort(([, a], [, b]) => a.order - b.order);
    keyed(this.stages.body, rows, () => row(4), (node, stage, name) => {
      put(node.children[0], name);
      attribute(node, "data-state", stage.state);
      node._state ??= node.children[1].appendChild(badge());
      node._state._show({ running: "starting", repeated: "down" }[stage.state] ?? stage.state, say(`stage.${stage.state}`));
      put(node.children[3], stage.message ?? "");
    });
    keyed(this.notes, (work.notes ?? []).map((note, index) => [index, note]), () => make("li"), (node, note) => put(node, note));
  }

  drawMeters(d) {
    this.meters.hidden = !Object.values(d.usage ?? {}).some(Boolean);
    for (const kind of KINDS) {
      const pair = d.usage?.[kind], tile = this.tiles[kind];
      tile.node.hidden = !pair?.[1];
      put(tile.value, amount(kind, pair, this.say));
    }
  }

  drawActions(d) {
    const { say } = this, doing = Object.keys(d.doing ?? {});
    const alive = BUSY.has(d.state), off = (name) => this.dead || doing.includes(name);
    // While this kernel makes it there is nothing to change yet; Cancel stands beside its progress.
    const made = d.operation?.state === "running" && d.state === "starting";
    this.actions.hidden = made || (!alive && d.state !== "lost" && !doing.length);
    this.scaling.hidden = !alive || d.state === "starting";
    this.lease.hidden = d.state === "starting" || d.state === "lost";
    attribute(this.extend, "aria-disabled", off("extend") || d.state === "lost");
    attribute(this.scale, "aria-disabled", off("scale"));
    attribute(this.down, "aria-disabled", off("down"));
    attribute(this.end, "aria-disabled", off("down"));
    put(this.doing, doing.map((name) => say("doing", { action: say(`doing.${name}`) })).join("; "));
    const workers = Object.values(d.nodes ?? {}).filter((node) => node.role === "worker").length;
    attribute(this.workers, "max", d.most_workers);
    if (!this.edited && !doing.includes("scale") && document.activeElement !== this.workers) this.workers.value = workers;
  }

  drawQuestion() {
    const { say } = this, d = this.live.document;
    const running = Object.entries(d.jobs ?? {}).filter(([, job]) => ["RUNNING", "PENDING"].includes(job.status));
    const nodes = this.count(Object.keys(d.nodes ?? {}).length);
    put(this.askedTitle, say("down.title", { name: d.name }));
    const key = d.jobs_known ? (running.length ? "down.busy" : "down.idle") : running.length ? "down.were" : "down.unknown";
    put(this.askedText, say(key, { nodes, count: running.length }));
    keyed(this.askedJobs, running, () => make("li", {}, make("strong"), " ", make("code")), (node, job, name) => {
      put(node.children[0], name);
      put(node.children[1], job.entrypoint ?? "");
    });
  }

  count(nodes) {
    return this.say(nodes === 1 ? "nodes.one" : "nodes.many", { count: nodes });
  }

  drawNodes(nodes) {
    const { say } = this, names = Object.keys(nodes), part = this.nodes;
    part.details.hidden = !names.length;
    put(part.summary, say("nodes", { count: names.length }));
    if (!part.details.open) return;
    // What needs a look comes first; the order of the others is the cluster's.
    const rank = (name) => (nodes[name].state === "running" ? 1 : 0);
    let shown = names.sort((a, b) => rank(a) - rank(b) || (nodes[b].role === "head") - (nodes[a].role === "head") || a.localeCompare(b, undefined, { numeric: true }));
    this.all.hidden = this.allNodes || names.length <= FEW_NODES;
    put(this.all, say("nodes.all", { count: names.length }));
    if (!this.all.hidden) shown = shown.slice(0, FEW_NODES);
    const gpus = names.some((name) => nodes[name].gpu?.[1]);
    part.node.classList.toggle("az-no-gpu", !gpus);
    part.node.classList.toggle("az-no-reason", !names.some((name) => nodes[name].reason));
    keyed(part.body, shown.map((name) => [name, nodes[name]]), () => row(9), (node, item, name) => {
      const cells = node.children;
      put(cells[0], name);
      put(cells[1], item.role);
      node._state ??= cells[2].appendChild(badge());
      node._state._show(item.state, this.live.texts[`state.${item.state}`] ?? item.state);
      KINDS.forEach((kind, index) => put(cells[3 + index], item[kind] ? amount(kind, item[kind], say) : ""));
      put(cells[7], typeof item.load === "number" ? percent(item.load / 100) : "");
      put(cells[8], item.reason ?? "");
    });
  }

  drawJobs(jobs) {
    const { say } = this, part = this.jobs, all = Object.entries(jobs);
    const running = all.filter(([, job]) => ["RUNNING", "PENDING"].includes(job.status)).length;
    part.details.hidden = !BUSY.has(this.live.document.state) || this.live.document.state === "starting";
    const more = this.live.document.left_out?.jobs ?? { count: 0, running: 0 };
    put(part.summary, say("jobs", { running: running + more.running, count: all.length + more.count }));
    part.frame.hidden = !all.length;
    part.none.hidden = all.length > 0;
    if (!part.details.open) return;
    const order = all.sort(([, a], [, b]) => Boolean(a.ended) - Boolean(b.ended) || (b.started ?? 0) - (a.started ?? 0));
    keyed(part.body, order, () => row(6), (node, job, name) => {
      const cells = node.children;
      put(cells[0], name);
      put(cells[1], job.ending ? `${job.status}: ${job.ending}` : job.status);
      put(cells[2], job.node ?? "");
      put(cells[4], job.entrypoint ?? "");
      this.drawStop(node, cells[5], job, name);
    });
    this.tickJobs(jobs);
  }

  drawStop(node, cell, job, name) {
    const { say } = this, open = ["RUNNING", "PENDING"].includes(job.status);
    if (job.kind !== "job") return put(cell, open ? say("job.driver") : "");
    if (!node._stop) {
      node._stop = button(say("job.stop"), say("job.stop.help", { job: name }), () => this.live.ask("stop", { job: name }));
      attribute(node._stop, "aria-label", say("job.stop.help", { job: name }));
      cell.append(node._stop);
    }
    node._stop.hidden = !open;
  }

  // Each second: what changes by itself.

  tick() {
    if (!this.root) return;
    const { live, say } = this, d = live.document, frozen = live.moment();
    const facts = [d.target, Object.keys(d.nodes ?? {}).length ? this.count(Object.keys(d.nodes).length) : "",
      d.created && BUSY.has(d.state) ? say("made", { time: whole(frozen - d.created) }) : ""];
    put(this.facts, facts.filter(Boolean).join(" · "));
    this.tickOperation(d.operation, frozen);
    this.tickLease(d.lease ?? {}, frozen);
    for (const kind of KINDS) {
      const tile = this.tiles[kind];
      if (tile.node.hidden) continue;
      const points = this.history.filter(([, used]) => kind in used).map(([at, used]) => [at, used[kind]]);
      tile.chart._draw(points, frozen, span(points, frozen, MINUTES));
      const values = points.map(([, value]) => Math.round(100 * value));
      attribute(tile.chart, "aria-label", say("meter.chart", { label: tile.label, minutes: Math.ceil(span(points, frozen, MINUTES) / 60), now: tile.value.textContent,
        lowest: Math.min(...values, 100), highest: Math.max(...values, 0) }));
    }
    if (this.jobs.details.open) this.tickJobs(d.jobs ?? {}, frozen);
  }

  tickOperation(work, now) {
    if (!work) return;
    const { say } = this, took = (work.ended ?? now - work.began);
    const expected = work.expected ?? {}, stages = work.stages ?? {};
    let rest = 0, usual = 0;
    for (const [name, seconds] of Object.entries(expected)) {
      usual += seconds;
      const stage = stages[name];
      if (!stage || stage.state === "repeated") rest += seconds;
      else if (stage.state === "running") rest += Math.max(seconds - (took - stage.began), 0);
    }
    const title = say("operation", { name: work.name, state: say(`outcome.${work.state}`) });
    if (work.state === "running") {
      const about = usual === 0 ? say("operation.running", { time: whole(took) })
        : rest > 0.5 ? say("operation.rest", { time: whole(took), rest: whole(rest) })
        : `${say("operation.running", { time: whole(took) })}, ${say("operation.over", { usual: whole(usual) })}`;
      put(this.headline, `${title}, ${about}`);
      if (usual > 0) this.progress.value = Math.min(took / (took + rest), 0.99);
      else this.progress.removeAttribute("value");
      attribute(this.progress, "aria-label", title);
    } else {
      put(this.headline, work.state === "done" ? say("operation.done", { name: work.name, time: duration(took) }) : title);
    }
    for (const [name, node] of this.stages.body._rows ?? []) {
      const stage = stages[name];
      if (!stage) continue;
      let time = duration((stage.ended ?? took) - stage.began);
      if (stage.state === "running" && typeof stage.fraction === "number") time += `, ${percent(stage.fraction)}`;
      else if (stage.state === "running" && expected[name]) time = say("stage.of", { time, usual: duration(expected[name]) });
      put(node.children[2], time);
    }
  }

  tickLease(lease, now) {
    const { say } = this;
    const limited = lease.idle || lease.max || lease.expires;
    let text = say("lease.none");
    if (lease.expires) {
      const rest = lease.expires - now;
      const idles = lease.idle_since && lease.idle && (!lease.max || lease.expires <= lease.idle_since + lease.idle + 1);
      text = rest > 0 ? say("lease.rest", { time: whole(rest) }) : say("lease.over");
      if (rest > 0) text += `, ${idles ? say("lease.why.idle") : say("lease.why.max", { limit: whole(lease.max ?? 0) })}`;
      attribute(this.lease, "data-soon", rest < 300);
    } else if (lease.idle) text = say("lease.idle", { limit: whole(lease.idle) });
    put(this.lease, text);
    this.extend.hidden = !limited || this.lease.hidden;
  }

  tickJobs(jobs, now = this.live.moment()) {
    for (const [name, node] of this.jobs.body._rows ?? []) {
      const job = jobs[name];
      if (!job) continue;
      put(node.children[3], job.started ? duration((job.ended ?? now) - job.started) : "");
      if (node._stop) attribute(node._stop, "aria-disabled", this.dead || "stop" in (this.live.document.doing ?? {}));
    }
  }
}

export default {
  render({ model, el }) {
    const card = new Card(model, el);
    return () => card.live.stop();
  },
};
