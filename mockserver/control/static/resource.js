// The page of a resource: its list, and beside it the object that is open. What differs between resources is data.

import { get, path, post, query, send } from "./api.js";
import { bringing, contents, folder } from "./contents.js";
import { ago, attempt, button, copyable, h, instant, keyed, shorten, terms } from "./dom.js";
import { list, PAGE } from "./list.js";
import { reader } from "./live.js";

// Columns that most resources have

export const nameColumn = (name, cell = name, title = name) => ({ name: "Name", width: "minmax(3.5rem, 1.5fr)", link: true, sort: "name", class: "name", cell, title });
export const idColumn = { name: "Id", width: "9.5rem", keep: "wide", class: "id", cell: (row) => copyable(row.id, "Id", shorten(row.id)) };
export const ageColumn = (name, field, more = {}) => ({
  name,
  width: "4.8rem",
  end: true,
  class: "quiet",
  cell: (row) => h("time", { "data-since": row[field], title: `${instant(row[field])} UTC` }),
  ...more,
});

export const time = (seconds) => `${instant(seconds)} UTC`;

// A view of the kind that `app.js` shows. See `part` for what a resource is.
export const resource = (spec) => (page) => {
  const pane = h("aside", { class: "pane", "aria-label": spec.one });
  const shown = part(page, spec, (...parts) => path("worlds", page.world, spec.kind, ...parts), [spec.kind], pane);
  const element = h("div", { class: "split" }, shown.list.element, pane);
  return {
    element,
    list: shown.list,
    create: shown.create,
    show(id, ...rest) {
      element.classList.toggle("open", Boolean(id));
      shown.show(id, ...rest);
    },
    async changed(kinds) {
      if (kinds.has(spec.kind)) await shown.refresh();
    },
    tick: shown.tick,
  };
};

// A resource is data: { kind, one, many, name(row), columns, filters, row(object) } for the list; for the object that
// is open { facts(row, page), badge(row), actions: [{ label, title, post, done, disabled(row) }], content }; and
// { create(page, url), uploads(url), tools, within: a resource inside of the object, example };
// { folders: [title, (row, url) => folders] }, see `folder` in `contents.js`.
// `at(...)` is its URL, `place` the parts of the fragment that lead to it; the open object is shown in `pane`.
function part(page, spec, at, place, pane, options = {}) {
  const { one, many = `${one}s` } = spec;
  const asRow = spec.row ?? ((object) => object);
  const create = spec.create && (() => spec.create(page, at));
  const { inputs, zones, over } = bringing(spec.uploads?.(at) ?? [], () => refresh());
  const all = list({
    label: many,
    one: one.toLowerCase(),
    search: "Search name or id",
    filters: spec.filters,
    tools: [...(spec.tools ?? []), ...inputs, create && button(`New ${one.toLowerCase()}`, create, { class: "primary" })],
    columns: spec.columns,
    key: (row) => row.id,
    name: spec.name,
    href: (row) => page.link(...place, row.id),
    remove: (row) => send("DELETE", at(row.id)),
    async fetch(asked, after) {
      const found = await get(at() + query({ ...asked, after, limit: options.size ?? PAGE }));
      return { rows: found.data.map(asRow), total: found.total, more: found.has_more, next: found.data.at(-1)?.id };
    },
    empty: (filtered) => (filtered ? `No ${one.toLowerCase()} matches.` : spec.example ? page.welcome(`No ${many.toLowerCase()} yet`, spec.example) : `No ${many.toLowerCase()} yet. Drop files here, or upload them.`),
    failed: page.failed,
    present: () => page.info !== null,
    drawn: () => tick(),
    size: options.size,
  });
  const area = options.area ?? all.element;
  if (inputs.length) (area.append(zones), over(area));
  let open = null;

  const refresh = () => Promise.all([all.refresh(), open?.refresh()]);

  function show(id, ...rest) {
    all.select(id ?? null);
    if (!id) (pane.replaceChildren(), (open = null));
    else if (open?.id !== id) {
      open = object(id);
      pane.replaceChildren(open.element);
      pane.scrollTop = 0;
    }
    open?.show(...rest);
  }

  function tick() {
    if (!page.known) return;
    const now = page.clock.now();
    let passed = false;
    for (const root of [all.element, pane]) {
      for (const each of root.querySelectorAll("[data-since]")) {
        const text = ago(Math.floor(now) - Number(each.dataset.since));
        if (each.textContent !== text) each.textContent = text;
      }
      passed = spec.tick?.(root, now) || passed;
    }
    if (passed) refresh();
  }

  function object(id) {
    const url = at(id);
    const close = () => page.go(...place);
    let deleted = false; // a change may arrive before the response, and must not read what is gone
    const remove = async () => {
      deleted = true;
      await send("DELETE", url).catch((problem) => {
        deleted = false;
        throw problem;
      });
      close();
    };
    const head = h("div", {});
    const body = h("div", { class: "object" }, head);
    const inFolders = h("div", {});
    const folders = h("section", { class: "folders", "aria-label": spec.folders?.[0], hidden: true }, h("h3", {}, spec.folders?.[0]), inFolders);
    const showFolders = keyed(inFolders, ({ name }) => name, folder);
    const inner = spec.within && h("div", { class: "file" });
    const inside = spec.within && part(page, spec.within, (...parts) => `${url}/${path(spec.within.kind, ...parts)}`, [...place, id], inner, { size: 20, area: body });
    const showHead = keyed(head, () => id, (row) =>
      h(
        "div",
        {},
        h(
          "div",
          { class: "title" },
          spec.badge?.(row),
          h("h2", { title: spec.name(row) }, spec.title?.(row) ?? spec.name(row)),
          h(
            "span",
            { class: "acts" },
            spec.content && h("a", { class: "button", href: `${url}/content`, download: "" }, "Download"),
            spec.actions?.map(({ label, title, done, disabled, ...action }) => button(label, () => attempt(() => post(`${url}/${action.post}`), done), { title, disabled: disabled?.(row) })),
            button("Delete", () => attempt(remove, `${one} deleted`), { class: "danger" }),
          ),
          button("✕", close, { class: "plain", "aria-label": `Close the ${one.toLowerCase()} (Escape)`, title: "Close (Escape)" }),
        ),
        terms([["Id", copyable(row.id, "Id")], ...spec.facts(row, page)]),
      ),
    );
    const load = reader(async () => {
      try {
        const row = asRow(await get(url));
        showHead([row]);
        if (spec.folders) folders.hidden = !showFolders(spec.folders[1](row, url)).length;
        if (spec.content && !body.querySelector(".preview")) {
          body.append(contents(url, spec.name(row)));
          if (options.area) body.scrollIntoView({ block: "nearest" });
        }
        tick();
      } catch (error) {
        if (open?.id === id) body.replaceChildren(h("p", { class: "problem" }, error.message), button("Close", close));
      }
    });
    if (spec.folders) body.append(folders);
    if (inside) body.append(h("h3", {}, spec.within.many), inside.list.element, inner);
    load();
    inside?.refresh();
    return {
      id,
      element: body,
      refresh: async () => deleted || Promise.all([load(), inside?.refresh()]),
      show: (...rest) => inside?.show(...rest),
    };
  }

  return { list: all, show, refresh, tick, create };
}
