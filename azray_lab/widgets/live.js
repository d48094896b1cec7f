// What every live view shares: the document and its patches, beats, and small tools for the DOM.
// The other half of the protocol is live.py. Everything that came from outside is set as text, never as HTML.

const LOOK_MS = 10_000; // how often a view that is seen says so
const SILENT_MS = 15_000; // longer than the kernel's beats (5 s) and its slowest read (9 s)
const FIRST_MS = 6_000; // a kernel that lives answers the first look by then
const ANSWER_MS = 500; // what it answers sooner is not worth a word

function merged(target, change) {
  if (change === null || typeof change !== "object" || Array.isArray(change)) return change;
  const out = target && typeof target === "object" && !Array.isArray(target) ? target : {};
  for (const [key, value] of Object.entries(change)) {
    if (key === "__proto__") continue;
    if (value === null) delete out[key];
    else out[key] = merged(out[key], value);
  }
  return out;
}

class Live {
  // Follows the model's document; calls draw(live) after each change and tick(live) each second while it is seen.
  constructor(model, element, { draw, tick, taken }) {
    Object.assign(this, { model, element, tick, taken: taken ?? (() => {}), seen: false });
    this.draw = () => (draw(this), this.drawLeftOut());
    this.whole = { number: -1, document: {} };
    this.heard = -Infinity;
    this.asked = -Infinity; // since when it waits for the first beat after a silence
    this.looked = -Infinity;
    this.onWhole = () => this.takeWhole(model.get("whole"), true);
    this.onPatch = () => this.takePatch(model.get("patch"), true);
    this.onVisible = () => this.look();
    this.onComm = () => this.doubt();
    this.takeWhole(model.get("whole"), false);
    // What was there before this view is no sign of life: a saved notebook has it too.
    this.takePatch(model.get("patch"), false);
    // What is older than that was saved with the notebook, and is nothing to wait for.
    this.mayLive = Math.abs(Date.now() / 1000 - (this.at ?? 0)) < SILENT_MS / 1000;
    if (this.mayLive) this.asked = performance.now();
    model.on("change:whole", this.onWhole);
    model.on("change:patch", this.onPatch);
    model.on("comm_live_update", this.onComm); // ipywidgets: its kernel is gone, or there again
    document.addEventListener("visibilitychange", this.onVisible);
    this.observer = new IntersectionObserver((entries) => {
      this.seen = entries.some((entry) => entry.isIntersecting);
      if (this.seen) this.look();
    });
    this.observer.observe(element);
    this.timer = setInterval(() => this.second(), 1000);
  }

  stop() {
    this.ask("gone");
    clearInterval(this.timer);
    this.observer.disconnect();
    document.removeEventListener("visibilitychange", this.onVisible);
    this.model.off("change:whole", this.onWhole);
    this.model.off("change:patch", this.onPatch);
    this.model.off("comm_live_update", this.onComm);
  }

  // The model's whole is kept true in place: a view that is made later, or a saved notebook, begins with what is known.
  get number() {
    return this.whole.number;
  }

  get document() {
    return this.whole.document;
  }

  // When the document was true, in seconds since 1970.
  get at() {
    return this.whole.now;
  }

  takeWhole(whole, fromKernel) {
    if (!whole || whole === this.whole) return;
    // What was saved earlier does not replace what has been shown since.
    if (whole.number < this.number) return this.model.set("whole", this.whole);
    this.texts = words = whole.texts;
    this.whole = whole;
    if (fromKernel) this.hear(whole.now);
    this.taken(this, whole);
    this.draw();
  }

  takePatch(patch, fromKernel) {
    if (!patch || patch.number === undefined) return;
    if (fromKernel) this.hear(patch.now);
    if (patch.beat) {
      // It has the number of the last change, whose content this view may lack.
      if (patch.number !== this.number) this.ask("whole");
    } else if (patch.number === this.number + 1) {
      Object.assign(this.whole, { number: patch.number, now: patch.now, document: merged(this.document, patch.change) });
      this.draw();
    } else if (patch.number > this.number) {
      this.ask("whole"); // one was missed: the view was made between two patches
    } else if (fromKernel) {
      this.draw(); // another view of this model has taken it
    }
  }

