// Faults: what the world breaks, how often it did, and a menu of what is commonly broken.

import { get, patch, path, post, remove } from "./api.js";
import { json } from "./contents.js";
import { ask, attempt, button, count, h, hidden, keyed, plural } from "./dom.js";
import { OPERATIONS } from "./journal.js";
import { reader } from "./live.js";

const CONTENT = "RetrieveContainerFileContent";
const COMMON = [
  ["429 twice", "Rate limited two times, then fine", { times: 2, effect: { error: "rate_limited", retry_after: 1 } }],
  ["500 on content", "Downloads fail once", { match: { operation: CONTENT }, times: 1, effect: { error: "server_error" } }],
  ["Slow", "Two seconds before every answer", { effect: { latency: 2 } }],
  ["Cut download", "The body ends early, once", { match: { operation: CONTENT }, times: 1, effect: { truncate_after: 10 } }],
  ["Stale list", "What was deleted in the last minute is still listed", { match: { operation: "List*" }, effect: { stale_list: "1m" } }],
  ["No answer", "The connection is closed, once", { times: 1, effect: { drop: "before_answer" } }],
  ["Endless pages", "Every page says that more follow", { match: { operation: "List*" }, effect: { has_more: true } }],
  ["Rate limit", "Ten requests a minute", { effect: { rate_limit: { requests: 10, per: "1m" } } }],
];
const EFFECTS = [
  ["429", "429 rate limited", { error: "rate_limited", retry_after: 1 }],
  ["500", "500 server error", { error: "server_error" }],
  ["503", "503", { status: 503 }],
  ["expired", "404 container expired", { error: "container_expired" }],
  ["latency", "two seconds late", { latency: 2 }],
  ["drop", "no answer at all", { drop: "before_answer" }],
  ["truncate", "body cut after 10 bytes", { truncate_after: 10 }],
  ["dribble", "100 bytes a second", { dribble: 100 }],
];

export function faults(page) {
  const at = (...parts) => path("worlds", page.world, "faults", ...parts);
  const rows = h("ul", { class: "rows", "aria-label": "Faults" });
  const nothing = h("div", { class: "nothing" });
  const add = (rule) => attempt(() => post(at(), rule), ({ id }) => `Added ${id}`);
  const menu = COMMON.map(([name, what, rule]) => button([h("b", {}, name), h("span", {}, what)], () => add(rule), { class: "common" }));
  const clear = button("Delete all", () => attempt(() => remove(at()), "All faults deleted"), { disabled: true });
  const element = h(
    "section",
    { class: "plain-view", "aria-label": "Faults" },
    h("div", { class: "tools" }, h("h2", {}, "Faults"), h("span", { class: "space" }), clear, button("Write a rule", write), button("New fault", create, { class: "primary" })),
    h("div", { class: "menu", role: "group", "aria-label": "Common faults" }, menu),
    h("div", { class: "head c-faults", "aria-hidden": "true" }, ["On", "Rule", "Fired", "Matched", ""].map((name) => h("span", {}, name))),
    rows,
    nothing,
  );

  const show = keyed(rows, (rule) => rule.id, (rule) => {
    const enabled = rule.enabled !== false;
    const spent = rule.lapsed || (rule.times !== undefined && rule.times !== null && rule.fired >= rule.times);
    return h(
      "li",
      { class: `c-faults ${enabled && !spent ? "" : "off"}` },
      button("", () => attempt(() => patch(at(rule.id), { enabled: !enabled }), enabled ? "Switched off" : "Switched on"), { class: "switch", role: "switch", "aria-checked": String(enabled), "aria-label": `Fault ${rule.id}` }),
      h("span", { class: "rule" }, h("b", {}, rule.id), " ", h("span", {}, words(rule)), spent && h("span", { class: "pill spent" }, rule.lapsed ? "lapsed" : "used up"), h("details", {}, h("summary", {}, "Rule"), json(asked(rule)))),
      h("span", { class: "fired" }, count(rule.fired), hidden(" times fired"), rule.times ? ` of ${count(rule.times)}` : ""),
      h("span", { class: "matched" }, count(rule.matched), hidden(" times matched")),
      h("span", {}, button("Delete", () => attempt(() => remove(at(rule.id)), "Fault deleted"), { "aria-label": `Delete ${rule.id}` })),
    );
  });

  const refresh = reader(async () => {
    try {
      const { data } = page.info ? await get(at()) : { data: [] };
      show(data);
      clear.disabled = !data.length;
      nothing.textContent = data.length ? "" : "Nothing is broken. Take one of the above, or write a rule.";
    } catch (error) {
      show([]);
      clear.disabled = true;
      nothing.replaceChildren(...[page.failed(error)].flat());
    }
  });

  function create() {
    ask({
      title: "New fault",
      fields: [
        { name: "operation", label: "For", options: [["", "every request"], ["List*", "lists"], ["*File*", "all of files"], ...OPERATIONS.map((each) => [each, each])] },
        { name: "effect", label: "What happens", options: EFFECTS.map(([name, what]) => [name, what]) },
        { name: "times", label: "How often; always if empty", type: "number", value: "1" },
        { name: "skip", label: "So many pass first", type: "number", value: "0" },
        { name: "probability", label: "Probability, 0 to 1", value: "1" },
      ],
      action: "Add",
      async submit({ operation, effect, times, skip, probability }) {
        await post(at(), {
          ...(operation ? { match: { operation } } : {}),
          ...(times ? { times: Number(times) } : {}),
          ...(Number(skip) ? { skip: Number(skip) } : {}),
          ...(probability === "1" ? {} : { probability: Number(probability) }),
          effect: EFFECTS.find(([name]) => name === effect)[2],
        });
      },
    });
  }

  function write() {
    ask({
      title: "Write a rule",
      text: "As POST /_mock/worlds/{world}/faults takes it; everything that a rule can say is in the manual under Faults.",
      fields: [{ name: "rule", label: "Rule (JSON)", value: '{"match": {"operation": "ListContainers"}, "times": 1, "effect": {"status": 503}}' }],
      action: "Add",
      async submit({ rule }) {
        let parsed;
        try {
          parsed = JSON.parse(rule);
        } catch (error) {
          throw new Error(`That is no JSON: ${error.message}`);
        }
        await post(at(), parsed);
      },
    });
  }

  return {
    element,
    show() {},
    async changed(kinds) {
      if (kinds.has("faults") || kinds.has("journal")) await refresh();
    },
    tick() {},
  };
}

const asked = ({ matched: _, fired: __, lapsed: ___, ...rule }) => rule;

function words({ match = {}, effect, times, skip, probability, concurrent, lapse_after }) {
  const matched = Object.entries(match).map(([name, value]) => (name === "operation" ? value : `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`));
  const what = Object.entries(effect).map(([name, value]) => (name === "error" ? value : `${name.replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`));
  const bounds = [times && plural(times, "time"), skip && `after ${count(skip)}`, probability !== undefined && probability < 1 && `at ${Math.round(probability * 100)} %`, concurrent && `from ${count(concurrent)} at once`, lapse_after && `for ${lapse_after} s`].filter(Boolean);
  return `${matched.join(", ") || "every request"}: ${what.join(", ")}${bounds.length ? ` (${bounds.join(", ")})` : ""}`;
}
