// A list that the server sorts and paginates: columns and filters are data, one page is shown at a time.

import { attempt, ask, button, count, h, keyed, plural } from "./dom.js";
import { reader } from "./live.js";

export const PAGE = 50;
const WIDTHS = ["full", "wide", "medium", "narrow"]; // of a list; see the style sheet

// A column is { name, cell(row), width, end, keep, sort, link, class, title(row) }: `end` aligns numbers, `keep` is the
// narrowest list that shows the column (full, wide, medium; default: all), `sort` is the server's sort key ("name" sorts
// from A to Z). The cell of the column with `link` links to `href(row)`.
// `fetch(filters, cursor)` returns { rows, total, more, next }; `present()` returns whether there is anything to fetch;
// `empty(filtered)` returns the content of a list without rows; `remove(row)` deletes a row, and makes rows selectable.
export function list({ label, one, many = `${one}s`, search, searched = search, filters = [], tools = [], columns, present, fetch, key, href, name, remove, empty, failed, drawn, size = PAGE }) {
  const field = h("input", { type: "search", placeholder: search, "aria-label": searched, title: searched === search ? null : searched, autocomplete: "off", spellcheck: "false" });
  const choices = filters.map(({ name, label, options }) =>
    options
      ? h("select", { name, "aria-label": label, change: () => restart() }, options.map(([value, text]) => h("option", { value }, text)))
      : button(label, ({ currentTarget: { ariaPressed }, currentTarget }) => ((currentTarget.ariaPressed = ariaPressed !== "true"), restart()), { name, "aria-pressed": "false" }),
  );
  const bulk = button("", removeChecked, { class: "danger", hidden: true });
  const all = remove && h("input", { type: "checkbox", "aria-label": `Select all ${many} of this page`, change: () => checkAll(all.checked) });
  const heads = columns.map(({ name, sort, ...column }) => h("span", { class: classes(column), "aria-hidden": sort ? null : "true" }, sort ? button([name, h("i", { "aria-hidden": "true" })], () => sortBy(sort), { "data-sort": sort, "aria-label": `Sort by ${name}` }) : name));
  const rows = h("ul", { class: "rows", "aria-label": label });
  const emptyNote = h("div", { class: "nothing" });
  const range = h("span", { role: "status" });
  const previous = button("Previous", () => turn(-1), { disabled: true });
  const next = button("Next", () => turn(1), { disabled: true });
  const element = h(
    "section",
    { class: `list ${remove ? "checks" : ""}`, "aria-label": label },
    h("div", { class: "tools" }, field, choices, h("span", { class: "space" }), bulk, tools),
    h("div", { class: "head row", role: "group", "aria-label": "Sort" }, all && h("span", { class: "check" }, all), heads),
    rows,
    emptyNote,
    h("div", { class: "pager" }, previous, range, next),
  );
  for (const [level, shown] of WIDTHS.entries()) {
    const kept = columns.filter(({ keep }) => !keep || WIDTHS.indexOf(keep) >= level);
    element.style.setProperty(`--${shown}`, [...(remove ? ["1.1rem"] : []), ...kept.map(({ width }) => width)].join(" "));
  }
  const show = keyed(rows, key, (row) => {
    const cells = columns.map((column) => {
      const content = column.cell(row);
      const link = column.link && h("a", { href: href(row), "data-id": key(row), "aria-label": name(row) }, content);
      return h("span", { class: classes(column), title: column.title?.(row) }, link || content);
    });
    const box = remove && h("span", { class: "check" }, h("input", { type: "checkbox", checked: checked.has(key(row)), "aria-label": `Select ${name(row)}`, change: (event) => (checked[event.target.checked ? "add" : "delete"](key(row)), showChecked()) }));
    const item = h("li", { class: "row" }, box, cells);
    mark(item);
    return item;
  });
  const checked = new Set();
  let cursors = [null];
  let shown = [];
  let selected = null;
  let reveal = null; // the row to scroll into view when it is visible
  let order = {};
  let typing;
  let request = 0;

  field.addEventListener("input", () => (clearTimeout(typing), (typing = setTimeout(restart, 150))));

  const filterValues = () => ({ search: field.value.trim(), ...Object.fromEntries(choices.map((each) => [each.name, each.tagName === "SELECT" ? each.value : each.ariaPressed === "true"])) });

  const refresh = reader(async () => {
    const current = ++request;
    const filters = filterValues();
    let page;
    try {
      page = present() ? await fetch({ ...filters, ...order }, cursors.at(-1)) : { rows: [], total: 0, more: false };
    } catch (error) {
      if (cursors.length > 1) return restart(); // the cursor's object may be deleted
      if (!error.status) return; // the server is unreachable, which the header shows; keep the rows
      page = { rows: [], total: 0, more: false, problem: error };
    }
    if (current !== request) return;
    const offset = (cursors.length - 1) * size;
    shown = show(page.rows);
    for (const each of checked) if (!shown.some(({ row }) => key(row) === each)) checked.delete(each);
    showChecked();
    drawn?.();
    scroll();
    const filtered = Object.values(filters).some(Boolean);
    const message = page.problem ? failed(page.problem) : page.rows.length ? [] : offset ? ["No more rows."] : empty(filtered);
    const fingerprint = `${page.problem?.message} ${present()} ${filtered} ${page.rows.length === 0} ${offset}`;
    if (emptyNote.dataset.fingerprint !== fingerprint) emptyNote.replaceChildren(...[message].flat());
    emptyNote.dataset.fingerprint = fingerprint;
    previous.disabled = cursors.length === 1;
    next.disabled = !page.more;
    next.cursor = page.next;
    element.classList.toggle("single", previous.disabled && next.disabled);
    const total = `${count(page.total)}${page.atLeast ? " or more" : ""}`;
    range.textContent = page.rows.length ? `${count(offset + 1)}–${count(offset + page.rows.length)} of ${total}` : "";
  });

  function restart() {
    cursors = [null];
    request++;
    return refresh();
  }

  function turn(by) {
    cursors = by > 0 ? [...cursors, next.cursor] : cursors.slice(0, -1);
    request++;
    rows.scrollTo?.(0, 0);
    return refresh();
  }

  // The first click sorts names in ascending and everything else in descending order; the next click reverses the order.
  function sortBy(sort) {
    const first = sort === "name" ? "asc" : "desc";
    order = { sort, order: order.sort === sort && order.order === first ? (first === "asc" ? "desc" : "asc") : first };
    for (const each of element.querySelectorAll("[data-sort]")) {
      const isSorted = each.dataset.sort === sort;
      each.ariaPressed = String(isSorted);
      each.querySelector("i").textContent = isSorted ? { asc: " ▲", desc: " ▼" }[order.order] : "";
    }
    rows.scrollTo?.(0, 0);
    return restart();
  }

  function checkAll(on) {
    for (const { row, element } of shown) {
      checked[on ? "add" : "delete"](key(row));
      element.querySelector("input").checked = on;
    }
    showChecked();
  }

  function showChecked() {
    if (!remove) return;
    bulk.hidden = !checked.size;
    bulk.textContent = `Delete ${count(checked.size)}`;
    all.checked = checked.size > 0 && checked.size === shown.length;
    all.indeterminate = checked.size > 0 && !all.checked;
  }

  function removeChecked() {
    const chosen = shown.filter(({ row }) => checked.has(key(row)));
    ask({
      title: `Delete ${plural(chosen.length, one, many)}?`,
      action: "Delete",
      danger: true,
      async submit() {
        for (const { row } of chosen) {
          await remove(row);
          checked.delete(key(row));
        }
        attempt(refresh, `${plural(chosen.length, one, many)} deleted`);
      },
    });
  }

  const link = (item) => item.querySelector("a[data-id]");

  function mark(item) {
    const isSelected = selected !== null && link(item).dataset.id === selected;
    item.classList.toggle("selected", isSelected);
    if (isSelected) link(item).setAttribute("aria-current", "true");
    else link(item).removeAttribute("aria-current");
  }

  function scroll() {
    const row = shown.find(({ element }) => link(element).dataset.id === reveal)?.element;
    if (!row?.offsetParent) return;
    row.scrollIntoView({ block: "nearest" });
    reveal = null;
  }

  return {
    element,
    refresh,
    focus: () => field.focus(),
    // Mark the open row, or none, and scroll to it, because opening an object changes the size of the list.
    select(id) {
      reveal = id ?? selected ?? reveal;
      selected = id;
      for (const { element } of shown) mark(element);
      scroll();
    },
    // Focus the next row, or with -1 the previous row. If a row is open, open the next row instead.
    move(by) {
      const links = shown.map(({ element }) => link(element));
      const at = links.findIndex((each) => (selected === null ? each === document.activeElement : each.dataset.id === selected));
      const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by];
      next?.focus();
      next?.scrollIntoView({ block: "nearest" });
      if (selected !== null) next?.click();
    },
  };
}

const classes = ({ class: name, end, keep }) => ["cell", name, end && "end", keep && `keep-${keep}`].filter(Boolean).join(" ");
