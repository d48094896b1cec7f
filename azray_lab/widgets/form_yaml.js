// The YAML of the form: a title, a copy button, the text, and a line that is read out when it changes. As the one module
// of the form that runs in the page, it also tells when nothing answers the form.

const WAIT_MS = 1500; // a kernel that is free answers a press by then

const CONTROLS = ["button", "input", "select", "textarea"].join(",");

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

// Calls use(form) with the form around the view, which is put into the page some frames after it is made.
function whenPlaced(el, use, frames = 600) {
  const form = el.closest(".azray-form");
  if (form) use(form);
  else if (frames > 0) window.requestAnimationFrame(() => whenPlaced(el, use, frames - 1));
}

function render({ model, el }) {
  const words = model.get("words");
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
  const waits = element(el, "p", "azray-waits");
  waits.setAttribute("role", "status");
  let ended = false, copied = 0, waiting = 0;

  const show = () => {
    if (ended) return;
    if (text.textContent !== model.get("text")) text.textContent = model.get("text");
    if (status.textContent !== model.get("status")) status.textContent = model.get("status");
    status.classList.toggle("azray-wrong", model.get("wrong"));
  };

  const heard = () => {
    window.clearTimeout(waiting);
    waiting = 0;
    waits.textContent = "";
  };

  // Plan or Up was pressed: where no kernel says that it has heard, it is at work on a cell.
  const pressed = (event) => {
    if (ended || waiting || !event.target.closest("button")?.closest(".azray-actions")) return;
    waiting = window.setTimeout(() => (waits.textContent = words.waits), WAIT_MS);
  };

  // The kernel is gone, or was restarted, and with it what answers here: nothing can be pressed or typed any more, but
  // the YAML can be copied. ipywidgets marks a view so when its widget has no kernel.
  const lost = () => {
    if (ended || !el.closest(".jupyter-widgets-disconnected")) return;
    ended = true;
    heard();
    status.textContent = words.lost;
    status.classList.add("azray-wrong");
    const form = el.closest(".azray-form");
    if (!form) return;
    form.dataset.live = "false";
    // What is disabled loses the keyboard's focus, which must not fall out of the form.
    const focused = form.contains(document.activeElement) && !el.contains(document.activeElement);
    for (const control of form.querySelectorAll(CONTROLS)) {
      if (control !== button && !control.closest(".az-card")) control.disabled = true;
    }
    if (focused) text.focus({ preventScroll: true });
  };

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
    window.clearTimeout(copied);
    copied = window.setTimeout(() => (button.textContent = words.copy), 3000);
  };

  const watch = new MutationObserver(lost);
  let placed = null;
  whenPlaced(el, (form) => {
    placed = form;
    // Lab takes Enter, arrows and letters for its own commands unless an element around the focus says otherwise, and
    // nothing but a module like this one can say it.
    form.dataset.lmSuppressShortcuts = "true";
    form.addEventListener("click", pressed);
    watch.observe(form, { attributes: true, attributeFilter: ["class"], subtree: true });
    lost(); // a saved notebook, which has no kernel that knows this form
  });

  button.addEventListener("click", copy);
  model.on("change:text change:status change:wrong", show);
  model.on("change:heard", heard);
  model.on("comm_live_update", lost);
  show();
  return () => {
    window.clearTimeout(copied);
    window.clearTimeout(waiting);
    watch.disconnect();
    placed?.removeEventListener("click", pressed);
    model.off("change:text change:status change:wrong", show);
    model.off("change:heard", heard);
    model.off("comm_live_update", lost);
  };
}

export default { render };
