// The world: snapshots, profile, and actions on the whole world.

import { get, path, post, put, query, remove, send } from "./api.js";
import { ask, attempt, button, copyable, count, h, instant, keyed, plural, terms } from "./dom.js";
import { KEY, PROFILES, SERVER_PROFILE, SWITCHES } from "./facts.js";
import { reader } from "./live.js";

export const NAME = "1 to 64 letters, digits, dots, underscores or hyphens";

// The number of objects by kind. Nested kinds are shown with their parent: `container_files` with containers.
function countTerms(counts) {
  const nested = (kind) => Object.keys(counts).filter((name) => name.startsWith(`${kind.slice(0, -1)}_`));
  const kinds = Object.keys(counts).filter((name) => !Object.keys(counts).some((kind) => nested(kind).includes(name)));
  const describe = (kind) => [count(counts[kind]), ...nested(kind).filter((name) => counts[name]).map((name) => plural(counts[name], name.split("_")[1].slice(0, -1)))];
  return kinds.map((kind) => [kind[0].toUpperCase() + kind.slice(1), describe(kind).join(" with ")]);
}

export function world(page) {
  const at = (...parts) => path("worlds", page.world, ...parts);
  const facts = h("div", { class: "facts" });
  const rows = h("ul", { class: "rows", "aria-label": "Snapshots" });
  const emptyNote = h("p", { class: "quiet nothing" });
  const snapshotButton = button("Take a snapshot", take, { class: "primary" });
  const createButton = button("Create the world", () => attempt(() => post(at()), "Created from the seeds"), { class: "primary" });
  const copies = h("span", { class: "acts" }, button("Fork", () => fork()), h("a", { class: "button", href: at("export"), download: "" }, "Export"));
  const destructive = h("span", { class: "acts" }, button("Reset", reset, { class: "danger" }), button("Delete world", deleteWorld, { class: "danger" }));
  const element = h(
    "section",
    { class: "plain-view waiting", "aria-label": "World" },
    h("div", { class: "tools" }, h("h2", {}, "World")),
    facts,
    h("div", { class: "tools" }, createButton, copies, button("Import", importFile), button("Profile", profile), destructive),
    h("div", { class: "tools" }, h("h2", {}, "Snapshots"), h("span", { class: "space" }), snapshotButton),
    h("div", { class: "head c-snapshots", "aria-hidden": "true" }, h("span", {}, "Name"), h("span", {}, "World’s time"), h("span", {})),
    rows,
    emptyNote,
  );

  const showSnapshots = keyed(rows, (row) => row.name, (row) =>
    h(
      "li",
      { class: "c-snapshots" },
      h("b", {}, row.name),
      h("time", { class: "quiet", title: "By the world’s clock" }, row.instant === null ? "unreadable" : `${instant(row.instant)} UTC`),
      h(
        "span",
        { class: "acts" },
        button("Restore", () => attempt(() => post(at("snapshots", row.name, "restore")), `Restored ${row.name}`), { "aria-label": `Restore ${row.name}` }),
        button("Fork", () => fork(row.name), { "aria-label": `Fork ${row.name}` }),
        button("Delete", () => attempt(() => remove(at("snapshots", row.name)), "Snapshot deleted"), { "aria-label": `Delete snapshot ${row.name}` }),
      ),
    ),
  );

  const refresh = reader(async () => {
    const info = page.info;
    const { data } = info ? await get(at("snapshots")).catch(() => ({ data: [] })) : { data: [] };
    showSnapshots(data);
    createButton.hidden = Boolean(info);
    snapshotButton.disabled = copies.hidden = destructive.hidden = !info;
    emptyNote.textContent = data.length ? "" : "No snapshots yet. A snapshot keeps objects, clock, profile, future ids and faults, so that you can return to them.";
    const [base, ...switches] = info?.profile_name?.split(",") ?? [];
    facts.replaceChildren(
      terms([
        ["Base URL", copyable(`${page.server}/w/${page.world}/v1`, "Base URL")],
        ["API key", copyable(info?.api_key ?? `${KEY}-world-${page.world}`, "API key")],
        ...countTerms(info?.counts ?? {}),
        !info && ["State", "It does not exist yet. Its first use creates it."],
        info?.error && ["State", h("span", { class: "problem" }, info.error)],
        base && ["Profile", base],
        switches.length > 0 && ["Switches", switches.flatMap((each) => [h("span", { class: "pill" }, each.replace("=", " = ")), " "])],
      ]),
    );
  });

  function take() {
    const snapshot = `at-${instant(page.clock.now()).slice(11).replaceAll(":", "")}`;
    ask({ title: "Take a snapshot", fields: [{ name: "name", label: "Name", value: snapshot, required: true }], action: "Take", submit: ({ name }) => put(at("snapshots", name)) });
  }

  function fork(snapshot) {
    ask({
      title: snapshot ? `Fork the snapshot ${snapshot}` : `Fork ${page.world}`,
      text: "Create another world with the same state.",
      fields: [{ name: "name", label: `Name of the new world: ${NAME}`, value: `${page.world}-2`, required: true }],
      action: "Fork",
      async submit({ name }) {
        await post(path("worlds", name), { fork_of: page.world, ...(snapshot ? { snapshot } : {}) });
        page.enter(name);
      },
    });
  }

  function importFile() {
    ask({
      title: `Import into ${page.world}`,
      text: "An archive from Export, or a seed file (YAML or JSON) that names no other files.",
      fields: [{ name: "files", label: "File", type: "file", required: true }, { name: "replace", label: "Replace the present objects", type: "checkbox", value: true }],
      action: "Import",
      submit: ({ files, replace }) => send("POST", at("import") + query({ replace: String(replace) }), files[0]),
    });
  }

  // A control for each switch, by the kind of its value. Choosing a profile sets all controls to its values.
  function profile() {
    const values = { "": SERVER_PROFILE, ...PROFILES };
    const current = page.info?.profile ?? SERVER_PROFILE;
    const [base, ...overrides] = page.info?.profile_name?.split(",") ?? [""];
    let touched = overrides.length > 0;
    const kind = (takes) => {
      if (takes === "yes, no") return { type: "checkbox" };
      if (takes.includes(", ")) return { options: takes.split(", ").map((each) => [each, each]) };
      return takes === "a duration" ? { type: "duration" } : { type: "number", min: 1, required: true };
    };
    const field = ({ name, meaning, takes }) => ({ name, label: name.replaceAll("_", " "), hint: meaning.replaceAll("`", ""), value: takes.includes(", ") && takes !== "yes, no" ? String(current[name]) : current[name], ...kind(takes) });
    ask({
      title: "Profile",
      text: "How the server behaves where the live API, its documentation and the SDKs’ own tests disagree.",
      wide: true,
      fields: [
        { name: "base", label: "Profile", hint: "live: reject what the live API rejects. docs: show what older pages show. contract: accept what the SDKs’ own tests send.", value: base, options: Object.keys(values).map((each) => [each, each || "the server’s"]) },
        ...SWITCHES.map(field),
      ],
      action: "Set",
      changed(inputs, name) {
        if (name) touched = name !== "base";
        if (name !== "base") return;
        for (const [each, value] of Object.entries(values[inputs.base.value])) {
          const input = inputs[each];
          if (input.type === "checkbox") input.checked = value;
          else if (input.matches(".duration-field")) [input.children[0].value, input.children[1].value] = [value, "s"];
          else input.value = value;
        }
      },
      submit: ({ base, ...switches }) => put(at("profile"), { name: base || null, switches: touched ? switches : {} }),
    });
  }

  function reset() {
    ask({
      title: `Reset ${page.world}?`,
      text: "This deletes objects, clock, faults and journal, and creates the objects of the seeds again.",
      fields: [{ name: "empty", label: "Leave it empty, without the objects of the seeds", type: "checkbox" }],
      action: "Reset",
      danger: true,
      submit: ({ empty }) => post(at("reset") + query({ empty: String(empty) })),
    });
  }

  function deleteWorld() {
    ask({
      title: `Delete ${page.world}?`,
      text: "This deletes its snapshots too. Its next use creates a new world.",
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
      if (["snapshots", "worlds", "answers"].some((kind) => kinds.has(kind))) await refresh();
      element.classList.remove("waiting");
    },
    tick() {},
  };
}
