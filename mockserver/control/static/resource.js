// The page of a resource: its list, and the open object next to it. Resources are described by data.

import { get, path, post, query, send } from "./api.js";
import { uploadControls, contents, folder } from "./contents.js";
import { ago, attempt, button, copyable, h, instant, keyed, shorten, terms } from "./dom.js";
import { list, PAGE } from "./list.js";
import { reader } from "./live.js";

// Columns of most resources

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

// Return a view for `app.js`. See `part` for the keys of `spec`.
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

// `spec` has { kind, one, many, name(row), columns, filters, row(object) } for the list; { facts(row, page), badge(row),
// actions: [{ label, title, post, done, disabled(row) }], content } for the open object; and { create(page, url),
// uploads(url), tools, within: the spec of a nested resource, example, folders: [title, (row, url) => folders] }, see
// `folder` in `contents.js`. `at(...)` returns a URL, `fragment` has the parts of the URL fragment of the resource; the open
// object is shown in `pane`.
function part(page, spec, at, fragment, pane, options = {}) {
  const { one, many = `${one}s` } = spec;
  const asRow = spec.row ?? ((object) => object);
  const create = spec.create && (() => spec.create(page, at));
  const { inputs, zones, coverOnDrag } = uploadControls(spec.uploads?.(at) ?? [], () => refresh());
  const all = list({
    label: many,
    one: one.toLowerCase(),
    search: "Search name or id",
    filters: spec.filters,
    tools: [...(spec.tools ?? []), ...inputs, create && button(`New ${one.toLowerCase()}`, create, { class: "primary" })],
    columns: spec.columns,
    key: (row) => row.id,
    name: spec.name,
    href: (row) => page.link(...fragment, row.id),
    remove: (row) => send("DELETE", at(row.id)),
    async fetch(filters, after) {
      const page = await get(at() + query({ ...filters, after, limit: options.size ?? PAGE }));
      return { rows: page.data.map(asRow), total: page.total, more: page.has_more, next: page.data.at(-1)?.id };
    },
    empty: (filtered) => (filtered ? `No ${one.toLowerCase()} matches.` : spec.example ? page.welcome(`No ${many.toLowerCase()} yet`, spec.example) : `No ${many.toLowerCase()} yet. Drop files here, or upload them.`),
    failed: page.failed,
    present: () => page.info !== null,
    drawn: () => tick(),
    size: options.size,
  });
  const area = options.area ?? all.element;
  if (inputs.length) (area.append(zones), coverOnDrag(area));
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
    let expired = false;
    for (const root of [all.element, pane]) {
      for (const each of root.querySelectorAll("[data-since]")) {
        const text = ago(Math.floor(now) - Number(each.dataset.since));
        if (each.textContent !== text) each.textContent = text;
      }
      expired = spec.tick?.(root, now) || expired;
    }
    if (expired) refresh();
  }

  function object(id) {
    const url = at(id);
    const close = () => page.go(...fragment);
    let deleted = false; // a change event may arrive before the response; do not request the deleted object
    let reading;
    const remove = async () => {
      deleted = true;
      await Promise.allSettled([reading]); // the requests that are under way, which might be handled after the deletion
      await send("DELETE", url).catch((problem) => {
        deleted = false;
        throw problem;
      });
      close();
    };
    const head = h("div", {});
    const body = h("div", { class: "object" }, head);
    const folderRows = h("div", {});
    const folders = h("section", { class: "folders", "aria-label": spec.folders?.[0], hidden: true }, h("h3", {}, spec.folders?.[0]), folderRows);
    const showFolders = keyed(folderRows, ({ name }) => name, folder);
    const inner = spec.within && h("div", { class: "file" });
    const nested = spec.within && part(page, spec.within, (...parts) => `${url}/${path(spec.within.kind, ...parts)}`, [...fragment, id], inner, { size: 20, area: body });
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
        if (deleted) return;
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
    if (nested) body.append(h("h3", {}, spec.within.many), nested.list.element, inner);
    const read = () => (reading = Promise.all([load(), nested?.refresh()]));
    read();
    return {
      id,
      element: body,
      refresh: async () => deleted || read(),
      show: (...rest) => nested?.show(...rest),
    };
  }

  return { list: all, show, refresh, tick, create };
}
