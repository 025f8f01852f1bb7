// A world as a whole: the verdict on its clients, its snapshots, and what changes all of it; and which worlds there are.

import { get, path, post, put, query, remove, send } from "./api.js";
import { ago, ask, attempt, button, copyable, count, h, instant, keyed, plural } from "./dom.js";
import { reader } from "./live.js";

export const NAME = "1 to 64 letters, digits, dots, underscores or hyphens";

export function world(page) {
  const at = (...parts) => path("worlds", page.world, ...parts);
  const judged = h("div", { class: "card", "aria-live": "polite" });
  const facts = h("dl", {});
  const rows = h("ul", { class: "rows", "aria-label": "Snapshots" });
  const nothing = h("p", { class: "quiet" });
  const keep = button("Take a snapshot", take, { class: "primary" });
  const make = button("Make the world now", () => attempt(() => post(at()), "Made, as the seeds describe it"), { class: "primary" });
  const copies = h("span", { class: "acts" }, button("Fork", () => fork()), h("a", { class: "button", href: at("export"), download: "" }, "Export"));
  const ends = h("span", { class: "acts" }, button("Reset", reset, { class: "danger" }), button("Delete world", drop, { class: "danger" }));
  const element = h(
    "section",
    { class: "plain-view waiting", "aria-label": "World" },
    h("div", { class: "tools" }, h("h2", {}, "Verdict"), h("span", { class: "space" }), button("Judge again", () => verdict())),
    judged,
    h("div", { class: "tools" }, h("h2", {}, "Snapshots"), h("span", { class: "space" }), keep),
    rows,
    nothing,
    h("div", { class: "tools" }, h("h2", {}, "State")),
    facts,
    h("div", { class: "tools" }, make, copies, button("Import", bring), button("Profile", profile), ends),
  );

  const showSnapshots = keyed(rows, (row) => row.name, (row) =>
    h(
      "li",
      { class: "c-snapshots" },
      h("span", { class: "name" }, h("b", {}, row.name)),
      h("time", { title: "By the world’s clock" }, row.instant === null ? "unreadable" : `${instant(row.instant)} UTC`),
      h(
        "span",
        { class: "acts" },
        button("Restore", () => attempt(() => post(at("snapshots", row.name, "restore")), `Restored ${row.name}`), { "aria-label": `Restore ${row.name}` }),
        button("Fork", () => fork(row.name), { "aria-label": `Fork ${row.name}` }),
        button("Delete", () => attempt(() => remove(at("snapshots", row.name)), "Snapshot deleted"), { "aria-label": `Delete snapshot ${row.name}` }),
      ),
    ),
  );

  const verdict = reader(async () => {
    try {
      const { ok, findings } = page.info ? await get(at("verdict")) : { ok: true, findings: [] };
      judged.className = `card ${ok ? "good" : "bad"}`;
      judged.replaceChildren(
        ok ? h("p", {}, h("b", {}, "Nothing to object to. "), "By the journal, clients did nothing wrong so far.") : h("p", {}, h("b", {}, `${plural(findings.length, "finding")}. `), "By the journal, this is what clients did wrong:"),
        h(
          "ul",
          { class: "findings" },
          findings.map(({ name, message, exchanges }) =>
            h("li", {}, h("b", {}, name), h("p", {}, message), h("p", { class: "quiet" }, "Proved by ", exchanges.slice(0, 20).flatMap((number) => [h("a", { href: page.link("journal", number) }, `#${number}`), " "]), exchanges.length > 20 && `and ${exchanges.length - 20} more`)),
          ),
        ),
      );
    } catch (error) {
      judged.replaceChildren(...[page.failed(error)].flat());
    }
  });

  const refresh = reader(async () => {
    const info = page.info;
    const { data } = info ? await get(at("snapshots")).catch(() => ({ data: [] })) : { data: [] };
    showSnapshots(data);
    make.hidden = Boolean(info);
    keep.disabled = copies.hidden = ends.hidden = !info;
    nothing.textContent = data.length ? "" : "None yet. A snapshot keeps objects, clock, profile, ids to come and faults, to go back to.";
    const held = info?.counts;
    facts.replaceChildren(
      ...[
        ["Base URL", copyable(`${page.origin}/w/${page.world}/v1`, "Base URL")],
        ["API key", copyable(info?.api_key ?? `sk-world-${page.world}`, "API key")],
        ["Holds", held ? `${plural(held.containers, "container")} with ${plural(held.container_files, "file")}, ${plural(held.files, "File")}` : info ? info.error : "nothing; it is created on its first use"],
        ["Profile", info?.profile_name?.replaceAll(",", ", ") ?? "the server’s"],
      ].flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
    );
  });

  function take() {
    const snapshot = `at-${instant(page.clock.now()).slice(11).replaceAll(":", "")}`;
    ask({ title: "Take a snapshot", fields: [{ name: "name", label: "Name", value: snapshot, required: true }], action: "Take", submit: ({ name }) => put(at("snapshots", name)) });
  }

  function fork(snapshot) {
    ask({
      title: snapshot ? `Fork the snapshot ${snapshot}` : `Fork ${page.world}`,
      text: "Another world with the same state, and a future of its own.",
      fields: [{ name: "name", label: `Name of the new world: ${NAME}`, value: `${page.world}-2`, required: true }],
      action: "Fork",
      async submit({ name }) {
        await post(path("worlds", name), { fork_of: page.world, ...(snapshot ? { snapshot } : {}) });
        page.enter(name);
      },
    });
  }

  function bring() {
    ask({
      title: `Import into ${page.world}`,
      text: "An archive that Export wrote, or a seed file (YAML or JSON) that names no other files.",
      fields: [{ name: "files", label: "File", type: "file", required: true }, { name: "replace", label: "Replace what is there", type: "checkbox", value: true }],
      action: "Import",
      submit: ({ files, replace }) => send("POST", at("import") + query({ replace: String(replace) }), files[0]),
    });
  }

  function profile() {
    ask({
      title: "Profile",
      text: "How to behave where the live API, its documentation and the SDKs’ own tests disagree.",
      fields: [
        { name: "name", label: "Profile", options: [["", "the server’s"], ["default", "default: let in what documentation shows"], ["live", "live: refuse what the live API refuses"], ["docs", "docs: show what older pages show"], ["contract", "contract: take what the SDKs’ own tests send"]] },
        { name: "switches", label: "With switches, as delete_lag=5m,zeros=yes" },
      ],
      action: "Set",
      submit: ({ name, switches }) => put(at("profile"), { name: [name, switches].filter(Boolean).join(",") || null }),
    });
  }

  function reset() {
    ask({
      title: `Reset ${page.world}?`,
      text: "Objects, clock, faults and journal go. What the seeds describe comes back.",
      fields: [{ name: "empty", label: "Leave it empty, without what the seeds describe", type: "checkbox" }],
      action: "Reset",
      danger: true,
      submit: ({ empty }) => post(at("reset") + query({ empty: String(empty) })),
    });
  }

  function drop() {
    ask({
      title: `Delete ${page.world}?`,
      text: "With its snapshots. Its next use creates a new one.",
      action: "Delete",
      danger: true,
      async submit() {
        await remove(at());
        page.enter("default");
      },
    });
  }

  return {
    element,
    show() {},
    async changed(kinds) {
      await Promise.all([
        (kinds.has("snapshots") || kinds.has("worlds")) && refresh(),
        (kinds.has("journal") || kinds.has("containers")) && verdict(),
      ]);
      element.classList.remove("waiting");
    },
    tick() {},
  };
}

