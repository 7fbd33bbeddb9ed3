// How the stream is, in the bar at the top; and the question for a token.

import { setText } from "./dom.js";

export class Connection {
  constructor(stream) {
    this.stream = stream;
    this.box = document.getElementById("link");
    this.text = document.getElementById("link-text");
    this.retry = document.getElementById("link-retry");
    this.dialog = document.getElementById("token");
    this.timer = 0;
    this.lost = 0; // when the stream was lost; 0 while it isn't
    this.retry.addEventListener("click", () => stream.connect());
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
      this.#show("forbidden", "No access");
      setText(document.getElementById("token-text"), detail
        ? "The agent refused this token. It has to be one that may read services and nodes."
        : "One that may read services and nodes. It is kept in this page's memory only, and gone when the page is.");
      if (!this.dialog.open) this.dialog.showModal();
    } else if (name === "waiting") {
      this.lost ||= Date.now();
      this.box.title = detail.why;
      this.retry.hidden = false;
      // Spoken once, not with each try; a blip is not worth a word.
      this.timer = setTimeout(() => this.#show("lost", "Reconnecting"), Date.now() - this.lost > 300 ? 0 : 300);
    } else if (!this.lost) this.#show("connecting", "Connecting");
  }

  #show(state, text) {
    this.box.dataset.state = state;
    document.body.dataset.link = state;
    setText(this.text, text);
    this.retry.hidden = state !== "lost";
    if (state !== "lost") this.box.title = "";
  }

  #ask() {
    const value = document.getElementById("token-value");
    this.dialog.addEventListener("close", () => {
      if (!value.value) return;
      this.stream.token = value.value;
      value.value = "";
      this.stream.connect();
    });
    this.box.addEventListener("click", () => {
      if (this.box.dataset.state === "forbidden") this.dialog.showModal();
    });
  }
}
