// Changes as they happen: one stream of events for the page, closed while the page is hidden.

// In place of a set of kinds: everything may have changed.
export const EVERYTHING = { size: 1, has: () => true };

// Calls `changed(kinds, others)` when something changed: the kinds in the world that `world()` names, and whether
// other worlds changed too. After each (re)connection, what happened before is unknown, so everything may have
// changed; also when the first connection fails, so that the requests that follow show why.
export function follow(world, changed, connected) {
  let source = null;
  let first = true;
  const open = () => {
    source = new EventSource("changes");
    source.onopen = () => (connected(true), changed(EVERYTHING, true));
    source.onerror = () => {
      connected(false);
      if (first) changed(EVERYTHING, true);
      first = false;
    };
    source.addEventListener("changed", (event) => {
      const { [world()]: kinds = [], ...others } = JSON.parse(event.data);
      changed(new Set(kinds), Object.keys(others).length > 0);
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

// Returns a function that calls `read`, never twice at the same time: calls meanwhile cause one more read afterwards.
// The longer a read takes, the longer the pause before the next, so that a large world costs the server no more than
// a small one: `rest` times as long, at most `most` milliseconds.
export function reader(read, rest = 3, most = 3000) {
  let running = null;
  let again = false;
  const run = async () => {
    do {
      again = false;
      const started = performance.now();
      await read();
      if (again) await new Promise((resolve) => setTimeout(resolve, Math.min(rest * (performance.now() - started), most)));
    } while (again);
    running = null;
  };
  return () => {
    again = running !== null;
    return (running ??= run());
  };
}

// A world's clock, which runs on here between the states that the server sends.
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
