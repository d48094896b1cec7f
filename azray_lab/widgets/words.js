// What people read: texts.py comes with each document, and every view says its words by `say(key, values)`. No text for
// people stands in any of these files; a test holds them to it.

let words = {};

// The text of a key, with its `{name}` fields filled in. One that counts has two forms, as texts.py tells.
function say(key, values = {}) {
  const text = words[key] ?? words[key + (values.count === 1 ? ".one" : ".many")] ?? key;
  return text.replace(/\{(\w+)\}/g, (field, name) => (name in values ? String(values[name]) : field));
}

// Values for people; the same words as azray_lab.views.seconds.

function duration(value) {
  if (value < 10) return say("time.s", { s: Math.max(value, 0).toFixed(1) });
  return whole(value);
}

function whole(value) {
  const all = Math.max(Math.round(value), 0);
  if (all < 100) return say("time.s", { s: all });
  if (all >= 86400) return two("d", Math.floor(all / 86400), "h", Math.floor((all % 86400) / 3600));
  if (all >= 3600) return two("h", Math.floor(all / 3600), "min", Math.floor((all % 3600) / 60));
  return two("min", Math.floor(all / 60), "s", all % 60);
}

// A number of one unit and, where it is not zero, one of the next smaller.
function two(large, first, small, second) {
  return say(second ? `time.${large}.${small}` : `time.${large}`, { [large]: first, [small]: second });
}

function percent(value) {
  return typeof value === "number" ? say("share", { percent: Math.round(100 * value) }) : say("untold");
}

function size(bytes, digits = 1) {
  return say("size", { size: +(bytes / 2 ** 30).toFixed(digits) });
}

function amount(kind, pair, say) {
  if (!pair) return say("meter.unknown");
  const bytes = kind === "memory" || kind === "object_store";
  const digits = (value) => (bytes && value >= 2 ** 30 ? 1 : 2);
  const [used, total] = pair.map((value) => +(bytes ? value / 2 ** 30 : value).toFixed(digits(value)));
  return say("meter.value", { used, total: bytes ? size(pair[1], digits(pair[1])) : total });
}
