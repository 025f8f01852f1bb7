// What changes, as it does: one stream of events for the page, closed while nobody sees it.

// Calls `heard(kinds, others)` when something changed: kinds of the world that `world()` names, and
// whether other worlds did too. With all kinds after each (re)connection, as what happened before is unknown;
// and when the first fails, so that later calls report why.
export function follow(world, heard, connected) {
  const ALL = ["worlds", "clock", "containers", "files", "faults", "snapshots", "journal"];
  let source = null;
  let first = true;
  const open = () => {
    source = new EventSource("changes");
    source.onopen = () => (connected(true), heard(new Set(ALL), true));
    source.onerror = () => {
      connected(false);
      if (first) heard(new Set(ALL), true);
      first = false;
    };
    source.addEventListener("changed", (event) => {
      const changed = JSON.parse(event.data);
      const { [world()]: kinds = [], ...others } = changed;
      heard(new Set(kinds), Object.keys(others).length > 0);
    });
  };
  const close = () => (source?.close(), (source = null));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else if (!source) open();
  });
  open();
  return { reopen: () => (close(), open()) };
}

// A reader that is asked again while it reads reads once more afterwards, and never twice at once. The
// longer it takes the longer it rests, so that a large world costs the server no more than a small one.
export function reader(read) {
  let running = null;
  let again = false;
  const run = async () => {
    do {
      again = false;
      const started = performance.now();
      await read();
      if (again) await new Promise((resolve) => setTimeout(resolve, Math.min(3 * (performance.now() - started), 3000)));
    } while (again);
    running = null;
  };
  return () => {
    again = running !== null;
    return (running ??= run());
  };
}

// A world's clock, carried on here between what the server says of it.
export class Clock {
  constructor() {
    this.set({ mode: "real", now: Date.now() / 1000, rate: 1 });
  }

  set(state) {
    this.state = state;
    this.since = performance.now();
  }

  now() {
    return this.state.now + (this.state.rate * (performance.now() - this.since)) / 1000;
  }
}
