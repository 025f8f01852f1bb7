// Elements, formatting and dialogs. Text from clients is inserted only as text nodes.

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => build(document.createElementNS(SVG, tag), attributes, children);
export const button = (label, click, attributes = {}) => h("button", { type: "button", click, ...attributes }, label);
export const hidden = (text) => h("span", { class: "hidden" }, text);
export const terms = (pairs, attributes) =>
  h("dl", attributes, pairs.filter(Boolean).map(([term, value]) => [h("dt", {}, term), h("dd", {}, ...[value].flat())]));

// Render rows, and replace only the elements of changed rows, so that the others do not flicker or lose the focus.
export function keyed(parent, key, render) {
  let shown = new Map();
  return (rows) => {
    const next = new Map();
    for (const row of rows) {
      const fingerprint = JSON.stringify(row);
      const old = shown.get(key(row));
      if (old && old.fingerprint === fingerprint) next.set(key(row), old);
      else {
        const focused = old?.element.contains(document.activeElement);
        const element = render(row);
        old?.element.replaceWith(element);
        if (focused) (element.querySelector("a") ?? element).focus({ preventScroll: true });
        next.set(key(row), { fingerprint, element, row });
      }
    }
    for (const [name, old] of shown) if (!next.has(name)) old.element.remove();
    let child = parent.firstChild;
    for (const { element } of next.values()) {
      if (element === child) child = child.nextSibling;
      else parent.insertBefore(element, child);
    }
    shown = next;
    return [...next.values()];
  };
}

// Formatting

export const count = (number) => number.toLocaleString("en");
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "null";
  const units = ["B", "KB", "MB", "GB"];
  let unit = 0;
  while (bytes >= 1024 && unit < 3) [bytes, unit] = [bytes / 1024, unit + 1];
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

// The size, and the exact number of bytes if it differs.
export const bytes = (number) => (number < 1024 ? plural(number, "byte") : `${size(number)} (${plural(number, "byte")})`);

// The unit of a count: visible in lists without column heads, otherwise only for screen readers.
export const unit = (number, one) => h("span", { class: "unit" }, ` ${one}${number === 1 ? "" : "s"}`);

const UNITS = [[86400, "d", "day"], [3600, "h", "hour"], [60, "min", "minute"], [1, "s", "second"]];

export function ago(seconds) {
  if (seconds < 0) return "ahead";
  if (seconds < 1) return "now";
  const [length, unit] = UNITS.find(([length]) => seconds >= length);
  return `${Math.floor(seconds / length)} ${unit}`;
}

