// Live changes: one event stream for the page, which is closed while the page is hidden.

// Used instead of a set of kinds if everything may have changed.
export const EVERYTHING = { size: 1, has: () => true };

// Call `changed(kinds, others)` on each event: the kinds that changed in the world `world()`, and whether other worlds
// changed. After each (re)connection everything may have changed, because earlier events were missed. This is also called
// when the first connection fails, so that the following requests show the reason.
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

// Return a function that calls `read`, but never concurrently: calls during a read cause one more read afterwards. The
// pause before it is `factor` times as long as the read took, at most `limit` milliseconds, so that a large world causes
// no more load than a small one.
export function reader(read, factor = 3, limit = 3000) {
  let running = null;
  let again = false;
  const run = async () => {
    do {
      again = false;
      const started = performance.now();
      await read();
      if (again) await new Promise((resolve) => setTimeout(resolve, Math.min(factor * (performance.now() - started), limit)));
    } while (again);
    running = null;
  };
  return () => {
    again = running !== null;
    return (running ??= run());
  };
}

// A world's clock, which the page advances between the states that the server sends.
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
