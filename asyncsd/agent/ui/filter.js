// A search field with a choice of status; for the services, and for the instances of one.

import { h, icon, setText } from "./dom.js";
import { LABELS, STATUSES } from "./status.js";

export class Filter {
  constructor(root, { label, hint, key, change }) {
    this.change = change;
    this.input = h("input", { type: "search", placeholder: label, autocomplete: "off", spellcheck: false, "aria-label": label });
    this.input.addEventListener("input", () => change());
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      if (this.input.value) this.set("");
      else this.input.blur();
      event.preventDefault();
    });
    this.numbers = {};
    this.choices = {};
    const choices = ["", ...STATUSES].map((status) => this.#choice(status));
    root.replaceChildren(
      h("label.search", { title: hint }, icon("search"), this.input, key && h("kbd", { "aria-hidden": "true" }, key)),
      h("fieldset.choices", {}, h("legend.unseen", {}, "Status"), ...choices),
    );
  }

  #choice(status) {
    const radio = h("input", { type: "radio", name: `status-${this.input.placeholder}`, value: status, checked: !status });
    radio.addEventListener("change", () => this.change());
    const number = (this.numbers[status] = h("span.number"));
    const word = h(status ? "span.unseen" : "span", {}, status ? LABELS[status] : "All");
    const label = h("label.choice", { title: status ? LABELS[status] : "All", data: { status } }, radio, status && icon(status), word, number);
    this.choices[status] = { radio, label };
    return label;
  }

  // Search for this text; the status stays.
  set(text) {
    this.input.value = text;
    this.change();
  }

  get status() {
    return Object.values(this.choices).find(({ radio }) => radio.checked).radio.value;
  }

  get active() {
    return this.input.value.trim() !== "" || this.status !== "";
  }

  // Say how many there are of each status, and leave out what there is none of.
  show(counts) {
    let all = 0;
    for (const status of STATUSES) {
      const number = counts[status];
      all += number;
      setText(this.numbers[status], number.toLocaleString("en"));
      const { radio, label } = this.choices[status];
      label.hidden = number === 0 && !radio.checked;
    }
    setText(this.numbers[""], all.toLocaleString("en"));
  }

  // Whether something with this status, these words and these tags is looked for. Every word has to be found;
  // "tag:v1" looks at tags alone.
  matcher() {
    const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = this.status;
    return (has, texts, tags) => {
      if (status && !has(status)) return false;
      if (!words.length) return true;
      const lower = tags.map((tag) => tag.toLowerCase());
      const all = texts.map((text) => text.toLowerCase()).concat(lower);
      return words.every((word) =>
        word.startsWith("tag:") ? lower.some((tag) => tag.startsWith(word.slice(4))) : all.some((text) => text.includes(word)),
      );
    };
  }
}
