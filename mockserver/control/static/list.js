// A list that the API pages: filters, rows, one page at a time, and the keys to move in it.

import { button, count, h, keyed } from "./dom.js";
import { reader } from "./live.js";

export const PAGE = 50;

// `fetch(filters, cursor)` answers with { rows, total, more, next }; `render(row)` with what is in a row, of which
// the first link leads to the object; `empty(filtered)` with what to say where there is nothing; `present()` with
// whether there is anything to ask about.
export function list({ label, search, selects = [], actions = [], columns, present, fetch, key, render, empty, failed, drawn }) {
  const field = h("input", { type: "search", placeholder: search, "aria-label": search, autocomplete: "off", spellcheck: "false" });
  const choices = selects.map(({ name, label, options }) =>
    h("select", { name, "aria-label": label, change: () => restart() }, options.map(([value, text]) => h("option", { value }, text))),
  );
  const rows = h("ul", { class: "rows", "aria-label": label });
  const nothing = h("div", { class: "nothing" });
  const where = h("span", { role: "status" });
  const newer = button("Newer", () => turn(-1), { disabled: true });
  const older = button("Older", () => turn(1), { disabled: true });
  const element = h(
    "section",
    { class: "list", "aria-label": label },
    h("div", { class: "tools" }, field, choices, h("span", { class: "space" }), actions),
    h("div", { class: `head ${columns.class}`, "aria-hidden": "true" }, columns.names.map((name) => h("span", {}, name))),
    rows,
    nothing,
    h("div", { class: "pager" }, newer, where, older),
  );
  const show = keyed(rows, key, (row) => {
    const item = h("li", { class: columns.class }, render(row));
    mark(item);
    return item;
  });
  let cursors = [null];
  let shown = [];
  let selected = null;
  let typing;
  let request = 0;

  field.addEventListener("input", () => (clearTimeout(typing), (typing = setTimeout(restart, 150))));

  const filters = () => ({ search: field.value.trim(), ...Object.fromEntries(choices.map((each) => [each.name, each.value])) });

  const refresh = reader(async () => {
    const mine = ++request;
    const asked = filters();
    let page;
    try {
      page = present() ? await fetch(asked, cursors.at(-1)) : { rows: [], total: 0, more: false };
    } catch (error) {
      if (cursors.length > 1) return restart(); // what the page started behind may be gone
      if (!error.status) return; // the server can't be reached, which the page shows; the list stays
      page = { rows: [], total: 0, more: false, problem: error };
    }
    if (mine !== request) return;
    const behind = (cursors.length - 1) * PAGE;
    shown = show(page.rows);
    drawn?.();
    const filtered = Object.values(asked).some(Boolean);
    const said = page.problem ? failed(page.problem) : page.rows.length ? [] : behind ? ["Nothing further."] : empty(filtered);
    const print = `${page.problem?.message} ${present()} ${filtered} ${page.rows.length === 0} ${behind}`;
    if (nothing.dataset.print !== print) nothing.replaceChildren(...[said].flat());
    nothing.dataset.print = print;
    newer.disabled = cursors.length === 1;
    older.disabled = !page.more;
    older.next = page.next;
    const total = `${count(page.total)}${page.atLeast ? " or more" : ""}`;
    where.textContent = page.rows.length ? `${count(behind + 1)}–${count(behind + page.rows.length)} of ${total}` : "";
  });

  function restart() {
    cursors = [null];
    request++;
    return refresh();
  }

  function turn(by) {
    cursors = by > 0 ? [...cursors, older.next] : cursors.slice(0, -1);
    request++;
    rows.scrollTo?.(0, 0);
    return refresh();
  }

  const link = (item) => item.querySelector("a");

  function mark(item) {
    const is = selected !== null && link(item).dataset.id === selected;
    item.classList.toggle("selected", is);
    if (is) link(item).setAttribute("aria-current", "true");
    else link(item).removeAttribute("aria-current");
  }

  return {
    element,
    refresh,
    shown: () => shown,
    focus: () => field.focus(),
    select(id) {
      selected = id;
      for (const { element } of shown) mark(element);
    },
    // The next row, or with -1 the one before: to read it if one is being read, else to stand on it.
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
