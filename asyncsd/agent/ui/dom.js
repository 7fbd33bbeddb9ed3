// Elements, made without a word of HTML: every value is set as text or as a property.

const SVG = "http://www.w3.org/2000/svg";

// Characters that hide, or that turn round the text after them: shown by their numbers instead.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

// A text that says all that is in it.
export function visible(text) {
  return String(text).replace(HIDDEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

// `h("p.note", {title: "…"}, "text", child)`: what follows a dot is a class; strings become text.
export function h(kind, properties = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else if (name === "data") Object.assign(element.dataset, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// What others chose to call something: kept apart from the sentence around it, and cut off by the style.
export function named(text, kind = "bdi") {
  return h(kind, {}, visible(text));
}

// A symbol of index.html. It says nothing to a screen reader: a word stands beside it.
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Make `parent` hold `nodes` in this order, touching only those that aren't in their place.
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  const focused = document.activeElement;
  let next = parent.firstElementChild;
  for (const node of nodes) {
    if (node === next) next = next.nextElementSibling;
    // The one before it has moved on, and is put in its place when its turn comes.
    else if (next !== null && node === next.nextElementSibling) next = node.nextElementSibling;
    else parent.insertBefore(node, next);
  }
  // A node that is moved loses the focus.
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

// At most one call of `work` a frame, however often it is asked for.
export function eachFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    // A page in the background has no frames, but should be right when it is looked at.
    const soon = document.hidden ? (run) => setTimeout(run, 500) : requestAnimationFrame;
    soon(() => {
      asked = false;
      work();
    });
  };
}
