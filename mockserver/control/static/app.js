// The page: which world and view it shows (both stand in the fragment of its address), its clock, its keys.

import { get, path, post, query } from "./api.js";
import { containers } from "./containers.js";
import { ask, attempt, button, copy, count, h, hidden, instant, say } from "./dom.js";
import { faults } from "./faults.js";
import { files } from "./files.js";
import { journal } from "./journal.js";
import { Clock, follow, reader } from "./live.js";
import { NAME, switcher, world } from "./world.js";

const VIEWS = {
  containers: ["Containers", containers],
  files: ["Files", files],
  journal: ["Journal", journal],
  faults: ["Faults", faults],
  world: ["World", world],
};
const KEYS = [
  ["1 to 5", "the views"],
  ["/", "search"],
  ["j, ↓", "next"],
  ["k, ↑", "previous"],
  ["Enter", "open"],
  ["Escape", "close"],
  ["w", "switch worlds"],
  ["f", "freeze the clock, or let it run"],
  ["n", "new container"],
  ["?", "these keys"],
];

const page = {
  world: "default",
  known: false, // whether the server was asked what it says of the world
  info: null, // what it says; null where there is no such world yet
  clock: new Clock(),
  origin: new URL("..", location).href.replace(/\/$/, ""),
  link: (view, ...parts) => `#/${[page.world, view, ...parts].map((part) => encodeURIComponent(part)).join("/")}`,
  go: (view, ...parts) => (location.hash = page.link(view, ...parts)),
  enter: (name) => (location.hash = `#/${encodeURIComponent(name)}/${page.view}`),
  welcome,
  failed: (error) => h("p", { class: "problem" }, error.message),
};
let tried = false; // whether the stream of changes was opened, which brings the first news
let shown = null; // the view, with the world that it was made for
const main = document.getElementById("view");
const nav = document.querySelector("nav");
const live = document.getElementById("live");

// What to do where there is nothing

function welcome(title, text = "Point your code at the server, and what it does shows up here:") {
  const line = `export OPENAI_BASE_URL=${page.origin}${page.world === "default" ? "" : `/w/${page.world}`}/v1 OPENAI_API_KEY=sk-test`;
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, title),
    h("p", {}, text),
    h("p", { class: "command" }, h("code", {}, line), button("Copy", () => copy(line, "Line"), { "aria-label": "Copy the line" })),
    page.info ? null : h("p", {}, button("Make the world now", () => attempt(() => post(path("worlds", page.world)), "Made, as the seeds describe it"))),
  );
}

// No view of a world that can't be: nothing that it would offer could be done.
const impossible = () => ({
  element: h(
    "div",
    { class: "empty" },
    h("h2", {}, "No world can be called so"),
    h("p", {}, `A name is ${NAME}, and begins with a letter or a digit.`),
    h("p", {}, button("Choose a world", () => switching.open(), { class: "primary" })),
  ),
  show() {},
  async changed() {},
  tick() {},
});

// Where we are

