// Faults: the rules of a world, how often each fired, and common rules to add with a click.

import { button, plural, size, spell } from "./dom.js";
import { ERRORS, OPERATIONS } from "./facts.js";
import { rules } from "./rules.js";

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

// Return the rule for the fields of the form.
function compose(value) {
  const latency = value("latency");
  return {
    ...(value("operation") ? { match: { operation: value("operation") } } : {}),
    ...(Number(value("skip")) ? { skip: Number(value("skip")) } : {}),
    ...(value("times") ? { times: Number(value("times")) } : {}),
    ...(value("percent") === "100" ? {} : { probability: Number(value("percent")) / 100 }),
    effect: { ...JSON.parse(value("effect")), ...(parseFloat(latency) ? { latency } : {}) },
  };
}

const enabled = (rule) => rule.enabled !== false;

export const faults = rules({
  kind: "faults",
  one: "fault",
  title: "Faults",
  common: COMMON,
  emptyText: "No faults. Add a common one from above, or a new one.",
  used: ["fired", "Fired"],
  counts: ["matched", "fired", "lapsed"],
  ended: (rule) => (rule.lapsed ? "lapsed" : rule.times && rule.fired >= rule.times ? "used up" : null),
  disabled: (rule) => !enabled(rule),
  firstColumn: [
    "On",
    (rule, change) =>
      button("", () => change({ enabled: !enabled(rule) }, enabled(rule) ? "Switched off" : "Switched on"), { class: "switch", role: "switch", "aria-checked": String(enabled(rule)), "aria-label": `Fault ${rule.id}` }),
  ],
  actions: (rule, change, ended) => ended && button("Re-arm", () => change({ rearm: true }, `${rule.id} fires again`), { "aria-label": `Re-arm ${rule.id}`, title: "Set its counts to 0 and start its duration again" }),
  fields: [
    { name: "operation", label: "For", options: [["", "every request"], ["List*", "all lists"], ["*File*", "all operations on files"], ...OPERATIONS.map((each) => [each, each])] },
    { name: "effect", label: "What happens", options: [...EFFECTS.map(([name, effect]) => [JSON.stringify(effect), name]), ["{}", NONE], ...ERRORS.map((each) => [JSON.stringify({ error: each }), `error ${each}`])] },
    { name: "latency", label: "Latency before the response", type: "duration", value: 0 },
    { name: "times", label: "How often (empty: always)", type: "number", min: 1, value: 1 },
    { name: "skip", label: "Requests to let pass first", type: "number", min: 0, value: 0 },
    { name: "percent", label: "Probability in percent", type: "number", min: 0, max: 100, value: 100 },
  ],
  compose,
  describe,
});

const seconds = (value) => (typeof value === "number" ? spell(value) : value);

// Descriptions of effects by key. Other keys are shown unchanged.
const DESCRIPTIONS = {
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

function describe({ match = {}, effect, times, skip, probability, lapse_after }) {
  const format = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const matches = Object.entries(match).map(([name, value]) => (name === "operation" ? value : `${name} ${format(value)}`));
  const effects = Object.entries(effect).map(([name, value]) => DESCRIPTIONS[name]?.(value) ?? `${name.replaceAll("_", " ")} ${format(value)}`);
  const limits = [times && plural(times, "time"), skip && `after ${plural(skip, "request")}`, probability !== undefined && probability < 1 && `with a probability of ${Math.round(probability * 100)}%`, lapse_after && `for ${seconds(lapse_after)}`].filter(Boolean);
  return `${matches.join(", ") || "Every request"}: ${[effects.join(", "), ...limits].join(", ")}`;
}
