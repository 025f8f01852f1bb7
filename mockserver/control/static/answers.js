// Answers: scripts for `/responses`, in the order in which the server tries them.

import { h, plural, spell } from "./dom.js";
import { rules } from "./rules.js";

const quoted = (text) => (/^\/.+\/[ims]*$/.test(text) ? text : `“${text.length > 80 ? `${text.slice(0, 80)}…` : text}”`);
const listed = (values) => values.join(", ").replace(/, ([^,]*)$/, " and $1");
const base = (path) => path.replace("/mnt/data/", "");

const quotedWithoutLinks = (text) => quoted(text.replace(/!?\[([^\]]*)\]\(sandbox:[^)]*\)/g, "$1"));

// Describe the effects of a step, in the order in which they happen.
function describeStep({ code, commands, raises, value, exit, timeout, files = [], shows = [], takes, say, fail }) {
  const written = files.filter((each) => !each.delete).map((each) => base(each.path));
  const deleted = files.filter((each) => each.delete).map((each) => base(each.path));
  return [
    code && "runs code",
    commands && `runs ${plural(commands.length, "command")}`,
    takes && `takes ${typeof takes === "number" ? spell(takes) : takes}`,
    written.length && `writes ${listed(written)}`,
    deleted.length && `deletes ${listed(deleted)}`,
    shows.length && `shows ${plural(shows.length, "figure")}`,
    value && `returns ${quoted(value)}`,
    raises && `raises ${quoted(raises)}`,
    exit && `exits with ${exit}`,
    timeout && "times out",
    say && `says ${quotedWithoutLinks(say)}`,
    fail?.error && `returns ${fail.error}`,
    fail?.incomplete && `ends incomplete (${fail.incomplete})`,
    fail?.wedge && "breaks the container",
  ].filter(Boolean);
}

function describe({ when = {}, steps, output, skip, times, pace, ...only }) {
  const conditions = Object.entries(when).map(([name, value]) => (name === "text" ? quoted(value) : `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`));
  const effects = output ? [`returns ${plural(output.length, "raw item")}`] : (steps ?? []).flatMap(describeStep).concat(describeStep(only));
  const limits = [times && plural(times, "time"), skip && `after ${plural(skip, "request")}`, pace && `${spell(pace)} between events`].filter(Boolean);
  return `${conditions.join(", ") || "Every request"}: ${[...effects, ...limits].join(", ")}`;
}

export const answers = rules({
  kind: "answers",
  one: "answer",
  title: "Answers",
  emptyText: "No answers. Without one, a run writes the files that its prompt names, always in the same way.",
  used: ["used", "Used"],
  counts: ["matched", "used", "seeded"],
  ended: (rule) => (rule.times && rule.used >= rule.times ? "used up" : null),
  firstColumn: ["#", (rule, change, position) => h("span", { class: "quiet" }, position)],
  fields: [
    { name: "when", label: "Last user message (empty: any)", hint: "A part of it, or /a regular expression/." },
    { name: "times", label: "How often (empty: always)", hint: "Then the next answer that fits is used.", type: "number", min: 1 },
    { name: "file", label: "Writes a file (empty: none)", value: "report.csv" },
    { name: "content", label: "Content of the file", type: "textarea", rows: 2, value: "quarter,revenue\nQ1,120\n" },
    { name: "say", label: "Says", type: "textarea", rows: 2, value: "The report is in {links}.", hint: "{links}: links to the files, which are cited. {text}: the prompt." },
  ],
  compose: (value) => ({
    ...(value("when") ? { when: value("when") } : {}),
    ...(value("times") ? { times: Number(value("times")) } : {}),
    ...(value("file") ? { files: [{ path: value("file"), content: value("content") }] } : {}),
    ...(value("say") ? { say: value("say") } : {}),
  }),
  describe,
});
