// Answers: scripts of what runs of `/responses` do, in the order in which they are tried.

import { h, plural, spell } from "./dom.js";
import { rules } from "./rules.js";

const quoted = (text) => (/^\/.+\/[ims]*$/.test(text) ? text : `“${text.length > 80 ? `${text.slice(0, 80)}…` : text}”`);
const listed = (values) => values.join(", ").replace(/, ([^,]*)$/, " and $1");
const base = (path) => path.replace("/mnt/data/", "");

const said = (text) => quoted(text.replace(/!?\[([^\]]*)\]\(sandbox:[^)]*\)/g, "$1"));

// What a step does, in the order in which it happens.
function does({ code, commands, raises, value, exit, timeout, files = [], shows = [], takes, say, fail }) {
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
    say && `says ${said(say)}`,
    fail?.error && `returns ${fail.error}`,
    fail?.incomplete && `ends incomplete (${fail.incomplete})`,
    fail?.wedge && "breaks the container",
  ].filter(Boolean);
}

function words({ when = {}, steps, output, skip, times, pace, ...only }) {
  const conditions = Object.entries(when).map(([name, value]) => (name === "text" ? quoted(value) : `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`));
  const what = output ? [`returns ${plural(output.length, "raw item")}`] : (steps ?? []).flatMap(does).concat(does(only));
  const bounds = [times && plural(times, "time"), skip && `after ${plural(skip, "request")}`, pace && `${spell(pace)} between events`].filter(Boolean);
  return `${conditions.join(", ") || "Every request"}: ${[...what, ...bounds].join(", ")}`;
}

export const answers = rules({
  kind: "answers",
  one: "answer",
  title: "Answers",
  nothing: "No answers. Without one, a run writes the files that its prompt names, always in the same way.",
  used: ["used", "Used"],
  counts: ["matched", "used", "seeded"],
  over: (rule) => (rule.times && rule.used >= rule.times ? "used up" : null),
  lead: ["#", (rule, change, place) => h("span", { class: "quiet" }, place)],
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
  words,
});
