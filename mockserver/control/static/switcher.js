// The list of worlds: switch to one, or create one.

import { get, path, post, query } from "./api.js";
import { ago, ask, attempt, button, count, h, keyed, plural } from "./dom.js";
import { reader } from "./live.js";
import { NAME } from "./world.js";

export function switcher(page) {
  const search = h("input", { type: "search", placeholder: "Search worlds, or name a new one", "aria-label": "Search worlds, or name a new one", autocomplete: "off", input: () => refresh() });
  const rows = h("ul", { class: "rows", "aria-label": "Worlds" });
  const rest = h("p", { class: "quiet" });
  const dialog = h(
    "dialog",
    { class: "switcher", "aria-label": "Worlds" },
    h("form", { submit: (event) => (event.preventDefault(), chooseFirst()) }, search),
    rows,
    rest,
    h("div", { class: "actions" }, button("Close", () => dialog.close()), button("New world", create, { class: "primary" })),
  );
  const show = keyed(rows, (row) => row.name, ({ name, counts, clock, used }) =>
    h(
      "li",
      {},
      button(
        [h("b", {}, name), h("span", { class: "quiet" }, `${counts ? `${plural(counts.containers, "container")}, ${plural(counts.container_files + counts.files, "file")}${clock === "real" ? "" : `, ${clock}`}` : "can't be used"}`), h("span", { class: "quiet" }, used)],
        () => choose(name),
        { "data-name": name, "aria-current": name === page.world ? "true" : null },
      ),
    ),
  );
  const refresh = reader(async () => {
    await attempt(async () => {
      const { data, total } = await get(path("worlds") + query({ search: search.value.trim(), limit: 30 }));
      show(data.map(({ name, counts, clock, used_at }) => ({ name, counts, clock: clock?.mode, used: used_at ? `used ${ago(Date.now() / 1000 - used_at)} ago`.replace("now ago", "just now") : "" })));
      rest.textContent = total > data.length ? `The ${count(data.length)} of ${count(total)} worlds that were used last. Search for the others.` : total ? "" : "No world has this name.";
    });
  });

  // Refresh first, because the rows may belong to an earlier search when Enter is pressed.
  async function chooseFirst() {
    await refresh();
    const name = search.value.trim();
    const names = [...rows.querySelectorAll("button")].map((each) => each.dataset.name);
    choose(names.includes(name) ? name : names[0] ?? name);
  }

  function choose(name) {
    dialog.close();
    if (name) page.enter(name);
  }

  function create() {
    dialog.close();
    ask({
      title: "New world",
      fields: [{ name: "name", label: `Name: ${NAME}`, value: search.value.trim(), required: true }, { name: "empty", label: "Leave it empty, without the objects of the seeds", type: "checkbox" }],
      action: "Create",
      async submit({ name, empty }) {
        await post(path("worlds", name), { empty });
        page.enter(name);
      },
    });
  }

  document.body.append(dialog);
  return {
    open() {
      search.value = "";
      dialog.showModal();
      search.focus();
      refresh();
    },
    changed: () => dialog.open && refresh(),
  };
}
