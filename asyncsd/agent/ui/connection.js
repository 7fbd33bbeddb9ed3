// How the stream is, in the bar at the top; and the question for a token.

import { setText } from "./dom.js";

const ACTIONS = { lost: "Retry now", forbidden: "Give a token" };

export class Connection {
  constructor(stream) {
    this.stream = stream;
    this.box = document.getElementById("link");
    this.text = document.getElementById("link-text");
    this.action = document.getElementById("link-action");
    this.dialog = document.getElementById("token");
    this.timer = 0;
    this.lost = 0; // when the stream was lost; 0 while it isn't
    this.action.addEventListener("click", () => (this.lost ? stream.connect() : this.dialog.showModal()));
    addEventListener("online", () => this.lost && stream.connect());
    document.addEventListener("visibilitychange", () => document.hidden || (this.lost && stream.connect()));
    this.#ask();
  }

  state(name, detail) {
    clearTimeout(this.timer);
    if (name === "live") {
      this.lost = 0;
      this.dialog.close();
      this.#show("live", "Live");
    } else if (name === "forbidden") {
      this.lost = 0;
      this.#show("forbidden", "No access");
      setText(document.getElementById("token-text"), detail
        ? "The agent refused this token. It has to be one that may read services and nodes."
        : "One that may read services and nodes. It is kept in this page's memory only, and gone when the page is.");
      if (!this.dialog.open) this.dialog.showModal();
    } else if (name === "waiting") {
      this.lost ||= Date.now();
      this.box.title = detail.why;
      // Spoken once, not with each try; a blip is not worth a word.
      this.timer = setTimeout(() => this.#show("lost", "Reconnecting"), Date.now() - this.lost > 300 ? 0 : 300);
    } else if (!this.lost) this.#show("connecting", "Connecting");
  }

  #show(state, text) {
    this.box.dataset.state = state;
    document.body.dataset.link = state;
    setText(this.text, text);
    setText(this.action, ACTIONS[state] ?? "");
    this.action.hidden = !(state in ACTIONS);
    if (state !== "lost") this.box.title = "";
  }

  #ask() {
    const value = document.getElementById("token-value");
    this.dialog.addEventListener("submit", () => {
      this.stream.token = value.value;
      this.stream.connect();
    });
    this.dialog.addEventListener("close", () => (value.value = "")); // also by Escape, which gives none
  }
}
