// The search field and its suggestions, a combobox with a list.

import { $, el, plural } from "./elements.js";
import { learn, lookUp } from "./items.js";
import { namesOf } from "./rows.js";
import { ask } from "./service.js";

const TYPING_MS = 150;
const COUNTS = { artists: 3, tracks: 6 };

let searching = new AbortController();
let entries = []; // of the suggestions
let active = -1;
let isEntered = false; // Enter came before the suggestions

/**
 * Start the search.
 *
 * *choose* takes a chosen entry, *kinds* returns the kinds to look for, and *entryOf* the entry of a text that is taken
 * as it is.
 */
export function startSearch({ choose, kinds, entryOf }) {
  const take = (i) => {
    const entry = entries[i];
    $("search").value = "";
    close();
    choose(entry);
  };
  $("search").addEventListener("input", () => suggest(kinds, entryOf, take));
  $("search").addEventListener("keydown", (event) => onKey(event, take));
  $("search").addEventListener("blur", () => close());
  $("suggestions").addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the focus
}

function suggest(kinds, entryOf, take) {
  searching.abort();
  searching = new AbortController();
  const { signal } = searching;
  const text = $("search").value.trim();
  isEntered = false;
  if (!text) return close();
  setTimeout(async () => {
    if (signal.aborted) return;
    try {
      const found = (await Promise.all(kinds().map((kind) => find(kind, text, signal)))).flat();
      if (!signal.aborted) show([...found, entryOf(text)], text, take);
    } catch (error) {
      if (!signal.aborted) close(error.message);
    }
  }, TYPING_MS);
}

async function find(kind, text, signal) {
  const query = new URLSearchParams({ q: text, kind, k: COUNTS[kind] });
  const onWait = (reason, seconds) => tell(`${reason} Trying again in ${plural(seconds, "second")}.`);
  const { content } = await ask(`search?${query}`, { signal, onWait });
  learn(kind, content[kind]);
  return content[kind].map(({ id }) => ({ kind, id }));
}

/** Show the suggestions *found*; the last of them is the *text* as it is. */
function show(found, text, take) {
  entries = found;
  const last = el("span", { class: "names" }, "Add “", el("bdi", { class: "name" }, text), "” as an id or a name");
  const options = found.map((entry, i) => {
    const names = i === found.length - 1 ? last : namesOf(lookUp(entry), entry.kind);
    const option = el("li", { role: "option", id: `suggestion-${i}`, "aria-selected": "false" }, names);
    option.addEventListener("click", () => take(i));
    return option;
  });
  $("suggestions").replaceChildren(...options);
  $("suggestions").hidden = false;
  $("search").setAttribute("aria-expanded", "true");
  tell(found.length > 1 ? plural(found.length - 1, "suggestion") : "Nothing has this name.");
  activate(-1);
  if (isEntered) take(0);
}

function close(reason = "") {
  searching.abort();
  entries = [];
  $("suggestions").hidden = true;
  $("search").setAttribute("aria-expanded", "false");
  tell(reason);
  activate(-1);
}

export const tell = (text) => ($("search-note").textContent = text);

function activate(i) {
  active = i;
  $("search").setAttribute("aria-activedescendant", i < 0 ? "" : `suggestion-${i}`);
  for (const [j, option] of [...$("suggestions").children].entries()) {
    option.setAttribute("aria-selected", String(i === j));
  }
}

function onKey(event, take) {
  const n = entries.length;
  if (event.key === "Escape") close();
  else if (event.key === "Enter" && n) take(Math.max(active, 0));
  else if (event.key === "Enter") isEntered = true;
  else if (event.key === "ArrowDown" && n) activate((active + 1) % n);
  else if (event.key === "ArrowUp" && n) activate((Math.max(active, 0) + n - 1) % n);
  else return;
  event.preventDefault();
}
