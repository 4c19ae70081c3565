// The elements of a track or an artist in a list.

import { button, el } from "./elements.js";
import { artistOf, titleOf } from "./items.js";

/** Return an element with the name of *item*, and with its artist or *kind* and *more* below. */
export function namesOf(item, kind, more = "") {
  const below = [kind === "artists" ? "Artist" : artistOf(item), more].filter(Boolean).join(" · ");
  const name = el("bdi", { class: "name" }, titleOf(item));
  return el("span", { class: "names" }, name, below ? el("bdi", { class: "below" }, below) : null);
}

export function addButton(item, onClick) {
  const attributes = { class: "icon", "data-action": "add", title: "Add to the playlist" };
  return button("+", `Add ${titleOf(item)}`, onClick, attributes);
}

export function scored({ score }) {
  const text = Number.isInteger(score) ? score.toLocaleString("en") : score.toFixed(3);
  return el("span", { class: "score" }, el("span", { class: "unseen" }, "score "), text);
}
