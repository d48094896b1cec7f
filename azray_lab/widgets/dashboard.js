// The table of all clusters; a row's button opens its card, which the kernel puts below.

class ClusterTable {
  constructor(model, element) {
    this.element = element;
    this.live = new Live(model, element, { draw: () => this.root && this.draw(), tick: () => this.tick() });
    this.say = (key, values) => this.live.say(key, values);
    this.build();
    this.draw();
  }

  build() {
    const { say } = this, id = `az-${Math.random().toString(36).slice(2)}`;
    this.title = make("span", { class: "az-name", id });
    this.filter = make("input", { type: "search", class: "az-number az-filter", id: `${id}-filter` });
    this.filter.addEventListener("input", () => this.draw());
    this.filtering = make("div", { class: "az-form" }, make("label", { for: `${id}-filter` }, say("cluster.filter")), this.filter);
    this.found = make("span", { role: "status", "aria-live": "polite" });
    this.stale = make("p", { class: "az-note", role: "status" });
    this.problem = make("p", { class: "az-error", role: "alert", hidden: true });
    this.notes = make("ul", { class: "az-notes" });
    this.none = make("p", {}, say("clusters.none"));
    this.table = table("az-clusters", say("clusters"), ["cluster", "state", "target", "size", "age", "card"], say);
    this.root = make("section", { class: "az-card", "aria-labelledby": id, "data-lm-suppress-shortcuts": "true" },
      make("div", { class: "az-head" }, this.title, this.filtering, this.found),
      this.stale, this.problem, this.none, this.table.frame, this.notes);
    this.keepFocus = keepFocus(this.root, this.title);
    this.element.replaceChildren(this.root);
  }

  draw() {
    const { live, say } = this, d = live.document, rows = Object.entries(d.rows ?? {});
    put(this.title, say("clusters.count", { count: rows.length }));
    live.drawStale(this.root, this.stale);
    put(this.problem, d.problem ?? "");
    this.problem.hidden = !d.problem;
    keyed(this.notes, (d.notes ?? []).map((note, index) => [index, note]), () => make("li"), (node, note) => put(node, note));
    this.none.hidden = rows.length > 0;
    this.table.frame.hidden = !rows.length;
    this.filtering.hidden = rows.length < 8;
    const wanted = this.filter.value.trim().toLowerCase();
    const shown = rows.filter(([name, row]) => !wanted || `${name} ${row.state} ${row.target}`.toLowerCase().includes(wanted));
    put(this.found, wanted ? say("cluster.found", { shown: shown.length, count: rows.length }) : "");
    const items = shown.map(([name, item]) => [name, { ...item, opened: Boolean(d.opened?.[name]), dead: live.live !== true }]);
    keyed(this.table.body, items, (name) => this.row(name), (node, item, name) => {
      node._state._show(item.state, live.texts[`state.${item.state}`] ?? item.state);
      put(node.children[2], item.target);
      put(node.children[3], String(item.nodes));
      const key = item.opened ? "cluster.close" : "cluster.open";
      put(node._open, say(key));
      attribute(node._open, "aria-label", say(`${key}.help`, { name }));
      attribute(node._open, "title", say(`${key}.help`, { name }));
      attribute(node._open, "aria-expanded", String(item.opened));
      attribute(node._open, "aria-disabled", item.dead);
    });
    this.tick();
    this.keepFocus();
  }

  row(name) {
    const node = row(6);
    put(node.children[0], name);
    node._state = node.children[1].appendChild(badge());
    node._open = button("", "", () => this.live.ask(this.live.document.opened?.[name] ? "close" : "open", { name }));
    node.children[5].append(node._open);
    return node;
  }

  tick() {
    if (!this.root) return;
    const now = this.live.moment();
    for (const [name, node] of this.table.body._rows ?? []) {
      const created = this.live.document.rows?.[name]?.created;
      put(node.children[4], created ? whole(now - created) : "");
    }
  }
}

export default {
  render({ model, el }) {
    const view = new ClusterTable(model, el);
    return () => view.live.stop();
  },
};
