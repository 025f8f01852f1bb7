// Files of the Files API.

import { get, path, query } from "./api.js";
import { about, bringing, facts, upload } from "./contents.js";
import { ago, copyable, h, instant, size } from "./dom.js";
import { list, PAGE } from "./list.js";

const PURPOSES = ["user_data", "assistants", "assistants_output", "batch", "batch_output", "evals", "fine-tune", "vision"];

export function files(page) {
  const at = (...parts) => path("worlds", page.world, "files", ...parts);
  const purpose = h("select", { "aria-label": "Purpose of uploads" }, PURPOSES.map((each) => h("option", { value: each }, each)));
  const { inputs, zones, over } = bringing([["Upload", (file) => upload(at(), file, { purpose: purpose.value })]], () => all.refresh());
  const all = list({
    label: "Files",
    search: "Search name or id",
    selects: [{ name: "purpose", label: "Purpose", options: [["", "Any purpose"], ...PURPOSES.map((each) => [each, each])] }],
    actions: [h("label", { class: "as" }, h("span", {}, "as "), purpose), ...inputs],
    columns: { class: "c-files", names: ["Name", "Purpose", "Size", "Age"] },
    async fetch({ search, purpose }, after) {
      const found = await get(at() + query({ search, purpose, after, limit: PAGE }));
      return { rows: found.data, total: found.total, more: found.has_more, next: found.data.at(-1)?.id };
    },
    key: (row) => row.id,
    render: (row) => [
      h("span", { class: "name" }, h("a", { href: page.link("files", row.id), "data-id": row.id, title: row.filename }, row.filename), copyable(row.id, "Id")),
      h("span", { class: "purpose" }, row.purpose),
      h("span", { class: "size" }, size(row.bytes)),
      h("time", { class: "age", "data-since": row.created_at, title: `${instant(row.created_at)} UTC` }),
    ],
    empty: (filtered) => (filtered ? "No File matches." : page.welcome("No Files yet", "Drop some here, or point your code at the server:")),
    failed: page.failed,
    present: () => page.info !== null,
    drawn: () => tick(),
  });
  const pane = h("aside", { class: "pane", "aria-label": "File" });
  all.element.append(zones);
  over(all.element);
  const element = h("div", { class: "split" }, all.element, pane);
  let open = null;

  async function show(id) {
    element.classList.toggle("open", Boolean(id));
    all.select(id ?? null);
    if (open === id) return;
    open = id;
    if (!id) return pane.replaceChildren();
    const url = at(id);
    const close = () => page.go("files");
    try {
      const file = await get(url);
      if (open !== id) return;
      const expiry = file.expires_at ? [["Expires", `${instant(file.expires_at)} UTC`]] : [];
      pane.replaceChildren(h("div", { class: "file" }, ...about({ url, name: file.filename, close, removed: close, facts: [["Purpose", file.purpose], ...facts(file), ...expiry] })));
    } catch (error) {
      pane.replaceChildren(h("p", { class: "problem" }, error.message));
    }
  }

  function tick() {
    if (!page.known) return;
    const now = Math.floor(page.clock.now());
    for (const each of element.querySelectorAll("[data-since]")) each.textContent = ago(now - Number(each.dataset.since));
  }

  return {
    element,
    list: all,
    show,
    async changed(kinds) {
      if (!kinds.has("files")) return;
      await all.refresh();
    },
    tick,
  };
}