  hear(now) {
    const before = this.live;
    this.whole.now = Math.max(now, this.at ?? 0);
    this.offset = now - Date.now() / 1000;
    this.heard = performance.now();
    this.mayLive = true;
    if (before !== true) this.changed();
  }

  // True after a beat that is recent, undefined while the first one after a silence may still come, else false.
  get live() {
    const now = performance.now();
    if (now - this.heard < SILENT_MS) return true;
    return now - this.asked < FIRST_MS ? undefined : false;
  }

  // What people read beside what may be old; nothing in the moment that an answer takes.
  get notice() {
    const { live } = this;
    if (live || (live === undefined && performance.now() - this.asked < ANSWER_MS)) return "";
    return say(live === false ? "live.not" : "live.checking", { time: new Date((this.at ?? 0) * 1000).toLocaleString() });
  }

  doubt() {
    this.heard = -Infinity;
    if (this.mayLive) this.asked = performance.now();
    this.ask("look");
    this.changed();
  }

  changed() {
    const shown = `${this.live} ${this.notice}`;
    if (shown !== this.shown) (this.shown = shown), this.draw();
  }

  // The time by which ages are told: that of the document where it may be over.
  moment() {
    return this.live ? this.now() : this.at ?? this.now();
  }

  // Seconds since 1970 by the clock of the machine that the kernel runs on.
  now() {
    return Date.now() / 1000 + (this.offset ?? 0);
  }

  ask(what, more) {
    try {
      this.model.send({ do: what, ...more });
    } catch (error) {
      console.debug("azray: the kernel cannot be reached", error);
    }
  }

  look() {
    if (document.hidden || !this.seen) return;
    const now = performance.now();
    // It was hidden, and heard nothing because it asked for nothing: it gets time to hear.
    if (this.mayLive && now - this.looked > SILENT_MS) this.asked = now;
    this.looked = now;
    this.ask("look");
    this.changed();
  }

  second() {
    if (document.hidden || !this.seen) return;
    if (performance.now() - this.looked >= LOOK_MS) this.look();
    this.changed();
    this.tick(this);
  }

  say(key, values) {
    return say(key, values);
  }

  // On `root`, and in `note` for people, whether what is shown is live.
  drawStale(root, note) {
    attribute(root, "data-live", String(this.live ?? "pending"));
    put(note, this.notice);
    note.hidden = !note.textContent;
  }

  // Below each table stands what it leaves out: `left_out` of the document, by the table's name.
  drawLeftOut() {
    for (const [name, values] of Object.entries(this.document.left_out ?? {})) {
      for (const note of this.element.querySelectorAll?.(`.az-left-out[data-table="az-${name}"]`) ?? []) {
        put(note, values.count ? say(`${name}.left_out`, values) : "");
        note.hidden = !values.count;
      }
    }
  }
}

// The DOM.

function make(tag, attributes = {}, ...children) {
  const node = ["svg", "path", "line", "circle"].includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, written(name, value));
  }
  node.append(...children);
  return node;
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function attribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== written(name, value)) node.setAttribute(name, written(name, value));
}

// Only HTML's own switches are empty when they are on; aria and data attributes have words.
function written(name, value) {
  return value === true && !name.includes("-") ? "" : String(value);
}

// Keeps the element of each key, so that focus and scroll stay; `fill(element, item)` brings it up to date.
function keyed(parent, items, create, fill) {
  const old = (parent._rows ??= new Map()), focus = parent.contains(document.activeElement) && document.activeElement;
  const wanted = new Set(items.map(([key]) => key));
  for (const [key, row] of old) if (!wanted.has(key)) (row.remove(), old.delete(key));
  let before = parent.firstElementChild;
  for (const [key, item] of items) {
    let row = old.get(key);
    if (!row) old.set(key, (row = create(key)));
    if (row === before) before = before.nextElementSibling;
    else parent.insertBefore(row, before);
    const json = JSON.stringify(item);
    if (json !== row._json) (fill(row, item, key), (row._json = json));
  }
  // A row that moves loses the focus.
  if (focus && focus.isConnected && focus !== document.activeElement) focus.focus({ preventScroll: true });
}

