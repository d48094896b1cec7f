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

  const show = () => {
    if (text.textContent !== model.get("text")) text.textContent = model.get("text");
    if (status.textContent !== model.get("status")) status.textContent = model.get("status");
    status.classList.toggle("azray-wrong", model.get("wrong"));
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
  show();
  return () => {
    window.clearTimeout(timer);
    model.off("change:text change:status change:wrong", show);
  };
}

export default { render };
