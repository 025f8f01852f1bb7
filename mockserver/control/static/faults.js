// Faults: the rules of a world, how often each fired, and common ones to add with a click.

import { get, patch, path, post, remove } from "./api.js";
import { json } from "./contents.js";
import { ask, attempt, button, count, h, hidden, keyed, plural, size, spell } from "./dom.js";
import { ERRORS, OPERATIONS } from "./facts.js";
import { reader } from "./live.js";

const CONTENT = "RetrieveContainerFileContent";
const COMMON = [
  ["429 twice", "Rate limited two times", { times: 2, effect: { error: "rate_limited", retry_after: 1 } }],
  ["500 on content", "One download fails", { match: { operation: CONTENT }, times: 1, effect: { error: "server_error" } }],
  ["Slow", "Each response takes 2 seconds", { effect: { latency: 2 } }],
  ["Cut download", "One body ends early", { match: { operation: CONTENT }, times: 1, effect: { truncate_after: 10 } }],
  ["Stale list", "Deleted objects stay listed for a minute", { match: { operation: "List*" }, effect: { stale_list: "1m" } }],
  ["No response", "One connection is closed", { times: 1, effect: { drop: "before_answer" } }],
  ["Endless pages", "Each page has more", { match: { operation: "List*" }, effect: { has_more: true } }],
  ["Rate limit", "10 requests a minute", { effect: { rate_limit: { requests: 10, per: "1m" } } }],
];
const EFFECTS = [
  ["429 rate limited, Retry-After 1 s", { error: "rate_limited", retry_after: 1 }],
  ["500 server error", { error: "server_error" }],
  ["503", { status: 503 }],
  ["400 container expired", { error: "container_expired" }],
  ["no response", { drop: "before_answer" }],
  ["body cut after 10 bytes", { truncate_after: 10 }],
  ["100 bytes a second", { dribble: 100 }],
];
const NONE = "no error, only latency";

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
    h("div", { class: "tools" }, h("h2", {}, "Faults"), h("span", { class: "space" }), clear, button("New fault", () => form(), { class: "primary" })),
    h("div", { class: "menu", role: "group", "aria-label": "Add a common fault" }, menu),
    h("div", { class: "head c-faults", "aria-hidden": "true" }, h("span", {}, "On"), h("span", {}, "Rule"), h("span", { class: "end" }, "Fired"), h("span", { class: "end" }, "Matched"), h("span", {})),
    rows,
    nothing,
  );

  const show = keyed(rows, (rule) => rule.id, (rule) => {
    const enabled = rule.enabled !== false;
    const over = rule.lapsed ? "lapsed" : rule.times && rule.fired >= rule.times ? "used up" : null;
    const change = (body, done) => attempt(() => patch(at(rule.id), body), done);
    return h(
      "li",
      { class: `c-faults ${enabled && !over ? "" : "off"}` },
      button("", () => change({ enabled: !enabled }, enabled ? "Switched off" : "Switched on"), { class: "switch", role: "switch", "aria-checked": String(enabled), "aria-label": `Fault ${rule.id}` }),
      h("details", { class: "rule" }, h("summary", {}, h("b", {}, rule.id), " ", h("span", {}, words(rule)), over && h("span", { class: "pill" }, over)), json(sent(rule))),
      h("span", { class: "fired end" }, count(rule.fired), hidden(" times fired"), rule.times ? ` of ${count(rule.times)}` : ""),
      h("span", { class: "matched end" }, count(rule.matched), hidden(" times matched")),
      h(
        "span",
        { class: "acts" },
        over && button("Re-arm", () => change({ rearm: true }, `${rule.id} fires again`), { "aria-label": `Re-arm ${rule.id}`, title: "Set its counts to 0 and start its duration again" }),
        button("Copy", () => form(rule), { "aria-label": `Copy ${rule.id}`, title: "Write a new rule that begins as this one" }),
        button("Delete", () => attempt(() => remove(at(rule.id)), "Fault deleted"), { "aria-label": `Delete ${rule.id}` }),
      ),
    );
  });

  const refresh = reader(async () => {
    try {
      const { data } = page.info ? await get(at()) : { data: [] };
      show(data);
      clear.disabled = !data.length;
      nothing.textContent = data.length ? "" : "No faults. Add a common one from above, or a new one.";
    } catch (error) {
      show([]);
      clear.disabled = true;
      nothing.replaceChildren(...[page.failed(error)].flat());
    }
  });

  // The fields write the rule; what is sent is the text of the rule, which the server checks while it is written.
  function form(copied) {
    const state = h("output", { class: "state" });
    const check = reader(async () => {
      const text = editor.value;
      try {
        const rule = await post(`${at()}?dry_run=true`, text);
        [state.textContent, state.className] = [`Valid. ${words(rule)}`, "state good"];
      } catch (error) {
        [state.textContent, state.className] = [error.message, "state bad"];
      }
    });
    const dialog = ask({
      title: "New fault",
      wide: true,
      fields: [
        { name: "operation", label: "For", options: [["", "every request"], ["List*", "all lists"], ["*File*", "all operations on files"], ...OPERATIONS.map((each) => [each, each])] },
        { name: "effect", label: "What happens", options: [...EFFECTS.map(([name, effect]) => [JSON.stringify(effect), name]), ["{}", NONE], ...ERRORS.map((each) => [JSON.stringify({ error: each }), `error ${each}`])] },
        { name: "latency", label: "Latency before the response", type: "duration", value: 0 },
        { name: "times", label: "How often (empty: always)", type: "number", min: 1, value: 1 },
        { name: "skip", label: "Requests to let pass first", type: "number", min: 0, value: 0 },
        { name: "percent", label: "Probability in percent", type: "number", min: 0, max: 100, value: 100 },
        { name: "rule", label: "Rule (JSON)", type: "textarea", rows: 12, hint: "The fields above write it. Edit it for everything else that a rule can do." },
      ],
      action: "Add",
      submit: ({ rule }) => post(at(), rule),
      changed(inputs, name) {
        const value = (field) => inputs[field].value;
        if (name !== "rule" && (name || !copied)) {
          const [amount, unit] = [...inputs.latency.children].map((each) => each.value);
          const rule = {
            ...(value("operation") ? { match: { operation: value("operation") } } : {}),
            ...(Number(value("skip")) ? { skip: Number(value("skip")) } : {}),
            ...(value("times") ? { times: Number(value("times")) } : {}),
            ...(value("percent") === "100" ? {} : { probability: Number(value("percent")) / 100 }),
            effect: { ...JSON.parse(value("effect")), ...(Number(amount) ? { latency: `${amount}${unit}` } : {}) },
          };
          inputs.rule.value = JSON.stringify(rule, null, 2);
        } else if (!name) inputs.rule.value = JSON.stringify({ ...sent(copied), id: undefined }, null, 2);
        editor = inputs.rule;
        check();
      },
    });
    dialog.querySelector("[data-field=rule]").after(state);
  }
  let editor;

  return {
    element,
    show() {},
    async changed(kinds) {
      if (kinds.has("faults") || kinds.has("journal")) await refresh();
    },
    tick() {},
  };
}