// The worlds that there are, to switch to; or a new one.
export function switcher(page) {
  const search = h("input", { type: "search", placeholder: "Search worlds, or name a new one", "aria-label": "Search worlds, or name a new one", autocomplete: "off", input: () => refresh() });
  const rows = h("ul", { class: "rows", "aria-label": "Worlds" });
  const rest = h("p", { class: "quiet" });
  const dialog = h(
    "dialog",
    { class: "switcher", "aria-label": "Worlds" },
    h("form", { submit: (event) => (event.preventDefault(), chooseFound()) }, search),
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
      show(data.map(({ name, counts, clock, used_at }) => ({ name, counts, clock: clock?.mode, used: used_at ? `${ago(Date.now() / 1000 - used_at)} ago`.replace("now ago", "just now") : "" })));
      rest.textContent = total > data.length ? `${count(data.length)} of ${count(total)}, those used last. Search for the others.` : total ? "" : "No world is called so.";
    });
  });

  // What is shown may be of an earlier search than the one that Enter ends.
  async function chooseFound() {
    await refresh();
    const wanted = search.value.trim();
    const found = [...rows.querySelectorAll("button")].map((each) => each.dataset.name);
    choose(found.includes(wanted) ? wanted : found[0] ?? wanted);
  }

  function choose(name) {
    dialog.close();
    if (name) page.enter(name);
  }

  function create() {
    dialog.close();
    ask({
      title: "New world",
      fields: [{ name: "name", label: `Name: ${NAME}`, value: search.value.trim(), required: true }, { name: "empty", label: "Leave it empty, without what the seeds describe", type: "checkbox" }],
      action: "Make it",
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
