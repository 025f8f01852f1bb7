// The page: the current world and view (both in the URL fragment), the navigation, and the keyboard shortcuts.

import { get, path, post, query, SERVER } from "./api.js";
import { answers } from "./answers.js";
import { clock } from "./clock.js";
import { containers } from "./containers.js";
import { ask, attempt, button, count, h, hidden, notify, open, plural, svg, tabs } from "./dom.js";
import { faults } from "./faults.js";
import { files } from "./files.js";
import { journal } from "./journal.js";
import { Clock, EVERYTHING, follow, reader } from "./live.js";
import { skills } from "./skills.js";
import { switcher } from "./switcher.js";
import { uploads } from "./uploads.js";
import { verdict } from "./verdict.js";
import { NAME, world } from "./world.js";

const VIEWS = {
  containers: ["Containers", containers],
  files: ["Files", files],
  uploads: ["Uploads", uploads],
  skills: ["Skills", skills],
  journal: ["Journal", journal],
  faults: ["Faults", faults],
  answers: ["Answers", answers],
  verdict: ["Verdict", verdict],
  world: ["World", world],
};
const KEYS = [
  [`1 to ${Object.keys(VIEWS).length}`, "open a view"],
  ["/", "search"],
  ["j, ↓", "next row"],
  ["k, ↑", "previous row"],
  ["Enter", "open a row"],
  ["Escape", "close it"],
  ["w", "switch worlds"],
  ["f", "freeze or resume the clock"],
  ["n", "new container"],
  ["?", "show the keys"],
];
const MANY_EXCHANGES = 10_000;
const THEMES = ["system", "light", "dark"];

const page = {
  world: "default",
  known: false, // whether the state of the world was loaded
  info: null, // the state of the world; null if it does not exist yet
  problem: null, // why the state of the world could not be read
  verdict: null, // { ok, findings } or { problem }; null until it was read
  clock: new Clock(),
  server: SERVER,
  link: (view, ...parts) => `#/${[page.world, view, ...parts].map((part) => encodeURIComponent(part)).join("/")}`,
  go: (view, ...parts) => (location.hash = page.link(view, ...parts)),
  enter: (name) => (location.hash = `#/${encodeURIComponent(name)}/${page.view}`),
  check: () => refresh().then(check),
  welcome,
  failed: (error) => h("p", { class: "problem" }, error.message),
};
let started = false; // whether the event stream was opened or failed once, after which everything is loaded
let shown = null; // the current view, and the world that it belongs to
const main = document.getElementById("view");
const nav = document.querySelector("nav");
const connection = document.getElementById("connection");

// Content of an empty view. `example(url)` returns code examples, by language.

function welcome(title, example) {
  const url = `${page.server}${page.world === "default" ? "" : `/w/${page.world}`}/v1`;
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, title),
    h("p", {}, "Send requests to the server. What they do appears here."),
    tabs("Language", example(url)),
    page.info ? null : h("p", {}, button("Create the world", () => attempt(() => post(path("worlds", page.world)), "Created from the seeds"))),
  );
}

// The view for names in the URL that a world cannot have.
const invalidName = () => ({
  element: h(
    "div",
    { class: "empty" },
    h("h2", {}, "No world can have this name"),
    h("p", {}, `A name is ${NAME}, and begins with a letter or a digit.`),
    h("p", {}, button("Choose a world", () => worlds.open(), { class: "primary" })),
  ),
  show() {},
  async changed() {},
  tick() {},
});

// Routing

