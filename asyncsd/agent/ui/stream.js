// Server-sent events by fetch. An EventSource can't send a token as a header, nor tell a 403 from an agent
// that is gone.

const SILENCE = 25_000; // ms: the agent says that it lives every 10 s
const SLOWEST = 5_000; // ms between two tries

export class Stream {
  // `on` has: event(name, data), state(name, detail) of "connecting", "live", "waiting" (with the ms until
  // the next try, and why), "forbidden" (with whether a token was sent).
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.token = "";
    this.last = "";
    this.tries = 0;
    this.ending = null;
    this.timer = 0;
  }

  // Connect now, whatever is going on.
  connect() {
    clearTimeout(this.timer);
    this.ending?.abort();
    this.ending = new AbortController();
    this.#run(this.ending);
  }

  async #run(ending) {
    this.on.state("connecting", this.tries);
    try {
      await this.#read(ending);
      if (ending === this.ending) this.#retry("The agent ended the connection");
    } catch (error) {
      if (ending !== this.ending) return;
      if (error instanceof Refused && error.status === 403) this.on.state("forbidden", this.token !== "");
      else this.#retry(error instanceof Refused ? `The agent answers ${error.status}` : "The agent can't be reached");
    }
  }

  async #read(ending) {
    const headers = { Accept: "text/event-stream" };
    if (this.token) headers["X-Consul-Token"] = this.token;
    if (this.last) headers["Last-Event-ID"] = this.last;
    let watchdog = setTimeout(() => ending.abort(), SILENCE);
    try {
      const answer = await fetch(this.url, { headers, signal: ending.signal, cache: "no-store", redirect: "error" });
      if (!answer.ok) throw new Refused(answer.status);
      this.on.state("live");
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new Parser((name, data, id) => {
        this.tries = 0;
        this.on.event(name, JSON.parse(data));
        if (id) this.last = id; // only once it was taken in
      });
      for (;;) {
        const { done, value } = await reader.read();
        if (done || ending !== this.ending) return;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => ending.abort(), SILENCE);
        parser.feed(value);
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  #retry(why) {
    const cap = Math.min(SLOWEST, 250 * 2 ** this.tries++);
    const wait = cap * (0.75 + Math.random() / 2);
    this.on.state("waiting", { wait, why });
    this.timer = setTimeout(() => this.connect(), wait);
  }
}

class Refused extends Error {
  constructor(status) {
    super(`status ${status}`);
    this.status = status;
  }
}

// The lines of the stream, as the HTML standard has them ("9.2.6 Interpreting an event stream").
export class Parser {
  constructor(emit) {
    this.emit = emit;
    this.rest = [];
    this.clear();
  }

  clear() {
    this.name = "message";
    this.data = [];
    this.id = "";
  }

  feed(text) {
    const lines = text.split("\n");
    if (lines.length === 1) {
      this.rest.push(text);
      return;
    }
    lines[0] = this.rest.join("") + lines[0];
    this.rest = [lines.pop()];
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === "") {
      if (this.data.length) this.emit(this.name, this.data.join("\n"), this.id);
      this.clear();
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.data.push(value);
    else if (field === "event") this.name = value;
    else if (field === "id") this.id = value;
  }
}
