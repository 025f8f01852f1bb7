// Skills, with the files of their versions.

import { path } from "./api.js";
import { count, middle, unit } from "./dom.js";
import { examples } from "./recipes.js";
import { ageColumn, idColumn, nameColumn, resource, time } from "./resource.js";

const versions = (row, url) =>
  row.versions.map((version) => {
    const at = `${url}/versions/${path(version)}`;
    const note = [version === row.default_version && "default", version === row.latest_version && "latest"].filter(Boolean).join(", ");
    return { name: `Version ${version}`, note, at, under: `${at}/files`, zip: `${at}/content` };
  });

export const skills = resource({
  kind: "skills",
  one: "Skill",
  name: (row) => row.name,
  columns: [
    nameColumn((row) => row.name, (row) => middle(row.name, 12)),
    { name: "Description", width: "minmax(0, 2fr)", keep: "medium", class: "quiet", title: (row) => row.description, cell: (row) => row.description },
    idColumn,
    { name: "Versions", width: "5.2rem", end: true, class: "quiet", cell: (row) => [count(row.versions.length), unit(row.versions.length, "version")] },
    ageColumn("Age", "created_at", { sort: "created" }),
  ],
  example: examples.skills,
  facts: (row) => [
    ["Description", row.description],
    ["Default", `version ${row.default_version}`],
    ["Latest", `version ${row.latest_version}`],
    ["Created", time(row.created_at)],
  ],
  folders: ["Versions", versions],
});
