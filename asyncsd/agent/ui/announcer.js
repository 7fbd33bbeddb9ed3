// Tells those who listen to the page what changed: in moderation, the last words of some seconds as one.

import { plural } from "./marks.js";
import { sentence } from "./timeline.js";

const PAUSE = 4_000; // ms

export class Announcer {
  constructor(store) {
    this.store = store;
    this.node = document.getElementById("announcer");
    this.told = null;
    this.timer = 0;
  }

  // Called after each update. What was there at first isn't news.
  look() {
    const newest = this.store.changes[0]?.number ?? 0;
    if (this.told === null) this.told = newest;
    else if (newest < this.told) this.told = 0; // another life of the agent
    if (newest > this.told && !this.timer) this.timer = setTimeout(() => this.#speak(), PAUSE);
  }

  #speak() {
    this.timer = 0;
    const news = this.store.changes.filter((change) => change.number > this.told);
    this.told = this.store.changes[0]?.number ?? 0;
    if (!news.length) return;
    if (news.length <= 3) {
      this.node.textContent = news.reverse().map(sentence).join(". ");
      return;
    }
    const critical = new Set(news.filter((change) => change.new === "critical").map((change) => change.id)).size;
    this.node.textContent = plural(news.length, "change") + (critical ? `, ${plural(critical, "instance")} critical` : "");
  }
}
