// The world's clock: buttons in the header, and a dialog with a form for each way to set it.

import { path, post } from "./api.js";
import { attempt, button, control, count, h, hidden, instant, notify, open, read, spell } from "./dom.js";

const MODES = { real: "Real time", frozen: "Frozen", offset: "Offset", scaled: "Scaled" };
const STEPS = [1, 5, 20]; // minutes

export function clock(page) {
  const date = h("span", { class: "date" });
  const time = h("span", { class: "time" });
  const mode = h("span", {});
  const face = button([hidden("Set the clock: "), h("time", { class: "now" }, date, time, h("span", { class: "date" }, " UTC")), mode], dialog, { class: "face", title: "Set the clock", "aria-haspopup": "dialog" });
  const quickButtons = () => [
    button("", () => toggle(), { class: "hold", title: "Freeze or resume (f)" }),
    ...STEPS.map((minutes) => button(`+${minutes} min`, () => attempt(() => set("advance", { by: minutes * 60 })), { title: `Move the clock forward by ${spell(minutes * 60)}` })),
  ];
  const element = document.getElementById("clock");
  element.append(face, h("span", { class: "quick" }, quickButtons()));

  async function set(action, body) {
    const change = await post(path("worlds", page.world, "clock", action), body);
    page.clock.set(change);
    draw();
    const effects = [
      ["expired", change.expired_containers, change.expired_files, change.expired_uploads],
      ["valid again", change.revived_containers, change.revived_files, change.revived_uploads],
    ].flatMap(([what, ...ids]) => (ids.flat().length ? `${count(ids.flat().length)} ${what}` : []));
    notify([`Clock: ${label()}`, ...effects].join(", "));
  }

  const toggle = () => attempt(() => (page.clock.state.mode === "frozen" ? set("resume") : set("freeze", {})));

  function label() {
    const { mode, rate } = page.clock.state;
    return mode === "scaled" ? `${rate} × as fast` : MODES[mode];
  }

  function draw() {
    mode.textContent = label();
    mode.className = `pill mode ${page.clock.state.mode}`;
    for (const each of document.querySelectorAll(".hold")) each.textContent = page.clock.state.mode === "frozen" ? "Resume" : "Freeze";
    tick();
  }

  function tick() {
    const text = instant(page.clock.now());
    if (time.textContent === text.slice(11) && date.firstChild) return;
    date.textContent = text.slice(0, 11);
    time.textContent = text.slice(11);
  }

  function dialog() {
    const problem = h("p", { class: "problem", role: "alert" });
    const form = (label, action, fields, run) => {
      const inputs = fields.map(control);
      return h(
        "form",
        {
          class: "setting",
          async submit(event) {
            event.preventDefault();
            try {
              problem.textContent = "";
              await run(...inputs.map(read));
            } catch (error) {
              problem.textContent = error.message;
            }
          },
        },
        h("span", {}, label),
        h("span", { class: "inputs" }, inputs),
        h("button", { "aria-label": `${action}: ${label}` }, action),
      );
    };
    const shown = open(
      { class: "clock wide", "aria-labelledby": "title" },
      h("h2", { id: "title" }, "Clock"),
      h("p", { class: "quiet" }, "The clock of this world decides when containers, Files and uploads expire. Going back in time can make expired objects valid again."),
      h("p", { class: "quick" }, quickButtons()),
      form("Move forward by", "Move", [{ name: "by", type: "duration", value: 3600, label: "Move forward by" }], (by) => set("advance", { by })),
      form("Freeze at (UTC)", "Freeze", [{ name: "at", type: "datetime-local", step: 1, value: instant(page.clock.now()).replace(" ", "T"), "aria-label": "Freeze at (UTC)", required: true }], (at) => set("freeze", { at: `${at}${at.length === 16 ? ":00" : ""}Z` })),
      form("Seconds that pass in each second", "Set", [{ name: "rate", type: "number", min: 0, step: "any", value: 60, "aria-label": "Seconds that pass in each second", required: true }], (rate) => set("scale", { rate: Number(rate) })),
      form(
        "Differ from real time by",
        "Set",
        [
          { name: "offset", type: "duration", value: 86400, label: "Differ from real time by" },
          { name: "sign", options: [["", "ahead"], ["-", "behind"]], "aria-label": "Ahead or behind" },
        ],
        (by, sign) => set("offset", { by: sign + by }),
      ),
      form("Show real time", "Reset", [], () => set("reset")),
      problem,
      h("div", { class: "actions" }, button("Close", () => shown.close(), { class: "primary" })),
    );
    draw();
  }

  return { element, draw, tick, toggle };
}
