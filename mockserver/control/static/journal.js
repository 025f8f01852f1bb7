// The journal: recorded requests and responses, newest first, updated live.

import { get, path, query, remove } from "./api.js";
import { json } from "./contents.js";
import { attempt, button, copy, copyable, h, hidden, instant, middle, plural, shorten, size, terms } from "./dom.js";
import { OPERATIONS, WARNINGS } from "./facts.js";
import { list, PAGE } from "./list.js";
import { curl, examples, python, seed } from "./recipes.js";

const VIEWS = { cntr: "containers", file: "files", skill: "skills", upload: "uploads" }; // by the prefix of an id
const SLOW = 150; // milliseconds; if counting all matches takes longer, they are not counted again

export function journal(page) {
  const at = (...parts) => path("worlds", page.world, "journal", ...parts);
  let slow = "";
  let counted = 0;

  const all = list({
    label: "Journal",
    one: "request",
    search: "Search requests",
    searched: "Search path, headers, bodies, ids",
    filters: [
      { name: "failed", label: "Errors only" },
      { name: "operation", label: "Operation", options: [["", "Any operation"], ...OPERATIONS.map((each) => [each, each])] },
      { name: "status", label: "Status", options: [["", "Any status"], ...["2xx", "4xx", "5xx"].map((each) => [each, each])] },
      { name: "warning", label: "Warning", options: [["", "Any warning"], ["*", "With a warning"], ...WARNINGS.map((each) => [each, each])] },
    ],
    tools: [button("Clear", () => attempt(() => remove(at()), ({ count }) => `${plural(count, "request")} deleted`), { title: "Delete all recorded requests" })],
    columns: [
      { name: "Status", width: "4.7rem", cell: code },
      { name: "Operation", width: "minmax(7rem, 1.2fr)", link: true, class: "name", title: operation, cell: (row) => middle(operation(row), 7) },
      { name: "Request", width: "minmax(6rem, 1.5fr)", keep: "wide", class: "request", title: target, cell: (row) => [h("b", {}, row.method), " ", h("span", {}, middle(shorten(target(row).replace(/^\/v1/, ""), 0), 22))] },
      { name: "Details", width: "minmax(0, 1.1fr)", class: "details", title: (row) => row.error ?? row.container, cell: details },
      { name: "Took", width: "4.3rem", end: true, keep: "wide", class: "quiet", cell: (row) => took(row.duration_ms) },
      { name: "At", width: "4.2rem", end: true, class: "quiet at", title: (row) => `${instant(row.at)} UTC by the world’s clock`, cell: (row) => h("time", {}, instant(row.at).slice(11)) },
    ],
    async fetch(values, before) {
      const filters = query(values);
      const { search: text, ...rest } = values;
      const started = performance.now();
      const found = await get(at() + query({ text, ...rest, before, last: PAGE, brief: true, counted: String(slow !== filters) }));
      slow = filters && (slow === filters || performance.now() - started > SLOW) ? filters : "";
      counted = found.total ?? counted;
      return { rows: found.data.reverse(), total: counted, atLeast: found.total === null, more: found.has_more, next: found.data.at(-1)?.number };
    },
    key: (row) => String(row.number),
    name: operation,
    href: (row) => page.link("journal", row.number),
    empty: (filtered) => (filtered ? "No request matches." : page.welcome("No requests yet", examples.containers)),
    failed: page.failed,
    present: () => page.info !== null,
  });
  const pane = h("aside", { class: "pane", "aria-label": "Request" });
  const element = h("div", { class: "split" }, all.element, pane);
  let open = null;

  async function show(number) {
    element.classList.toggle("open", Boolean(number));
    all.select(number ?? null);
    if (open === number) return;
    open = number;
    if (!number) return pane.replaceChildren();
    try {
      const exchange = await get(at(number));
      if (open === number) pane.replaceChildren(...exchangeDetails(exchange));
    } catch (error) {
      pane.replaceChildren(h("p", { class: "problem" }, error.message));
    }
  }

  function exchangeDetails(exchange) {
    const copies = [["curl", curl], ["Python", python], ["seed", seed]];
    const { fault, answer, warnings, objects, container } = exchange;
    return [
      h(
        "div",
        { class: "title" },
        code(exchange),
        h("h2", {}, operation(exchange).split(/(?=[A-Z])/).flatMap((word) => [h("wbr"), word])),
        button("✕", () => page.go("journal"), { class: "plain", "aria-label": "Close the request (Escape)", title: "Close (Escape)" }),
      ),
      h("p", { class: "line mono" }, h("b", {}, exchange.method), " ", exchange.path, exchange.query && `?${exchange.query}`),
      exchange.error && h("p", { class: "problem line" }, exchange.error),
      terms([
        container !== null && ["Container", container],
        ["At", `${instant(exchange.at)} UTC by the world’s clock`],
        ["Took", took(exchange.duration_ms)],
        ["Request id", copyable(exchange.request_id, "Request id")],
        fault && ["Fault", fault === "header" ? "from the request’s header X-Mock-Fault" : h("a", { href: page.link("faults") }, fault)],
        answer && ["Answer", h("a", { href: page.link("answers") }, answer)],
        warnings.length && ["Warnings", warnings.flatMap((each) => [h("span", { class: "pill warning" }, each), " "])],
        objects.length && ["Objects", objects.map((each) => h("div", { class: "linked" }, `${each.change} `, objectLink(exchange, each)))],
      ]),
      h("div", { class: "copies", role: "group", "aria-label": "Copy as" }, h("span", { "aria-hidden": "true" }, "Copy as"), copies.map(([name, recipe]) => button(name, () => copy(recipe(exchange, page.server), name), { "aria-label": `Copy as ${name}` }))),
      messageSection("Request", exchange.request),
      messageSection(exchange.aborted ? "Response (aborted)" : "Response", exchange.response),
    ].filter(Boolean);
  }

  function objectLink(exchange, { change, id }) {
    const named = /\/containers\/([^/]+)\/files/.exec(exchange.path)?.[1];
    const container = named ? decodeURIComponent(named) : onlyContainer(exchange.response.body);
    const view = VIEWS[/^[a-z]+(?=[-_])/.exec(id)?.[0]];
    const fragment = view ? [view, id] : container && id.startsWith("cfile_") ? ["containers", container, id] : null;
    return change === "deleted" || !fragment ? id : h("a", { href: page.link(...fragment) }, id);
  }

  return {
    element,
    list: all,
    show,
    async changed(kinds) {
      if (kinds.has("journal")) await all.refresh();
    },
    tick() {},
  };
}