// Where the element that had the focus has gone, `home` gets it, and not the page.
function keepFocus(root, home) {
  attribute(home, "tabindex", -1);
  let last = null;
  root.addEventListener("focusin", (event) => (last = event.target));
  root.addEventListener("focusout", (event) => event.relatedTarget && !root.contains(event.relatedTarget) && (last = null));
  return () => {
    if (last && last.offsetParent === null && [document.body, null, last].includes(document.activeElement)) home.focus({ preventScroll: true });
  };
}

function button(text, help, act, kind = "") {
  const node = make("button", { type: "button", class: `az-button ${kind}`, title: help }, text);
  node.addEventListener("click", (event) => {
    // The second click of a double click is none; a button that waits stays where the focus is.
    if (event.detail > 1 || node.getAttribute("aria-disabled") === "true") return;
    act(event);
  });
  return node;
}

function table(name, caption, columns, say) {
  const body = make("tbody");
  const head = columns.map((column) => make("th", { scope: "col", "data-column": column }, say(`column.${column}`)));
  const node = make("table", { class: `az-table ${name}` },
    make("caption", { class: "az-unseen" }, caption), make("thead", {}, make("tr", {}, ...head)), body);
  const scroll = make("div", { class: "az-scroll", tabindex: "0", role: "group", "aria-label": caption }, node);
  const frame = make("div", {}, scroll, make("p", { class: "az-left-out", "data-table": name, hidden: true }));
  return { frame, node, body, head };
}

function row(count) {
  const node = make("tr", {}, make("th", { scope: "row" }));
  for (let index = 1; index < count; index++) node.append(make("td"));
  return node;
}

// A shape beside each word, so that no state is told by its colour alone.
const SHAPES = {
  running: "M2 6.5 5 9.5 10 3",
  starting: "M6 1A5 5 0 1 0 6 11A5 5 0 1 0 6 1M6 3.5V6L7.8 7.2",
  stopping: "M3 3H9V9H3Z",
  degraded: "M6 1.5 11 10.5H1ZM6 5V7.5",
  lost: "M2.5 2.5 9.5 9.5M9.5 2.5 2.5 9.5",
  failed: "M2.5 2.5 9.5 9.5M9.5 2.5 2.5 9.5",
  down: "M2 6H10",
  done: "M2 6.5 5 9.5 10 3",
  unknown: "M4 4.5C4 1.5 8 1.5 8 4.5 8 6 6 6 6 7.5M6 9.5V10",
};

function badge() {
  const shape = make("path", { d: "" });
  const word = make("span");
  const node = make("span", { class: "az-state" }, make("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, shape), word);
  node._show = (state, text) => {
    attribute(node, "data-state", state);
    attribute(shape, "d", SHAPES[state] ?? SHAPES.unknown);
    put(word, text);
  };
  return node;
}

// How many seconds a chart spans: one minute at first, then as far back as is known.
function span(points, now, minutes) {
  return Math.min(Math.max(points.length ? now - points[0][0] : 0, 60), 60 * minutes);
}

// A line over time, 0 to 1; points are [seconds, value], the last value holds until now.
function sparkline() {
  const area = make("path", { class: "az-area" }), line = make("path", { class: "az-line" });
  const node = make("svg", { class: "az-spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", role: "img" },
    make("line", { class: "az-base", x1: 0, x2: 100, y1: 23.5, y2: 23.5 }), area, line);
  node._draw = (points, now, span) => {
    const x = (time) => (100 * Math.max(time - now + span, 0)) / span;
    const y = (value) => 23 - 21.5 * Math.min(Math.max(value, 0), 1);
    const kept = points.filter(([time], index) => index === points.length - 1 || points[index + 1][0] > now - span);
    if (!kept.length) return (area.setAttribute("d", ""), line.setAttribute("d", ""));
    let path = "";
    kept.forEach(([time, value], index) => {
      path += index ? `H${x(time).toFixed(1)}V${y(value).toFixed(1)}` : `M${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
    });
    path += "H100";
    line.setAttribute("d", path);
    area.setAttribute("d", `${path}V24H${x(kept[0][0]).toFixed(1)}Z`);
  };
  return node;
}
