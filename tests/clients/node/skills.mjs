// Call every operation on skills, one after another.

import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import OpenAI, { toFile } from "openai";

const client = new OpenAI();
const manifest = (description) => `---\nname: basic-math\ndescription: ${description}\n---\nRun run.py.\n`;

// Upload a folder: the name of each file is its path, which the client sends since 7.5. `skills.mjs FILE` sends a zip.
const [, , packed] = process.argv;
const folder = [
  new File([manifest("Add numbers.")], "basic_math/SKILL.md"),
  new File(["print(1 + 1)\n"], "basic_math/run.py"),
];
const skill = await client.skills.create({ files: packed ? [createReadStream(packed)] : folder });
console.log(`Created ${skill.name}: ${skill.description}`);

// Upload a zip as a new version: a skill is downloaded as a zip, which can be uploaded again.
const zip = await (await client.skills.content.retrieve(skill.id)).arrayBuffer();
const version = await client.skills.versions.create(skill.id, { files: await toFile(zip, "basic_math.zip") });
const again = await client.skills.versions.content.retrieve(version.version, { skill_id: skill.id });
assert.deepEqual(await again.arrayBuffer(), zip);

// A new version is the latest one, but becomes the default only by an update.
assert.equal((await client.skills.retrieve(skill.id)).latest_version, "2");
const updated = await client.skills.update(skill.id, { default_version: "2" });
console.log(`Updated to version ${updated.default_version}`);

// The loop fetches pages as it needs them.
const versions = [];
for await (const each of client.skills.versions.list(skill.id, { order: "asc", limit: 1 })) {
  versions.push(each.version);
}
assert.deepEqual((await client.skills.list()).data.map((each) => each.id), [skill.id]);
assert.equal((await client.skills.versions.retrieve("1", { skill_id: skill.id })).name, "basic-math");
console.log(`Listed ${versions}`);

// A container copies its skills when it is created, and keeps them after they are deleted.
const container = await client.containers.create({
  name: "Numbers",
  skills: [
    { type: "skill_reference", skill_id: skill.id },
    { type: "skill_reference", skill_id: skill.id, version: "1" },
    {
      type: "inline",
      name: "basic-math",
      description: "Add numbers.",
      source: { type: "base64", media_type: "application/zip", data: Buffer.from(zip).toString("base64") },
    },
  ],
});
await client.skills.versions.delete("1", { skill_id: skill.id });
try {
  await client.skills.create({ files: [new File([manifest("Add.")], "SKILL.md"), new File(["x"], "run.py")] });
} catch (error) {
  if (!(error instanceof OpenAI.BadRequestError)) throw error;
  console.log(error.status, error.error.message);
}
await client.skills.delete(skill.id);
await client.containers.delete(container.id);
try {
  await client.skills.retrieve(skill.id);
} catch (error) {
  if (!(error instanceof OpenAI.NotFoundError)) throw error;
  console.log(error.status, error.error.message);
}
