// Previews of file contents, which never run code in them; and uploads.

import { get, path, preview, send } from "./api.js";
import { attempt, button, h, hidden, notify, plural, size } from "./dom.js";

const FIRST_PREVIEW = 64 * 1024;
const MAX_PREVIEW = 1 << 20;
const MAX_ROWS = 200;
const MAX_DUMP = 512;
const IMAGES = [[0x89, 0x50, 0x4e, 0x47], [0xff, 0xd8, 0xff], [0x47, 0x49, 0x46, 0x38], [0x52, 0x49, 0x46, 0x46]];
const PDF = [0x25, 0x50, 0x44, 0x46];

// A file's name without folder and without the prefix that the API adds to make names unique.
export const base = (path) => path.slice(path.lastIndexOf("/") + 1).replace(/^(?:[0-9a-f]{32}|file-[A-Za-z0-9]{22})-(?=.)/, "");

// Preview the content of the file at `url`. `start` is the URL of the first bytes; with `url` null, there is no download.
export function contents(url, name, start = `${url}/preview`) {
  const element = h("div", { class: "preview" });
  const show = async (bytes) => {
    try {
      element.replaceChildren(...shown(await preview(start, bytes), url, name, () => show(MAX_PREVIEW)));
    } catch (error) {
      element.replaceChildren(h("p", { class: "problem" }, error.message));
    }
  };
  show(FIRST_PREVIEW);
  return element;
}