function route() {
  const [name, view, ...object] = location.hash.slice(2).split("/").map(decoded);
  page.world = name || "default";
  page.view = VIEWS[view] ? view : "containers";
  document.querySelector("#world b").textContent = page.world;
  document.title = `${VIEWS[page.view][0]} · ${page.world} · mockserver`;
  for (const link of nav.querySelectorAll("[data-view]")) {
    link.href = page.link(link.dataset.view);
    if (link.dataset.view === page.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown?.world !== page.world) [page.known, page.info, page.problem, page.verdict] = [false, null, null, null];
  if (shown?.world !== page.world || shown?.view !== page.view) {
    const valid = /^[a-z\d][\w.-]{0,63}$/i.test(page.world);
    clocks.element.hidden = !valid;
    profile.hidden = true;
    shown = { world: page.world, view: page.view, ...(valid ? VIEWS[page.view][1] : invalidName)(page) };
    main.replaceChildren(shown.element);
    if (started) changed(EVERYTHING, false);
  }
  shown.show(...object.map((part) => part || undefined));
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

nav.append(
  ...Object.entries(VIEWS).map(([view, [title]]) => h("a", { "data-view": view, href: "#" }, h("span", {}, title), h("b", { class: "count" }))),
  h("a", { href: "docs", class: "aside" }, "Control plane"),
);

// State of the world

const refresh = reader(async () => {
  const world = page.world;
  const before = page.clock.state;
  let info;
  try {
    info = (await get(path("worlds") + query({ name: world }))).data[0] ?? null;
  } catch (error) {
    if (world === page.world) page.problem = error;
    if (error.code !== "wrong_token") notify(error.message, true);
    return;
  }
  if (world !== page.world) return;
  page.problem = null;
  page.info = info;
  page.known = true;
  // If the clock was changed in the meantime, its state is newer than this response.
  if (page.clock.state === before) page.clock.set(info?.clock ?? { mode: "real", now: Date.now() / 1000, rate: 1 });
  const counts = { ...info?.counts, faults: info?.faults, journal: info?.exchanges };
  for (const link of nav.querySelectorAll("[data-view]:not([data-view=verdict])")) {
    const number = counts[link.dataset.view];
    link.querySelector("b").textContent = number ? count(number) : "";
  }
  profile.href = page.link("world");
  profile.hidden = !info?.profile_name;
  profile.replaceChildren("Profile: ", h("b", {}, info?.profile_name?.replace(/,.*/, " +")));
  clocks.draw();
});

const badge = nav.querySelector("[data-view=verdict] b");

// The verdict reads the whole journal, so it is not requested often; if the journal is large, only in its view.
const check = reader(async () => {
  const { world, known, info, problem } = page;
  // The clients of a world that does not exist did nothing; of one that could not be read, nothing is known.
  let result = problem ? { problem } : known ? { ok: true } : null;
  if (info && !problem) result = await get(path("worlds", world, "verdict")).catch((problem) => ({ problem }));
  if (world !== page.world) return;
  page.verdict = result;
  const findings = result?.findings?.length;
  badge.className = `count ${findings ? "bad" : "good"}`;
  badge.replaceChildren(...(findings ? [count(findings), hidden(` ${plural(findings, "finding")}`.replace(/\d+/, ""))] : findings === 0 ? ["ok"] : []));
  shown.checked?.();
}, 10, 30_000);

async function changed(kinds, others) {
  if (kinds.has("worlds") || others) worlds.changed();
  if (!kinds.size) return;
  await refresh();
  const due = kinds.has("journal") || kinds.has("containers");
  if (due && (page.view === "verdict" || (page.info?.exchanges ?? 0) <= MANY_EXCHANGES)) check();
  if (page.known) await shown.changed(kinds);
}

const clocks = clock(page);

function tick() {
  if (!page.known) return;
  clocks.tick();
  shown.tick();
}

// A scaled clock runs faster than real time, so it is updated more often.
setInterval(() => page.clock.state.rate > 1 && !document.hidden && tick(), 200);
setInterval(() => page.clock.state.rate <= 1 && !document.hidden && tick(), 1000);

// Header

const profile = document.getElementById("profile");
const worlds = switcher(page);
document.getElementById("world").addEventListener("click", () => worlds.open());

const theme = document.getElementById("theme");
theme.append(svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, svg("circle", { cx: 8, cy: 8, r: 6.2, fill: "none", stroke: "currentColor", "stroke-width": 1.5 }), svg("path", { d: "M8 1.8a6.2 6.2 0 0 1 0 12.4z", fill: "currentColor" })));
theme.addEventListener("click", () => showTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]));

function showTheme(name = "system") {
  document.documentElement.dataset.theme = name;
  theme.title = `Theme: ${name}`;
  theme.setAttribute("aria-label", theme.title);
  try {
    localStorage.setItem("theme", name);
  } catch {
    // Without storage, the theme lasts until the page is reloaded.
  }
}
showTheme(document.documentElement.dataset.theme);

// Keys

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  // The focus stays in a dialog for a moment after it closes.
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select") && !event.target.closest("dialog");
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else {
      const parts = location.hash.slice(2).split("/").filter(Boolean);
      if (parts.length > 2) location.hash = `#/${parts.slice(0, -1).join("/")}`;
    }
    return;
  }
  if (typing) return;
  const action = {
    "/": () => shown.list?.focus(),
    j: () => shown.list?.move(1),
    ArrowDown: () => shown.list?.move(1),
    k: () => shown.list?.move(-1),
    ArrowUp: () => shown.list?.move(-1),
    w: () => worlds.open(),
    f: () => clocks.toggle(),
    n: () => page.view === "containers" && shown.create?.(),
    "?": keys,
  }[event.key] ?? (Object.keys(VIEWS)[event.key - 1] ? () => page.go(Object.keys(VIEWS)[event.key - 1]) : null);
  if (!action || (event.key.startsWith("Arrow") && event.target.closest("pre, .table, [role=tab]"))) return;
  event.preventDefault();
  action();
});

function keys() {
  const dialog = open({ class: "keys", "aria-label": "Keys" }, h("h2", {}, "Keys"), h("dl", {}, KEYS.flatMap(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])), h("div", { class: "actions" }, button("Close", () => dialog.close())));
}

// A server with a control token sets an HttpOnly cookie in exchange for the token.

let asking = false;
document.addEventListener("locked", () => {
  if (asking) return;
  asking = true;
  const dialog = ask({
    title: "Token",
    text: "This server was started with --control-token.",
    fields: [{ name: "token", label: "Token", type: "password", required: true }],
    action: "Enter",
    async submit({ token }) {
      await post(path("session"), { token });
      stream.reopen();
      route();
    },
  });
  dialog.addEventListener("close", () => (asking = false));
});

// The URL fragment selects the view, so the skip link must not change it.
document.querySelector(".skip").addEventListener("click", (event) => (event.preventDefault(), main.focus()));

// Without this, a file dropped outside the drop zones would replace the page.
for (const event of ["dragover", "drop"]) document.addEventListener(event, (dropped) => dropped.preventDefault());

window.addEventListener("hashchange", route);
route();
const stream = follow(
  () => page.world,
  changed,
  (isOpen) => {
    started = true;
    connection.className = isOpen ? "on" : "off";
    connection.title = isOpen ? "The page shows changes as they happen" : "The server does not respond";
    connection.lastElementChild.textContent = isOpen ? "Connected" : "Not connected";
  },
);