// The container of a run's files, if its response names only one. The events of a stream are text with JSON in it.
function onlyContainer(body) {
  const text = typeof body === "string" ? body : JSON.stringify(body ?? "");
  const found = new Set([...text.matchAll(/"container_id": *"([\w.:={}-]+)"/g)].map(([, id]) => id));
  return found.size === 1 ? [...found][0] : undefined;
}

const operation = (row) => row.operation ?? "No route";
const target = ({ path, query }) => path.replace(/^\/w\/[^/]+/, "") + (query ? `?${query}` : "");
const took = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

// Badges, the name of the container, and the error message.
function details({ fault, answer, warnings, container, error }) {
  return [
    fault && h("span", { class: "pill fault", title: `Fault ${fault}` }, hidden("fault "), fault),
    answer && h("span", { class: "pill answer", title: `Answer ${answer}` }, hidden("answer "), answer),
    ...warnings.map((each) => h("span", { class: "pill warning", title: `x-mock-warning: ${each}` }, hidden("warning "), each)),
    container !== null && h("span", { class: "of" }, middle(container)),
    error && h("span", { class: "message" }, error),
  ].filter(Boolean);
}

function code({ status, aborted }) {
  if (status === null) return h("span", { class: "code none", title: "The connection ended without a response" }, aborted ? "aborted" : "none");
  if (aborted) return h("span", { class: "code none", title: `Status ${status}; the response was not sent to its end` }, "aborted");
  return h("span", { class: `code s${Math.floor(status / 100)}` }, status);
}

function messageSection(title, message) {
  const names = Object.keys(message.headers);
  let body = h("p", { class: "quiet" }, "No body.");
  if (message.body !== undefined && message.body !== null) body = typeof message.body === "string" ? h("pre", { tabindex: "0", "aria-label": `${title}: body` }, message.body) : json(message.body);
  else if (message.body_bytes) body = h("p", { class: "quiet" }, `${size(message.body_bytes)}, not recorded.${message.body_sha256 ? ` SHA-256 ${message.body_sha256}` : ""}`);
  return h(
    "section",
    { class: "half" },
    h("h3", {}, title),
    body,
    h("details", {}, h("summary", {}, plural(names.length, "header")), terms(names.map((name) => [name, message.headers[name]]), { class: "headers" })),
  );
}