function route() {
  const [name, view, ...object] = location.hash.slice(2).split("/").map(decoded);
  page.world = name || "default";
  page.view = VIEWS[view] ? view : "containers";
  document.querySelector("#world b").textContent = page.world;
  document.title = `${VIEWS[page.view][0]} · ${page.world} · mockserver`;
  for (const link of nav.children) {
    const is = link.dataset.view === page.view;
    link.href = page.link(link.dataset.view);
    if (is) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const fresh = shown?.world !== page.world || shown?.view !== page.view;
  if (shown?.world !== page.world) [page.known, page.info] = [false, null];
  if (fresh) {
    const possible = /^[a-z\d][\w.-]{0,63}$/i.test(page.world);
    document.getElementById("clock").hidden = !possible;
    shown = { world: page.world, view: page.view, ...(possible ? VIEWS[page.view][1] : impossible)(page) };
    main.replaceChildren(shown.element);
    if (tried) heard(new Set(["worlds", "snapshots", "containers", "files", "faults", "journal"]), false);
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

// What it holds

const refresh = reader(async () => {
  const world = page.world;
  const before = page.clock.state;
  let info;
  try {
    info = (await get(path("worlds") + query({ name: world }))).data[0] ?? null;
  } catch (error) {
    if (error.code !== "wrong_token") say(error.message, true);
    return;
  }
  if (world !== page.world) return;
  page.info = info;
  page.known = true;
  // Where the clock was turned meanwhile, that is newer than this answer.
  if (page.clock.state === before) page.clock.set(info?.clock ?? { mode: "real", now: Date.now() / 1000, rate: 1 });
  const counts = { containers: info?.counts?.containers, files: info?.counts?.files, faults: info?.faults, journal: info?.exchanges };
  for (const link of nav.querySelectorAll("[data-view]")) {
    const number = counts[link.dataset.view];
    link.querySelector("b").textContent = number ? count(number) : "";
  }
  showClock();
});

async function heard(kinds, others) {
  if (kinds.has("worlds") || others) switching.changed();
  if (!kinds.size) return;
  await refresh();
  if (page.known) await shown.changed(kinds);
}

// The clock

const time = h("time", { class: "now" });
const mode = h("span", { class: "pill mode" });
const hold = button("Freeze", () => turn(page.clock.state.mode === "frozen" ? "resume" : "freeze"), { title: "Freeze or resume (f)", class: "hold" });
document.getElementById("clock").append(
  h("span", { class: "face" }, hidden("World’s time "), time, mode),
  hold,
  ...["1 min", "5 min", "20 min"].map((by) => button(`+${by}`, () => turn("advance", { by: by.replace(" min", "m") }), { title: `Move the clock on by ${by}` })),
  button("More …", more, { title: "Set the clock otherwise" }),
);

async function turn(how, body = {}) {
  const change = await attempt(() => post(path("worlds", page.world, "clock", how), how === "resume" || how === "reset" ? undefined : body));
  if (!change) return;
  page.clock.set(change);
  showClock();
  const did = [
    ["expired", change.expired_containers, change.expired_files],
    ["came back", change.revived_containers, change.revived_files],
  ].flatMap(([what, containers, files]) => (containers.length + files.length ? `${count(containers.length + files.length)} ${what}` : []));
  say([`The clock is ${change.mode}`, ...did].join(", "));
}

function showClock() {
  const { mode: is, rate } = page.clock.state;
  mode.textContent = is === "scaled" ? `× ${rate}` : is;
  mode.className = `pill mode ${is}`;
  hold.textContent = is === "frozen" ? "Resume" : "Freeze";
  tick();
}

function tick() {
  if (!page.known) return;
  const text = `${instant(page.clock.now())} UTC`;
  if (time.textContent !== text) time.textContent = text;
  shown.tick();
}

function more() {
  ask({
    title: "Clock",
    text: "Only an instant, a negative offset or the machine’s time goes back, which can revive what had expired.",
    fields: [
      { name: "how", label: "What", options: [["advance", "Move on by a duration"], ["scale", "Run at a rate: 60 is a minute a second"], ["offset", "Run so far from the machine’s time"], ["freeze", "Freeze at an instant"], ["resume", "Resume at the machine’s rate"], ["reset", "Show the machine’s time again"]] },
      { name: "value", label: "Duration (1h30m), rate (60) or instant (2026-01-31T12:00:00Z)", value: "1h" },
    ],
    action: "Set",
    async submit({ how, value }) {
      const body = { advance: { by: value }, offset: { by: value }, scale: { rate: Number(value) }, freeze: { at: value } }[how];
      page.clock.set(await post(path("worlds", page.world, "clock", how), body));
      showClock();
    },
  });
}

// A second of the world's may be much less of ours.
setInterval(() => page.clock.state.rate > 1 && !document.hidden && tick(), 200);
setInterval(() => page.clock.state.rate <= 1 && !document.hidden && tick(), 1000);

// Keys

const switching = switcher(page);
document.getElementById("world").addEventListener("click", () => switching.open());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else {
      const parts = location.hash.slice(2).split("/").filter(Boolean);
      if (parts.length > 2) location.hash = `#/${parts.slice(0, -1).join("/")}`;
    }
    return;
  }
  if (typing) return;
  const act = {
    "/": () => shown.list?.focus(),
    j: () => shown.list?.move(1),
    ArrowDown: () => shown.list?.move(1),
    k: () => shown.list?.move(-1),
    ArrowUp: () => shown.list?.move(-1),
    w: () => switching.open(),
    f: () => hold.click(),
    n: () => page.view === "containers" && shown.element.querySelector(".primary").click(),
    "?": keys,
  }[event.key] ?? (/^[1-5]$/.test(event.key) ? () => page.go(Object.keys(VIEWS)[event.key - 1]) : null);
  if (!act || (event.key.startsWith("Arrow") && event.target.closest("pre, .table"))) return;
  event.preventDefault();
  act();
});

function keys() {
  const dialog = h("dialog", { class: "keys", "aria-label": "Keys", close: () => dialog.remove() }, h("h2", {}, "Keys"), h("dl", {}, KEYS.flatMap(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])), h("div", { class: "actions" }, button("Close", () => dialog.close())));
  document.body.append(dialog);
  dialog.showModal();
}

// A server that wants its token gets it once, for a cookie that no script can read.

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

// Files that are dropped beside the zones for them lead nowhere.
for (const event of ["dragover", "drop"]) document.addEventListener(event, (dropped) => dropped.preventDefault());

window.addEventListener("hashchange", route);
route();
const stream = follow(
  () => page.world,
  heard,
  (connected) => {
    tried = true;
    live.className = connected ? "on" : "off";
    live.lastElementChild.textContent = connected ? "live" : "not connected";
  },
);
