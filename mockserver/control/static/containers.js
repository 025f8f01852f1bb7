// Containers: what runs, how long it still has, and what is in it.

import { get, path, post, query, remove } from "./api.js";
import { about, base, bringing, facts, upload } from "./contents.js";
import { ago, ask, attempt, button, copyable, h, hidden, instant, keyed, left, plural, size, svg } from "./dom.js";
import { list, PAGE } from "./list.js";
import { reader } from "./live.js";

const LITTLE = 0.25; // of its time

// When it expires, by the world's clock; and how long it may be left alone.
const span = (row) => (row.expires_after?.minutes ?? 0) * 60;
const deadline = (row) => (row.never ? Infinity : row[row.expires_after?.anchor ?? "last_active_at"] + span(row));
// What the time that it has left says is left to the clock, so that a row stays as it is until something happens.
const timeless = ({ expires_in, ...row }) => ({ ...row, never: expires_in === null });
const network = (row) => row.network_policy?.type ?? "default";

const before = (path) => path.slice(0, path.length - base(path).length).replace(/^\/mnt\/data\//, "").replace(/[\w-]{20,}(?=-$)/, "…");

const NETWORK = { default: "default network", disabled: "no network", allowlist: "allowlist" };

export function containers(page) {
  const at = (...parts) => path("worlds", page.world, "containers", ...parts);
  const here = (...parts) => page.link("containers", ...parts);

  const all = list({
    label: "Containers",
    search: "Search name or id",
    selects: [{ name: "status", label: "Status", options: [["", "Any status"], ["running", "Running"], ["expired", "Expired"]] }],
    actions: [button("New container", create, { class: "primary" })],
    columns: { class: "c-containers", names: ["", "Name", "Status", "Files", "Size", "Memory", "Network", "Active"] },
    async fetch({ search, status }, after) {
      const found = await get(at() + query({ search, status, after, limit: PAGE }));
      const rows = found.data.map(timeless);
      return { rows, total: found.total, more: found.has_more, next: rows.at(-1)?.id };
    },
    key: (row) => row.id,
    render: (row) => [
      ring(row),
      h("span", { class: "name" }, h("a", { href: here(row.id), "data-id": row.id, title: row.name }, row.name), copyable(row.id, "Id")),
      h("span", { class: "status" }, h("span", { class: `pill ${row.status}` }, row.status)),
      h("span", { class: "files" }, plural(row.file_count, "file")),
      h("span", { class: "size" }, size(row.total_bytes)),
      h("span", { class: "memory" }, hidden("memory "), row.memory_limit ?? "1g"),
      h("span", { class: "network" }, hidden("network "), network(row)),
      h("time", { class: "age", "data-since": row.last_active_at, title: `Created ${instant(row.created_at)} UTC, last active ${instant(row.last_active_at)} UTC` }),
    ],
    empty: (filtered) => (filtered ? "No container matches." : page.welcome("No containers yet")),
    failed: page.failed,
    present: () => page.info !== null,
    drawn: () => tick(),
  });

  const pane = h("aside", { class: "pane", "aria-label": "Container" });
  const element = h("div", { class: "split" }, all.element, pane);
  let open = null; // what the pane shows

  // The ring runs down as the time does; the text beside it says it in numbers.
  function ring(row) {
    const round = { cx: 12, cy: 12, r: 9, fill: "none", pathLength: 100 };
    return h(
      "span",
      { class: "ring", "data-deadline": deadline(row), "data-span": span(row), "data-status": row.status },
      svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("circle", { ...round, class: "track" }), svg("circle", { ...round, class: "arc" })),
      h("span", { class: "left" }),
    );
  }

  function tick() {
    if (!page.known) return;
    const now = page.clock.now();
    let passed = false;
    for (const each of element.querySelectorAll(".ring")) {
      const remaining = Number(each.dataset.deadline) - now;
      const never = remaining === Infinity;
      const part = never ? 1 : Math.max(0, Math.min(1, remaining / Number(each.dataset.span)));
      const over = remaining <= 0 || each.dataset.status === "expired";
      if (over && each.dataset.status === "running") passed = true;
      const state = over ? "over" : part < LITTLE ? "little" : "fine";
      each.className = `ring ${state}`;
      each.querySelector(".arc").setAttribute("stroke-dasharray", `${over ? 0 : (part * 100).toFixed(1)} 100`);
      const text = over ? "expired" : never ? "no end" : left(Math.ceil(remaining));
      const label = each.querySelector(".left");
      if (label.textContent !== text) label.textContent = text;
      each.title = over ? "Expired" : never ? "It never expires" : `${text} left${state === "little" ? ", not much" : ""}`;
    }
    for (const each of element.querySelectorAll("[data-since]")) {
      const text = ago(Math.floor(now) - Number(each.dataset.since));
      if (each.textContent !== text) each.textContent = text;
    }
    if (passed) all.refresh();
    if (passed && open) open.refresh();
  }

  function create() {
    ask({
      title: "New container",
      fields: [
        { name: "name", label: "Name", value: "analysis", required: true },
        { name: "memory_limit", label: "Memory limit", options: ["1g", "4g", "16g", "64g"].map((each) => [each, each]) },
        { name: "network", label: "Network", options: [["", "default"], ["disabled", "disabled"]] },
        { name: "minutes", label: "Expires after so many minutes without use", type: "number", value: "20" },
      ],
      action: "Create",
      async submit({ name, memory_limit, network, minutes }) {
        const policy = network ? { network_policy: { type: network } } : {};
        const expires_after = { anchor: "last_active_at", minutes: Number(minutes) };
        const made = await post(at(), { name, memory_limit, expires_after, ...policy });
        page.go("containers", made.id);
      },
    });
  }

  // One container

  function container(id) {
    const url = at(id);
    const head = h("div", {});
    const files = h("ul", { class: "rows inside", "aria-label": "Files" });
    const state = h("p", { class: "quiet" });
    const file = h("div", { class: "file" });
    const target = (source) => (each) => upload(`${url}/files`, each, source === "assistant" ? { source, path: each.name } : { source });
    const { inputs, zones, over } = bringing([["Upload as user", target("user")], ["Upload as assistant", target("assistant")]], () => refresh());
    const body = h("div", { class: "container" }, head, h("div", { class: "tools" }, h("h3", {}, "Files"), h("span", { class: "space" }), inputs), files, state, file, zones);
    let chosen = null;
    let known = [];
    let limit = PAGE;
    over(body);
    const showHead = keyed(head, () => id, (row) =>
      h(
        "div",
        {},
        h(
          "div",
          { class: "title" },
          ring(row),
          h("h2", { title: row.name }, row.name),
          h(
            "span",
            { class: "acts" },
            button("Touch", () => attempt(() => post(`${url}/touch`), "Counted as activity"), { title: "Count as activity now", disabled: row.status === "expired" }),
            button("Expire now", () => attempt(() => post(`${url}/expire`), "Expired"), { disabled: row.status === "expired" }),
            button("Delete", () => attempt(() => remove(url).then(() => page.go("containers")), "Container deleted"), { class: "danger" }),
          ),
          button("✕", () => page.go("containers"), { class: "plain", "aria-label": "Close the container (Escape)", title: "Close (Escape)" }),
        ),
        h(
          "dl",
          {},
          ...[
            ["Id", copyable(row.id, "Id")],
            ["Status", h("span", { class: `pill ${row.status}` }, row.status)],
            ["Memory", row.memory_limit ?? "1g"],
            ["Network", [NETWORK[network(row)] ?? network(row), row.network_policy?.allowed_domains ? `: ${row.network_policy.allowed_domains.join(", ")}` : ""]],
            ["Created", `${instant(row.created_at)} UTC`],
            ["Last active", `${instant(row.last_active_at)} UTC`],
            ["Expires", row.never ? "never" : `${instant(deadline(row))} UTC, ${plural(row.expires_after.minutes, "minute")} after ${row.expires_after.anchor === "created_at" ? "it was created" : "its last use"}`],
          ].flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
        ),
      ),
    );
    const showFiles = keyed(files, (row) => row.id, (row) => {
      const item = h(
        "li",
        { class: "c-inside" },
        h("span", { class: "name" }, h("a", { href: here(id, row.id), "data-id": row.id, title: row.path }, h("span", { class: "quiet" }, before(row.path)), base(row.path))),
        h("span", { class: `source ${row.source}` }, row.source),
        h("span", { class: "size" }, size(row.size)),
        h("time", { class: "age", "data-since": row.created_at, title: `${instant(row.created_at)} UTC` }),
      );
      item.classList.toggle("selected", row.id === chosen);
      return item;
    });

    const refresh = reader(async () => {
      try {
        showHead([timeless(await get(url))]);
        const found = await get(`${url}/files${query({ limit })}`);
        known = found.data;
        showFiles(known);
        const more = found.has_more && limit < 1000 ? button("Show more", () => ((limit = 1000), refresh())) : null;
        state.replaceChildren(...(found.total ? (found.has_more ? [`${known.length} of ${found.total}. `, more] : []) : ["It is empty. Drop files here, or upload them as the user or as the assistant, as a model run would leave them."]).filter(Boolean));
        if (chosen && !file.firstChild) choose(chosen);
        tick();
      } catch (error) {
        if (open?.id === id) body.replaceChildren(h("p", { class: "problem" }, error.message), button("Close", () => page.go("containers")));
      }
    });

    function choose(fileId) {
      const changed = fileId !== file.dataset.id;
      chosen = fileId;
      for (const link of files.querySelectorAll("a")) {
        const is = link.dataset.id === fileId;
        link.closest("li").classList.toggle("selected", is);
        if (is) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
      const row = known.find((each) => each.id === fileId);
      if (!fileId) file.replaceChildren();
      else if (row && (changed || !file.firstChild)) {
        const own = `${url}/files/${encodeURIComponent(fileId)}`;
        const close = () => page.go("containers", id);
        const source = row.file_id ? [row.source, ", a copy of ", h("a", { href: page.link("files", row.file_id) }, row.file_id)] : row.source;
        file.replaceChildren(
          ...about({ url: own, name: row.path, close, removed: close, facts: [["Path", row.path], ["Source", source], ...facts(row), ["bytes", row.bytes === null ? "null, as the API shows it" : `${row.bytes}`]] }),
        );
        file.scrollIntoView({ block: "nearest" });
      } else if (!row && known.length) file.replaceChildren(h("p", { class: "quiet" }, `There is no file ${base(fileId)} here any more.`));
      file.dataset.id = fileId ?? "";
    }

    refresh();
    return { id, element: body, refresh, choose };
  }

  return {
    element,
    list: all,
    show(id, file) {
      element.classList.toggle("open", Boolean(id));
      all.select(id ?? null);
      if (!id) (pane.replaceChildren(), (open = null));
      else if (open?.id !== id) {
        open = container(id);
        pane.replaceChildren(open.element);
        pane.scrollTop = 0;
      }
      open?.choose(file ?? null);
    },
    async changed(kinds) {
      if (!kinds.has("containers")) return;
      open?.refresh();
      await all.refresh();
    },
    tick,
  };
}