function shown({ text, bytes, size: all }, url, name, more) {
  const startsWith = (magic) => url && magic.every((byte, index) => (bytes ? bytes[index] : text.charCodeAt(index)) === byte);
  if (all === 0) return [h("p", { class: "quiet" }, "The file is empty.")];
  if (startsWith(PDF))
    return [
      h("iframe", { class: "pdf", src: `${url}/content?inline=true#navpanes=0`, title: `PDF ${base(name)}`, loading: "lazy" }),
      h("p", { class: "quiet" }, "Your browser’s own viewer shows it. If it has none, download the file."),
    ];
  const raw = () => h("pre", { tabindex: "0", "aria-label": "First bytes" }, dump(bytes));
  if (bytes && IMAGES.some(startsWith)) {
    const broken = (event) => event.target.replaceWith(raw());
    return [h("img", { class: "picture", src: `${url}/content?inline=true`, alt: `Picture ${base(name)}`, error: broken })];
  }
  if (bytes) return [raw(), ...(all > MAX_DUMP ? [part(MAX_DUMP, all, null)] : [])];
  const whole = new TextEncoder().encode(text).length >= all;
  const rest = whole ? null : part(text.length, all, all > FIRST_PREVIEW && text.length <= FIRST_PREVIEW ? more : null);
  const kind = /\.(json|csv|tsv|html?|svg)$/i.exec(name)?.[1].toLowerCase();
  if (whole && (kind === "json" || /^\s*[[{]/.test(text))) {
    try {
      return [json(JSON.parse(text))];
    } catch {
      // Not JSON: show it as text.
    }
  }
  if (kind === "csv" || kind === "tsv") return [table(text, kind === "tsv" ? "\t" : ",", whole), rest];
  const note = kind === "svg" || kind?.startsWith("htm") ? h("p", { class: "quiet" }, "Shown as text: its scripts do not run.") : null;
  return [note, h("pre", { tabindex: "0", "aria-label": "Content" }, text), rest].filter(Boolean);
}

// Files of an object, such as a version of a skill: { name, note, at, under, zip }. The list at the URL `at` and the
// previews at `under`/path are loaded when they are opened.
export function folder({ name, note, at, under, zip }) {
  const disclosure = (attributes, summary, fill) => {
    const element = h("details", { ...attributes, toggle: () => element.children.length < 2 && fill(element) }, h("summary", {}, summary));
    return element;
  };
  return disclosure({ class: "folder" }, [h("b", {}, name), " ", h("span", { class: "quiet" }, note)], async (element) => {
    const rows = h("ul", { "aria-label": `Files of ${name}` });
    element.append(rows);
    const response = await attempt(() => get(at));
    for (const each of response?.files ?? response?.data ?? [])
      rows.append(
        h("li", {}, disclosure({}, [h("span", { class: "mono" }, each.path), hidden(", "), h("span", { class: "quiet" }, size(each.bytes))], (row) => row.append(contents(null, each.path, `${under}/${path(...each.path.split("/"))}`)))),
      );
    if (zip) element.append(h("a", { class: "button", href: zip, download: "", "aria-label": `Download ${name}` }, "Download"));
  });
}

function part(shown, all, more) {
  return h("p", { class: "quiet" }, `The first of ${size(all)}. `, more && shown < all ? button("Show more", more) : null);
}

function dump(bytes) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, MAX_DUMP); at += 16) {
    const row = [...bytes.slice(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hex.padEnd(48)} ${text}`);
  }
  return lines.join("\n");
}

export function json(value) {
  const pre = h("pre", { class: "json", tabindex: "0", "aria-label": "JSON" });
  const text = JSON.stringify(value, null, 2) ?? "";
  if (text.length > 200_000) pre.append(text);
  else {
    let end = 0;
    for (const match of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d[\d.eE+-]*/g)) {
      const kind = match[2] ? "key" : match[1] ? "string" : "value";
      pre.append(text.slice(end, match.index), h("span", { class: kind }, match[1] ?? match[0]), match[2] ?? "");
      end = match.index + match[0].length;
    }
    pre.append(text.slice(end));
  }
  return pre;
}

// Parse the first records of a text that may contain quotes.
export function records(text, separator) {
  const rows = [];
  let record = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length && rows.length <= MAX_ROWS; at++) {
    const character = text[at];
    if (quoted) {
      if (character !== '"') cell += character;
      else if (text[at + 1] === '"') cell += text[++at];
      else quoted = false;
    } else if (character === '"' && cell === "") quoted = true;
    else if (character === separator) (record.push(cell), (cell = ""));
    else if (character === "\n") (record.push(cell.replace(/\r$/, "")), rows.push(record), (record = []), (cell = ""));
    else cell += character;
  }
  if (cell || record.length) rows.push([...record, cell]);
  return rows;
}

function table(text, separator, whole) {
  const [names = [], ...rows] = records(text.replace(/^\ufeff/, ""), separator);
  if (!whole && rows.length && rows.length < MAX_ROWS) rows.pop(); // it may be incomplete
  const numeric = names.map((_, column) => rows.length > 0 && rows.every((row) => /^-?[\d.,]*\s*%?$/.test(row[column] ?? "")));
  const cells = (row, tag) => row.slice(0, 50).map((cell, column) => h(tag, { class: numeric[column] && "number", scope: tag === "th" && "col" }, cell));
  return h(
    "div",
    { class: "table", tabindex: "0", role: "group", "aria-label": "Table" },
    h("table", {}, h("thead", {}, h("tr", {}, cells(names, "th"))), h("tbody", {}, rows.slice(0, MAX_ROWS).map((row) => h("tr", {}, cells(row, "td"))))),
    rows.length >= MAX_ROWS && h("p", { class: "quiet" }, `The first ${MAX_ROWS} rows.`),
  );
}

// File inputs and drop zones that upload files sequentially. `targets` are [label, function that uploads a file].
export function uploadControls(targets, done) {
  const sendAll = async (files, send) => {
    let sent = 0;
    for (const file of files) {
      notify(`Uploading ${file.name} …`);
      if ((await attempt(() => send(file))) === undefined) break;
      sent++;
    }
    if (sent) notify(`${plural(sent, "file")} uploaded`);
    done();
  };
  const inputs = targets.map(([label, send]) => {
    const input = h("input", { type: "file", multiple: true, class: "hidden", "aria-label": label, change: () => sendAll([...input.files], send).then(() => (input.value = "")) });
    return h("label", { class: "button" }, label, input);
  });
  const zones = h(
    "div",
    { class: "zones", "aria-hidden": "true" },
    targets.map(([label, send]) =>
      h("div", {
        class: "zone",
        dragover: (event) => event.preventDefault(),
        dragenter: (event) => event.currentTarget.classList.add("over"),
        dragleave: (event) => event.currentTarget.classList.remove("over"),
        drop(event) {
          event.preventDefault();
          sendAll([...event.dataTransfer.files], send);
        },
      }, label),
    ),
  );
  // Show the zones over the element while files are dragged over it.
  const coverOnDrag = (element) => {
    let depth = 0;
    const end = () => ((depth = 0), element.classList.remove("dragging"), zones.querySelectorAll(".over").forEach((zone) => zone.classList.remove("over")));
    element.addEventListener("dragenter", (event) => event.dataTransfer?.types.includes("Files") && (depth++, element.classList.add("dragging")));
    element.addEventListener("dragleave", () => depth && --depth === 0 && end());
    element.addEventListener("drop", (event) => (event.preventDefault(), end()));
    element.addEventListener("dragover", (event) => event.preventDefault());
  };
  return { inputs, zones, coverOnDrag };
}

export async function upload(url, file, fields = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("file", file, file.name);
  return (await send("POST", url, form)).json();
}

