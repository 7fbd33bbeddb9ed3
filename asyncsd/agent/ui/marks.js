// Small marks that several parts of the page show.

import { h, icon, visible } from "./dom.js";
import { LABELS, STATUSES } from "./status.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");

// Let what has changed light up for a moment.
export function flash(element) {
  if (still.matches || document.hidden) return;
  element.animate([{ boxShadow: "inset 0 0 0 100vmax var(--flash)" }, { boxShadow: "inset 0 0 0 100vmax transparent" }], {
    duration: 1800,
    easing: "cubic-bezier(.2, 0, .4, 1)",
  });
}

// The share of each status, as a bar.
export function healthBar(bar, counts) {
  bar.replaceChildren(
    ...STATUSES.filter((status) => counts[status]).map((status) => {
      const part = h("span", { data: { status } });
      part.style.flexGrow = counts[status];
      return part;
    }),
  );
}

// A status with its sign and its word.
export function badge(status) {
  return h("span.badge", { data: { status } }, icon(status), LABELS[status] ?? visible(status));
}

export function plural(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

// A time gone by, short: "now", "12 s ago".
export function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}