const sent = ({ matched: _, fired: __, lapsed: ___, ...rule }) => rule;
const seconds = (value) => (typeof value === "number" ? spell(value) : value);

// What an effect does, by its key. Keys that are not listed are shown as they are.
const DOES = {
  error: (name) => `returns ${name}`,
  status: (status) => `returns status ${status}`,
  body: () => "with another body",
  headers: (headers) => `with ${plural(Object.keys(headers).length, "header")}`,
  retry_after: (value) => `with Retry-After ${seconds(value)}`,
  latency: (value) => (typeof value === "object" ? `waits ${seconds(value.min)} to ${seconds(value.max)}` : `waits ${seconds(value)}`),
  drop: () => "closes the connection without a response",
  reset_after: (bytes) => `resets the connection after ${size(bytes)} of the body`,
  truncate_after: (bytes) => `cuts the body after ${size(bytes)}`,
  dribble: (bytes) => `sends ${size(bytes)} a second`,
  abort_upload_after: (bytes) => `resets the connection after ${size(bytes)} of the upload`,
  rate_limit: ({ requests, per }) => `lets ${plural(requests, "request")} pass in ${seconds(per)}`,
  stale_list: (value) => `still lists what was deleted in the last ${seconds(value)}`,
  has_more: () => "each page has more",
  empty_page: () => "each page is empty and has more",
};

export function words({ match = {}, effect, times, skip, probability, lapse_after }) {
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const matches = Object.entries(match).map(([name, value]) => (name === "operation" ? value : `${name} ${shown(value)}`));
  const does = Object.entries(effect).map(([name, value]) => DOES[name]?.(value) ?? `${name.replaceAll("_", " ")} ${shown(value)}`);
  const bounds = [times && plural(times, "time"), skip && `after ${plural(skip, "request")}`, probability !== undefined && probability < 1 && `with a probability of ${Math.round(probability * 100)}%`, lapse_after && `for ${seconds(lapse_after)}`].filter(Boolean);
  return `${matches.join(", ") || "Every request"}: ${[does.join(", "), ...bounds].join(", ")}`;
}
