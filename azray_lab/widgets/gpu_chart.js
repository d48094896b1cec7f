// The chart of GPUs: for each a line of utilisation and one of memory, with the numbers beside them.

const GPU_MINUTES = 5;

class GpuChart {
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

  build() {
    const { say } = this, id = `az-${Math.random().toString(36).slice(2)}`;
    this.title = make("span", { class: "az-name", id });
    this.where = make("span", { class: "az-facts" });
    this.stale = make("p", { class: "az-note", role: "status" });
    this.problem = make("p", { class: "az-error", role: "alert", hidden: true });
    this.table = table("az-gpus", say("gpus"), ["node", "gpu.device", "utilisation", "memory", "temperature"], say);
    this.tables = make("div", {});
    this.reasons = make("ul", { class: "az-notes" });
    this.root = make("section", { class: "az-card", "aria-labelledby": id },
      make("div", { class: "az-head" }, this.title, this.where), this.stale, this.problem, this.table.frame, this.tables,
      this.reasons);
    this.element.replaceChildren(this.root);
  }

  draw() {
    const { live, say } = this, d = live.document, devices = Object.entries(d.devices ?? {});
    if (!d.as_of) this.remember(devices);
    const count = d.count ? say("gpus.count", { count: d.count }) : say(d.problem ? "gpus" : "gpus.none");
    put(this.title, d.as_of ? say("gpus.as_of", { what: count, time: clock(d.as_of) }) : count);
    attribute(this.root, "data-current", String(!d.as_of));
    put(this.where, d.where ?? "");
    live.drawStale(this.root, this.stale);
    put(this.problem, d.problem ?? "");
    this.problem.hidden = !d.problem;
    this.table.frame.hidden = !devices.length;
    keyed(this.table.body, devices, () => this.row(), (node, device) => {
      put(node.children[0], device.node);
      const pretended = device.pretended ? ` (${say("gpu.pretend")})` : "";
      put(node._name, `${device.index} ${device.type}${pretended}`.trim());
      put(node._more, [...(device.held ?? []), device.problem].filter(Boolean).join("; "));
      put(node._busy._text, percent(device.utilisation));
      const used = percent(device.memory);
      put(node._memory._text, device.memory_total ? say("gpu.memory", { used, total: size(device.memory_total) }) : used);
      const degrees = device.temperature;
      put(node.children[4], typeof degrees === "number" ? say("degrees", { degrees }) : say("untold"));
    });
    // The report in full, as its text and its HTML have it; tables with other columns are other tables.
    keyed(this.tables, (d.tables ?? []).map((all) => [JSON.stringify(all.columns), all]), (key) => this.grid(JSON.parse(key)), (node, all) => {
      keyed(node._body, all.rows.map((cells, index) => [index, cells]), () => row(all.columns.length),
        (line, cells) => cells.forEach((cell, index) => put(line.children[index], cell)));
    });
    keyed(this.reasons, (d.reasons ?? []).map((reason, index) => [index, reason]), () => make("li"), (node, text) => put(node, text));
    this.tick();
  }

  grid(columns) {
    const body = make("tbody"), caption = this.say("gpus.report");
    const head = columns.map((column) => make("th", { scope: "col" }, column));
    const node = make("div", { class: "az-scroll", tabindex: "0", role: "group", "aria-label": `${caption}: ${columns.join(", ")}` },
      make("table", { class: "az-table" }, make("caption", { class: "az-unseen" }, caption), make("thead", {}, make("tr", {}, ...head)), body));
    node._body = body;
    return node;
  }

  row() {
    const node = row(5);
    node._name = node.children[1].appendChild(make("div", { class: "az-label" }));
    node._more = node.children[1].appendChild(make("div", {}));
    for (const [name, index] of [["_busy", 2], ["_memory", 3]]) {
      const text = make("div", { class: "az-value" }), chart = sparkline();
      node.children[index].append(text, chart);
      node[name] = { _text: text, chart };
    }
    return node;
  }

  remember(devices) {
    const now = Object.fromEntries(devices.map(([key, device]) => [key, [device.utilisation ?? null, device.memory ?? null]]));
    const json = JSON.stringify(now);
    if (json === this.lastUsed) return;
    this.lastUsed = json;
    this.history = [...this.history.filter(([at]) => at > this.live.now() - 120 * GPU_MINUTES), [this.live.at, now]];
  }

  tick() {
    if (!this.root) return;
    const then = this.live.document.as_of, now = then ?? this.live.moment();
    const time = then ? clock(then) : "";
    for (const [key, node] of this.table.body._rows ?? []) {
      const device = this.live.document.devices?.[key];
      if (!device) continue;
      [[node._busy, 0, "utilisation"], [node._memory, 1, "memory"]].forEach(([cell, which, name]) => {
        const points = this.history.filter(([, all]) => typeof all[key]?.[which] === "number").map(([at, all]) => [at, all[key][which]]);
        cell.chart.hidden = !points.length;
        cell.chart.style.display = points.length ? "" : "none";
        const width = span(points, now, GPU_MINUTES);
        cell.chart._draw(points, now, width);
        const values = points.map(([, value]) => Math.round(100 * value));
        attribute(cell.chart, "aria-label", this.say(then ? "gpu.chart.as_of" : "gpu.chart", { label: this.say(`column.${name}`), device: key, time,
          minutes: Math.ceil(width / 60), now: values.at(-1) ?? "", highest: Math.max(...values, 0) }));
      });
    }
  }
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString();
}

export default {
  render({ model, el }) {
    const view = new GpuChart(model, el);
    return () => view.live.stop();
  },
};
