// Elements, words and small dialogs. Text from clients becomes text nodes, and nothing else.

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

// Rows that stay the elements they are as long as what they show stays: no flicker, and focus keeps its place.
export function keyed(parent, key, render) {
  let shown = new Map();
  return (rows) => {
    const next = new Map();
    for (const row of rows) {
      const print = JSON.stringify(row);
      const old = shown.get(key(row));
      if (old && old.print === print) next.set(key(row), old);
      else {
        const focused = old?.element.contains(document.activeElement);
        const element = render(row);
        old?.element.replaceWith(element);
        if (focused) (element.querySelector("a") ?? element).focus({ preventScroll: true });
        next.set(key(row), { print, element, row });
      }
    }
    for (const [name, old] of shown) if (!next.has(name)) old.element.remove();
    let place = parent.firstChild;
    for (const { element } of next.values()) {
      if (element === place) place = place.nextSibling;
      else parent.insertBefore(element, place);
    }
    shown = next;
    return [...next.values()];
  };
}

// Words for numbers

export const count = (number) => number.toLocaleString("en");
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "null";
  const units = ["B", "KB", "MB", "GB"];
  let unit = 0;
  while (bytes >= 1024 && unit < 3) [bytes, unit] = [bytes / 1024, unit + 1];
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

export function ago(seconds) {
  if (seconds < 0) return "ahead";
  if (seconds < 1) return "now";
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]])
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  return `${Math.floor(seconds)} s`;
}

export function left(seconds) {
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  if (seconds >= 172800) return `${Math.floor(seconds / 86400)} d`;
  if (seconds >= 3600) return `${Math.floor(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
  return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
}

export function instant(seconds) {
  const moment = new Date(seconds * 1000);
  return Number.isNaN(moment.getTime()) ? "beyond all calendars" : moment.toISOString().replace("T", " ").slice(0, 19);
}

// A word to the user, which screen readers hear too

let timer;

export function say(text, bad = false) {
  const place = document.getElementById("said");
  place.textContent = text;
  place.className = bad ? "bad shown" : "shown";
  clearTimeout(timer);
  timer = setTimeout(() => (place.className = bad ? "bad" : ""), bad ? 8000 : 2500);
}

// Do something, and say what went wrong in words.
export async function attempt(work, done) {
  try {
    const result = await work();
    if (done) say(typeof done === "function" ? done(result) : done);
    return result;
  } catch (error) {
    say(error.message, true);
    return undefined;
  }
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Where the page isn't on a secure origin (an address of the network), there is only the old way.
    const field = h("textarea", { class: "hidden", "aria-hidden": "true", value: text });
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  say(`${what} copied`);
}

export const copyable = (text, what) =>
  button(text, () => copy(text, what), { class: "copyable", title: `Copy ${text}`, "aria-label": `Copy ${what} ${text}` });

// A dialog with a form. `submit` gets the values, and may throw: then the dialog says why, and stays.
export function ask({ title, text, fields = [], action, danger, submit }) {
  const problem = h("p", { class: "problem", role: "alert" });
  const inputs = fields.map((field) => input(field));
  const dialog = h(
    "dialog",
    { "aria-labelledby": "asked", close: () => dialog.remove() },
    h(
      "form",
      {
        method: "dialog",
        async submit(event) {
          event.preventDefault();
          const values = Object.fromEntries(fields.map(({ name }, place) => [name, read(inputs[place])]));
          try {
            problem.textContent = "";
            await submit(values);
            dialog.close();
          } catch (error) {
            problem.textContent = error.message;
          }
        },
      },
      h("h2", { id: "asked" }, title),
      text && h("p", {}, text),
      fields.map((field, place) =>
        h("label", { class: field.type === "checkbox" ? "check" : "field" }, h("span", {}, field.label), inputs[place]),
      ),
      problem,
      h(
        "div",
        { class: "actions" },
        button("Cancel", () => dialog.close()),
        h("button", { class: danger ? "danger" : "primary" }, action),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  inputs[0]?.select?.();
  return dialog;
}

function input({ name, type = "text", options, value, required, placeholder }) {
  if (options)
    return h(
      "select",
      { name },
      options.map(([key, label]) => h("option", { value: key, selected: key === value }, label)),
    );
  const checked = type === "checkbox" && value;
  return h("input", { name, type, required, placeholder, checked, autocomplete: "off", value: type === "file" ? null : (value ?? "") });
}

const read = (input) => (input.type === "checkbox" ? input.checked : input.type === "file" ? input.files : input.value);
