// The YAML of the form: a title, a copy button, the text, and a line that is read out when it changes.

function element(parent, name, classes, text = "") {
  const made = document.createElement(name);
  made.className = classes;
  made.textContent = text;
  parent.append(made);
  return made;
}

function select(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

// Lab takes Enter, arrows and letters for its own commands unless an element around the focus says otherwise, and
// nothing but a module like this one can say it. The view is put into the page some frames after it is made.
function keepKeys(el, frames = 600) {
  const form = el.closest(".azray-form");
  if (form) form.dataset.lmSuppressShortcuts = "true";
  else if (frames > 0) window.requestAnimationFrame(() => keepKeys(el, frames - 1));
}

function render({ model, el }) {
  const words = model.get("words");
  keepKeys(el);
  el.classList.add("azray-yaml");
  const bar = element(el, "div", "azray-bar");
  element(bar, "h4", "", words.title);
  const button = element(bar, "button", "azray-button", words.copy);
  button.type = "button";
  const text = element(el, "pre", "azray-text");
  // What scrolls can be reached by keyboard.
  text.tabIndex = 0;
  text.setAttribute("role", "region");
  text.setAttribute("aria-label", words.title);
  const status = element(el, "p", "azray-status");
  status.setAttribute("role", "status");

  const show = () => {
    if (text.textContent !== model.get("text")) text.textContent = model.get("text");
    if (status.textContent !== model.get("status")) status.textContent = model.get("status");
    status.classList.toggle("azray-wrong", model.get("wrong"));
  };

  // The kernel is gone, or was restarted, and with it what answers here.
  const lost = () => {
    if (!el.closest(".jupyter-widgets-disconnected")) return;
    status.textContent = words.lost;
    status.classList.add("azray-wrong");
  };

  let timer = 0;
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(model.get("text"));
      button.textContent = words.copied;
    } catch {
      // No clipboard without https or the user's leave: select it, so that one key copies.
      text.focus();
      select(text);
      button.textContent = words.selected;
    }
    window.clearTimeout(timer);
    timer = window.setTimeout(() => (button.textContent = words.copy), 3000);
  };

  button.addEventListener("click", copy);
  model.on("change:text change:status change:wrong", show);
  model.on("comm_live_update", lost);
  show();
  return () => {
    window.clearTimeout(timer);
    model.off("change:text change:status change:wrong", show);
    model.off("comm_live_update", lost);
  };
}

export default { render };
