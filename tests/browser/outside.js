// What the manager of widgets that comes with ipywidgets expects of a page, and no more: AMD modules, and a notebook
// without a kernel whose metadata hold the state of widgets. Theirs is the code that loads and shows the widgets.

const MIME = "application/vnd.jupyter.widget-view+json";
const STATE = "application/vnd.jupyter.widget-state+json";
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const nothing = () => undefined;
const registry = { register: nothing, get: () => ({ handler: nothing }) };

class OutputArea {
  create_output_subarea() {
    return [document.createElement("div")];
  }
  register_mime_type(_type, append) {
    OutputArea.append = append;
  }
}

class Comm {
  // Of a kernel that is gone: what is sent reaches nobody.
  constructor(_name, id) {
    this.comm_id = id;
  }
  on_msg() {}
  on_close() {}
  send() {}
}

const kernel = {
  is_connected: () => true,
  comm_info: (_name, answer) => answer({ content: { comms: {} } }),
  comm_manager: {
    register_target: nothing,
    register_comm: nothing,
    // With fewer parameters it is taken for that of an older notebook.
    new_comm: (_target, _data, _callbacks, _metadata, _id, _buffers) => Promise.reject(new Error("no kernel")),
  },
};
kernel.comm_manager.kernel = kernel;
window.Jupyter = {
  version: "6.5.0",
  notification_area: { widget: nothing },
  menubar: { actions: registry },
  notebook: {
    kernel,
    keyboard_manager: { actions: registry },
    metadata: { widgets: { [STATE]: read("state") } },
    events: { on: nothing },
    container: { on: nothing },
    // Asked for when the saved state has been restored.
    get_cells: () => (setTimeout(show), []),
  },
};

const given = {
  module: { uri: "/extension.js" },
  "base/js/namespace": window.Jupyter,
  "base/js/events": { on: nothing },
  "notebook/js/outputarea": { OutputArea },
  "services/kernels/comm": { Comm },
};
const files = { "@jupyter-widgets/base": "extension", "@jupyter-widgets/controls": "extension", anywidget: "anywidget" };
const loaded = {};
let defined;
window.define = (...parts) => (defined = parts);
window.requirejs = window.require = (names, use, fail = console.error) =>
  Promise.all(names.map((name) => given[name] ?? load(files[name]))).then((all) => use(...all)).catch(fail);
window.requirejs.config = nothing;

function load(file) {
  return (loaded[file] ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.onerror = reject;
    script.onload = () => {
      const [names, make] = defined;
      window.requirejs(names, (...all) => resolve(make(...all)), reject);
    };
    script.src = `/${file}.js`;
    document.head.append(script);
  }));
}

function show() {
  // The variables of Jupyter that ipywidgets brings along: not every host has them. Those of our widgets have ids.
  const theirs = document.head.querySelectorAll("style:not([id])");
  if (document.documentElement.dataset.bare) theirs.forEach((style) => style.remove());
  for (const model_id of read("views")) {
    const place = document.querySelector("main").appendChild(document.createElement("section"));
    OutputArea.append.call({ create_output_subarea: () => [place], keyboard_manager: { register_events: nothing },
      handle_output: nothing, handle_clear_output: nothing }, { model_id }, {}, { append: nothing });
  }
}

load("extension").then((widgets) => widgets.load_ipython_extension());
