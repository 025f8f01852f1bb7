// The journal: what was asked and answered, newest first, as it happens.

import { get, path, query, remove } from "./api.js";
import { json } from "./contents.js";
import { attempt, button, copy, copyable, h, hidden, instant, size } from "./dom.js";
import { list, PAGE } from "./list.js";
import { curl, python, seed } from "./recipes.js";

export const OPERATIONS = [
  "CreateContainer", "ListContainers", "RetrieveContainer", "DeleteContainer",
  "CreateContainerFile", "ListContainerFiles", "RetrieveContainerFile", "RetrieveContainerFileContent", "DeleteContainerFile",
  "CreateFile", "ListFiles", "RetrieveFile", "DownloadFile", "DeleteFile",
];
const SLOW = 150; // milliseconds, after which a count of all that match isn't taken again

export function journal(page) {
  const at = (...parts) => path("worlds", page.world, "journal", ...parts);
  let slow = "";
  let counted = 0;

  const all = list({
    label: "Journal",
    search: "Search path, headers, bodies, ids",
    selects: [
      { name: "operation", label: "Operation", options: [["", "Any operation"], ...OPERATIONS.map((each) => [each, each])] },
      { name: "status", label: "Status", options: [["", "Any status"], ["2xx", "2xx"], ["4xx", "4xx"], ["5xx", "5xx"], ["400-599", "Failures"]] },
    ],
    actions: [button("Clear", () => attempt(() => remove(at()), ({ count }) => `${count} exchanges forgotten`))],
    columns: { class: "c-journal", names: ["Status", "Operation", "Request", "Time", "At"] },
    async fetch({ search, operation, status }, before) {
      const filters = query({ text: search, operation, status });
      const started = performance.now();
      const found = await get(at() + query({ text: search, operation, status, before, last: PAGE, brief: true, counted: slow !== filters }));
      slow = filters && (slow === filters || performance.now() - started > SLOW) ? filters : "";
      counted = found.total ?? counted;
      return { rows: found.data.reverse(), total: counted, atLeast: found.total === null, more: found.has_more, next: found.data.at(-1)?.number };
    },
    key: (row) => row.number,
    render: (row) => [
      h("span", { class: "status" }, code(row)),
      h("span", { class: "operation" }, h("a", { href: page.link("journal", row.number), "data-id": row.number }, row.operation ?? "no route"), row.fault && h("span", { class: "pill fault", title: `Fault ${row.fault}` }, hidden("fault "), row.fault)),
      h("span", { class: "request", title: request(row) }, h("b", {}, row.method), " ", request(row)),
      h("span", { class: "duration" }, `${row.duration_ms < 10 ? row.duration_ms.toFixed(1) : Math.round(row.duration_ms)} ms`),
      h("time", { class: "at", title: `${instant(row.at)} UTC by the world’s clock` }, instant(row.at).slice(11)),
    ],
    empty: (filtered) => (filtered ? "No exchange matches." : page.welcome("Nothing was asked yet")),
    failed: page.failed,
    present: () => page.info !== null,
  });
  const pane = h("aside", { class: "pane", "aria-label": "Exchange" });
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
      if (open === number) pane.replaceChildren(...details(exchange));
    } catch (error) {
      pane.replaceChildren(h("p", { class: "problem" }, error.message));
    }
  }

  function details(exchange) {
    const copies = [["curl", curl], ["Python", python], ["seed", seed]];
    return [
      h(
        "div",
        { class: "title" },
        code(exchange),
        h("h2", {}, exchange.operation ?? "no route"),
        button("✕", () => page.go("journal"), { class: "plain", "aria-label": "Close the exchange (Escape)", title: "Close (Escape)" }),
      ),
      h("p", { class: "line mono" }, h("b", {}, exchange.method), " ", exchange.path, exchange.query && `?${exchange.query}`),
      h(
        "dl",
        {},
        ...[
          ["At", `${instant(exchange.at)} UTC by the world’s clock`],
          ["Took", `${exchange.duration_ms} ms`],
          ["Request id", copyable(exchange.request_id, "Request id")],
          exchange.fault && ["Fault", exchange.fault === "header" ? "brought by the request" : h("a", { href: page.link("faults") }, exchange.fault)],
          exchange.objects.length && ["Objects", exchange.objects.flatMap((each) => [h("span", { class: "object" }, `${each.change} `, object(exchange, each), " ")])],
        ]
          .filter(Boolean)
          .flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
      ),
      h("div", { class: "copies", role: "group", "aria-label": "Copy as" }, h("span", { "aria-hidden": "true" }, "Copy as"), copies.map(([name, recipe]) => button(name, () => copy(recipe(exchange, page.origin), name), { "aria-label": `Copy as ${name}` }))),
      half("Request", exchange.request),
      half(exchange.aborted ? "Answer, which broke off" : "Answer", exchange.response),
    ];
  }

  function object(exchange, { change, id }) {
    const container = /\/containers\/([^/]+)\/files/.exec(exchange.path)?.[1];
    const place = /^file-/.test(id) || !exchange.operation?.includes("Container") ? ["files", id] : container ? ["containers", decodeURIComponent(container), id] : ["containers", id];
    return change === "deleted" ? id : h("a", { href: page.link(...place) }, id);
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

const request = ({ path, query }) => path.replace(/^\/w\/[^/]+/, "") + (query ? `?${query}` : "");

function code({ status, aborted }) {
  const kind = status === null || aborted ? "none" : `s${Math.floor(status / 100)}`;
  return h("span", { class: `code ${kind}`, title: aborted ? "The answer didn’t come to its end" : null }, status ?? "none", aborted && status ? "†" : "");
}

function half(title, message) {
  const names = Object.keys(message.headers);
  let body = h("p", { class: "quiet" }, "No body.");
  if (message.body !== undefined && message.body !== null) body = typeof message.body === "string" ? h("pre", { tabindex: "0", "aria-label": `${title}: body` }, message.body) : json(message.body);
  else if (message.body_bytes) body = h("p", { class: "quiet" }, `${size(message.body_bytes)}, not kept.${message.body_sha256 ? ` SHA-256 ${message.body_sha256}` : ""}`);
  return h(
    "section",
    { class: "half" },
    h("h3", {}, title),
    body,
    h(
      "details",
      {},
      h("summary", {}, `${names.length} headers`),
      h("dl", { class: "headers" }, names.flatMap((name) => [h("dt", {}, name), h("dd", {}, message.headers[name])])),
    ),
  );
}