export function left(seconds) {
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  if (seconds >= 172800) return `${Math.floor(seconds / 86400)} d`;
  if (seconds >= 3600) return `${Math.floor(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
  return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
}

// Spell a duration in the largest unit that divides it: 90 is "90 seconds", 120 is "2 minutes".
export function spell(seconds) {
  const [length, , unit] = UNITS.find(([length]) => seconds && seconds % length === 0) ?? UNITS[3];
  return plural(seconds / length, unit);
}

export function instant(seconds) {
  const moment = new Date(seconds * 1000);
  return Number.isNaN(moment.getTime()) ? "beyond year 275760" : moment.toISOString().replace("T", " ").slice(0, 19);
}

// Shorten the random part of ids, but keep its end: ids that were created together have the same start.
export const shorten = (text, start = 4) => text.replace(/[A-Za-z0-9]{18,}/g, (id) => `${id.slice(0, start)}…${id.slice(-6)}`);

// Truncate a long text in the middle, because the end of a name or path matters most.
export function middle(text, tail = 8) {
  const characters = [...text];
  if (characters.length < tail + 6) return text;
  return h("span", { class: "middle" }, h("span", {}, characters.slice(0, -tail).join("")), h("span", {}, characters.slice(-tail).join("")));
}

// Notifications, also for screen readers

let timer;

export function notify(text, bad = false) {
  const notice = document.getElementById("notice");
  notice.textContent = text;
  notice.className = bad ? "bad shown" : "shown";
  clearTimeout(timer);
  timer = setTimeout(() => (notice.className = bad ? "bad" : ""), bad ? 8000 : 2500);
}

// Run `work`, and show `done` or the error.
export async function attempt(work, done) {
  try {
    const result = await work();
    if (done) notify(typeof done === "function" ? done(result) : done);
    return result;
  } catch (error) {
    notify(error.message, true);
    return undefined;
  }
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Fallback for pages that are not a secure context, such as http:// on a network address.
    const field = h("textarea", { class: "hidden", "aria-hidden": "true", value: text });
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  notify(`${what} copied`);
}

export const copyable = (text, what, shown = text) =>
  button(shown, () => copy(text, what), { class: "copyable", title: `Copy ${text}`, "aria-label": `Copy ${what} ${text}` });

// Tabs with code and a copy button. `pages` are [name, text].
export function tabs(label, pages) {
  const panel = h("div", { role: "tabpanel", class: "code-block", tabindex: "0", id: "panel" });
  const choose = (index, focus) => {
    const [name, text] = pages[index];
    for (const [at, tab] of row.entries()) {
      tab.setAttribute("aria-selected", String(at === index));
      tab.tabIndex = at === index ? 0 : -1;
    }
    panel.setAttribute("aria-label", name);
    panel.replaceChildren(h("pre", {}, text), button("Copy", () => copy(text, name), { "aria-label": `Copy the ${name} example` }));
    if (focus) row[index].focus();
  };
  const row = pages.map(([name], index) =>
    button(name, () => choose(index), {
      role: "tab",
      "aria-controls": "panel",
      keydown(event) {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (by) (event.preventDefault(), choose((index + by + pages.length) % pages.length, true));
      },
    }),
  );
  choose(0);
  return h("div", { class: "tabs" }, h("div", { role: "tablist", "aria-label": label }, row), panel);
}

// Dialogs

export function open(attributes, ...children) {
  const dialog = h("dialog", { ...attributes, close: () => dialog.remove() }, ...children);
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

// Open a dialog with a form. If `submit(values)` throws, the dialog shows the message and stays open. `changed(inputs,
// name)` is called when an input changes.
export function ask({ title, text, fields = [], action, danger, wide, submit, changed }) {
  const problem = h("p", { class: "problem", role: "alert" });
  const inputs = Object.fromEntries(fields.map((field) => [field.name, control(field)]));
  const values = () => Object.fromEntries(Object.entries(inputs).map(([name, each]) => [name, read(each)]));
  const form = h(
    "form",
    {
      method: "dialog",
      input: (event) => changed?.(inputs, event.target.name),
      async submit(event) {
        event.preventDefault();
        try {
          problem.textContent = "";
          await submit(values());
          dialog.close();
        } catch (error) {
          problem.textContent = error.message;
        }
      },
    },
    h("h2", { id: "title" }, title),
    text && h("p", {}, text),
    h("div", { class: "fields" }, fields.map((field) => labeled(field, inputs[field.name]))),
    problem,
    h("div", { class: "actions" }, button("Cancel", () => dialog.close()), h("button", { class: danger ? "danger" : "primary" }, action)),
  );
  const dialog = open({ "aria-labelledby": "title", class: wide && "wide" }, form);
  changed?.(inputs, null);
  (inputs[fields[0]?.name]?.querySelector?.("input") ?? inputs[fields[0]?.name])?.select?.();
  return dialog;
}

const labeled = ({ type, label, hint, name }, input) =>
  h(
    type === "duration" ? "fieldset" : "label",
    { class: type === "checkbox" ? "check" : `field ${type ?? ""}`, "data-field": name },
    type === "duration" ? h("legend", {}, label) : h("span", {}, label),
    hint && h("small", {}, hint),
    input,
  );

export function control({ name, type = "text", options, value, label, ...attributes }) {
  if (options)
    return h(
      "select",
      { name, "aria-label": attributes["aria-label"] },
      options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)),
    );
  if (type === "duration") return duration(name, value ?? 0, label);
  delete attributes.hint;
  if (type === "textarea") return h("textarea", { name, value, spellcheck: "false", ...attributes });
  const checked = type === "checkbox" && value;
  return h("input", { name, type, checked, autocomplete: "off", value: type === "file" ? null : (value ?? ""), ...attributes });
}

// An input for a number and a unit. `seconds` is the initial value; `read` returns text such as "5m".
export function duration(name, seconds, label) {
  const [length] = UNITS.find(([length]) => seconds && seconds % length === 0) ?? UNITS[3];
  return h(
    "span",
    { class: "duration-field", "data-name": name },
    h("input", { name, type: "number", min: 0, step: "any", value: seconds / length, "aria-label": label, required: true }),
    h("select", { name: `${name}_unit`, "aria-label": `${label}: unit` }, UNITS.map(([each, , unit]) => h("option", { value: unit[0], selected: each === length }, `${unit}s`))),
  );
}

export function read(input) {
  if (input.matches(".duration-field")) return [...input.children].map((each) => each.value).join("");
  return input.type === "checkbox" ? input.checked : input.type === "file" ? input.files : input.value;
}
