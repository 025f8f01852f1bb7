// Uploads of the Uploads API, which cannot be listed through the API.

import { bytes, count, h, middle, plural, size, unit } from "./dom.js";
import { examples } from "./recipes.js";
import { ageColumn, idColumn, nameColumn, resource, time } from "./resource.js";

const STATUS = { pending: "Pending", completed: "Completed", cancelled: "Cancelled", expired: "Expired" };
const isPending = (row) => row.status === "pending"; // the parts of other uploads are deleted
const status = (row) => h("span", { class: `pill ${row.status}` }, row.status);

export const uploads = resource({
  kind: "uploads",
  one: "Upload",
  name: (row) => row.filename,
  columns: [
    { name: "Status", width: "5.8rem", cell: status },
    nameColumn((row) => row.filename, (row) => middle(row.filename)),
    { ...idColumn, width: "10.5rem" },
    { name: "Purpose", width: "6.5rem", keep: "full", class: "quiet", cell: (row) => row.purpose },
    { name: "Parts", width: "3rem", end: true, keep: "full", class: "quiet", cell: (row) => isPending(row) && [count(row.parts), unit(row.parts, "part")] },
    { name: "Size", width: "4.8rem", end: true, class: "quiet", cell: (row) => size(row.bytes) },
    ageColumn("Age", "created_at", { sort: "created", keep: "medium" }),
  ],
  filters: [{ name: "status", label: "Status", options: [["", "Any status"], ...Object.entries(STATUS)] }],
  example: examples.uploads,
  badge: status,
  facts: (row, page) => [
    ["Size", bytes(row.bytes)],
    isPending(row) && ["Parts", `${count(row.parts)} with ${count(row.part_bytes)} of ${plural(row.bytes, "byte")}`],
    row.file_id && ["File", h("a", { href: page.link("files", row.file_id) }, row.file_id)],
    ["Purpose", row.purpose],
    ["MIME type", row.mime_type],
    ["Created", time(row.created_at)],
    isPending(row) && ["Expires", time(row.expires_at)],
    row.status === "expired" && ["Expired", time(row.expires_at)],
  ],
});
