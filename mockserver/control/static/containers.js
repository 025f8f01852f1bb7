// Containers: the time left, and their files.

import { post } from "./api.js";
import { base, upload } from "./contents.js";
import { ask, bytes, count, h, left, middle, plural, size, svg, unit } from "./dom.js";
import { examples } from "./recipes.js";
import { ageColumn, idColumn, nameColumn, resource, time } from "./resource.js";

const LITTLE_LEFT = 0.25; // of the time until expiry
const NETWORK = { default: "the default network", disabled: "no network", allowlist: "only these domains: " };

const span = (row) => (row.expires_after?.minutes ?? 0) * 60;
const deadline = (row) => (row.never ? Infinity : row[row.expires_after?.anchor ?? "last_active_at"] + span(row));
const network = (row) => row.network_policy?.type ?? "default";
const isExpired = (row) => row.status === "expired";

// A ring that shrinks with the time left, which is shown next to it.
function ring(row) {
  const round = { cx: 10, cy: 10, r: 7.5, fill: "none", pathLength: 100 };
  return h(
    "span",
    { class: "ring", "data-deadline": deadline(row), "data-span": span(row), "data-status": row.status },
    svg("svg", { viewBox: "0 0 20 20", "aria-hidden": "true" }, svg("circle", { ...round, class: "track" }), svg("circle", { ...round, class: "arc" })),
    h("span", { class: "left" }),
  );
}

// Update all rings. Return whether a container expired since it was loaded.
function tick(root, now) {
  let expired = false;
  for (const each of root.querySelectorAll(".ring")) {
    const remaining = Number(each.dataset.deadline) - now;
    const never = remaining === Infinity;
    const part = never ? 1 : Math.max(0, Math.min(1, remaining / Number(each.dataset.span)));
    const isOver = remaining <= 0 || each.dataset.status === "expired";
    if (isOver && each.dataset.status === "running") expired = true;
    each.className = `ring ${isOver ? "over" : part < LITTLE_LEFT ? "little" : "fine"}`;
    each.querySelector(".arc").setAttribute("stroke-dasharray", `${isOver ? 0 : (part * 100).toFixed(1)} 100`);
    const text = isOver ? "Expired" : never ? "No limit" : left(Math.ceil(remaining));
    const label = each.querySelector(".left");
    if (label.textContent !== text) label.textContent = text;
    each.title = isOver ? "Expired" : never ? "It never expires" : `Expires in ${text}`;
  }
  return expired;
}

function create(page, at) {
  ask({
    title: "New container",
    fields: [
      { name: "name", label: "Name", value: "analysis", required: true },
      { name: "memory_limit", label: "Memory limit", options: ["1g", "4g", "16g", "64g"].map((each) => [each, each]) },
      { name: "network", label: "Network", options: [["", "default"], ["disabled", "disabled"]] },
      { name: "minutes", label: "Minutes without use after which it expires", type: "number", value: 20 },
    ],
    action: "Create",
    async submit({ name, memory_limit, network, minutes }) {
      const policy = network ? { network_policy: { type: network } } : {};
      const expires_after = { anchor: "last_active_at", minutes: Number(minutes) };
      const created = await post(at(), { name, memory_limit, expires_after, ...policy });
      page.go("containers", created.id);
    },
  });
}

// Shorten a path: remove `/mnt/data/` and the random prefix that the API adds to the name of an upload.
const shownPath = (path) => path.replace(/^\/mnt\/data\//, "").slice(0, -base(path).length).replace(/[\w-]{20,}(?=-$)/, "…") + base(path);
const asUpload = (at, source) => (file) => upload(at(), file, source === "assistant" ? { source, path: file.name } : { source });

const containerFiles = {
  kind: "files",
  one: "File",
  many: "Files",
  name: (row) => row.path,
  title: (row) => base(row.path),
  columns: [
    nameColumn((row) => row.path, (row) => middle(shownPath(row.path), Math.min(base(row.path).length, 24))),
    { name: "Source", width: "5rem", cell: (row) => h("span", { class: `source ${row.source}` }, row.source) },
    { name: "Size", width: "4.4rem", end: true, keep: "medium", class: "quiet", cell: (row) => size(row.size) },
    ageColumn("Age", "created_at", { sort: "created", keep: "medium" }),
  ],
  uploads: (at) => [["Upload as user", asUpload(at, "user")], ["Upload as assistant", asUpload(at, "assistant")]],
  content: true,
  facts: (row, page) => [
    ["Path", row.path],
    ["Source", row.source],
    row.file_id && ["Copy of", h("a", { href: page.link("files", row.file_id) }, row.file_id)],
    ["Size", bytes(row.size)],
    ["API’s bytes", `${row.bytes}`],
    ["Created", time(row.created_at)],
  ],
};

export const containers = resource({
  kind: "containers",
  one: "Container",
  name: (row) => row.name,
  // The time left is computed in the page, so that rows change only on events.
  row: ({ expires_in, ...row }) => ({ ...row, never: expires_in === null }),
  columns: [
    { name: "Time left", width: "5.4rem", sort: "expires", cell: ring },
    nameColumn((row) => row.name, (row) => middle(row.name)),
    idColumn,
    { name: "Files", width: "3rem", end: true, keep: "medium", class: "quiet", cell: (row) => [count(row.file_count), unit(row.file_count, "file")] },
    { name: "Size", width: "4.4rem", end: true, keep: "medium", class: "quiet", cell: (row) => size(row.total_bytes) },
    { name: "Memory", width: "4.2rem", end: true, keep: "full", class: "quiet", cell: (row) => row.memory_limit ?? "1g" },
    { name: "Network", width: "5rem", keep: "full", class: "quiet", cell: network },
    ageColumn("Created", "created_at", { sort: "created", keep: "full" }),
    ageColumn("Used", "last_active_at", { sort: "active" }),
  ],
  filters: [{ name: "status", label: "Status", options: [["", "Any status"], ["running", "Running"], ["expired", "Expired"]] }],
  create,
  example: examples.containers,
  tick,
  badge: ring,
  actions: [
    { label: "Touch", title: "Count as activity now", post: "touch", done: "Counted as activity", disabled: isExpired },
    { label: "Expire now", post: "expire", done: "Expired", disabled: isExpired },
  ],
  facts: (row) => [
    ["Memory", row.memory_limit ?? "1g"],
    ["Network", [NETWORK[network(row)] ?? network(row), (row.network_policy?.allowed_domains ?? []).join(", ")]],
    ["Created", time(row.created_at)],
    ["Last active", time(row.last_active_at)],
    ["Expires", row.never ? "never" : `${time(deadline(row))}, ${plural(row.expires_after.minutes, "minute")} after ${row.expires_after.anchor === "created_at" ? "it was created" : "its last use"}`],
  ],
  folders: ["Skills", (row, url) => row.skills.map(({ position, skill_id, version, name, path }) => ({ name, note: `${skill_id ? `version ${version}` : "inline"}, in ${path}`, at: `${url}/skills/${position}`, under: `${url}/skills/${position}` }))],
  within: containerFiles,
});
