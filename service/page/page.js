// The page: a playlist, and its continuation, which follows each change.

import { $, button, el, plural, refill } from "./elements.js";
import { save } from "./formats.js";
import { KINDS, artistOf, idsOf, keyOf, learn, learnSeeds, lookUp, nounOf, titleOf } from "./items.js";
import { addButton, namesOf, scored } from "./rows.js";
import { startSearch, tell } from "./search.js";
import { ask, curlOf, forgetKey, keepKey, readKey } from "./service.js";

const TYPING_MS = 200;
const MAX_UNDO = 200;
const N_SIMILAR = 10;
const N_SHARES = 6;
const STRATEGIES = { ranked: "ordered by the ranker", "fold-in": "ordered by the solve", popular: "the most popular" };
const METRICS = {
  ndcg: (value) => `NDCG ${value.toFixed(3)}`,
  r_precision: (value) => `R-precision ${value.toFixed(3)}`,
  clicks: (value) => `${value.toFixed(1)} clicks`,
};

// The fields of a request beside the playlist. One that has its default is not sent.
const defaults = {
  kind: "tracks",
  k: 100,
  popularity: 0,
  diversity: 0,
  max_per_artist: null,
  distinct: false,
  discover: false,
  vary: null,
};
let options = { ...defaults };
let playlist = { title: "", seeds: [], dislikes: [] }; // replaced and never changed, so undo can return to it
let past = [];
let typing = ""; // the field whose changes are one step of undo
let shown = null; // the last answer: { sent, kind, items, unknown }
let opened = null; // the item whose reasons or neighbours are shown: { id, view, panel }
let manifest = null;
let areNamed = false; // the dislikes of the address
let asking = new AbortController();
let timer = 0;

// The playlist

function change(next, field = "") {
  if (!field || field !== typing) past = [...past.slice(-MAX_UNDO), playlist];
  typing = field;
  playlist = { ...playlist, ...next };
  showPlaylist();
  follow(field ? TYPING_MS : 0);
}

function undo() {
  if (!past.length) return;
  playlist = past.pop();
  typing = "";
  showPlaylist();
  follow();
}

function add(entries) {
  const keys = new Set(playlist.seeds.map(keyOf));
  const added = entries.filter((entry) => !keys.has(keyOf(entry)) && keys.add(keyOf(entry)));
  const dislikes = playlist.dislikes.filter((entry) => !keys.has(keyOf(entry)));
  if (!added.length) return tell("Nothing new.");
  change({ seeds: [...playlist.seeds, ...added], dislikes });
  tell(added.length === 1 ? `Added ${titleOf(lookUp(added[0]))}.` : `Added ${added.length}.`);
}

function addLines(text) {
  const lines = text.split(/[\r\n]+/).map((line) => line.trim());
  add(lines.filter(Boolean).map(entryOf));
}

/** Return the entry of an id or a name as it was typed. The ids of Spotify tell their kind. */
function entryOf(id) {
  return { kind: defaults.kind === "artists" || /[:/]artist[:/]/.test(id) ? "artists" : "tracks", id };
}

function showPlaylist() {
  const { title, seeds, dislikes } = playlist;
  if ($("title").value !== title) $("title").value = title;
  $("title-note").textContent = title && shown?.unknown.title ? "No word of this title is known." : "";
  refill($("seeds"), seeds.map((entry) => entryRow(entry, "seeds")), $("search"));
  refill($("dislikes"), dislikes.map((entry) => entryRow(entry, "dislikes")), $("search"));
  $("empty").hidden = seeds.length > 0;
  $("disliked").hidden = !dislikes.length;
  $("undo").disabled = !past.length;
  $("clear").disabled = !title && !seeds.length && !dislikes.length;
}

function entryRow(entry, list) {
  const item = lookUp(entry);
  const isUnknown = shown?.unknown[entry.kind].includes(entry.id);
  const remove = () => change({ [list]: playlist[list].filter((other) => other !== entry) });
  const attributes = { class: "icon", "data-action": "remove", title: "Remove" };
  return el("li", isUnknown ? { class: "unknown" } : {}, namesOf(item, entry.kind, isUnknown ? "not known" : ""),
    button("×", `Remove ${titleOf(item)}`, remove, attributes));
}

// The continuation

function bodyNow() {
  const { title, seeds, dislikes } = playlist;
  return {
    ...idsOf(seeds),
    ...(title.trim() && { title }),
    ...Object.fromEntries(Object.entries(options).filter(([name, value]) => value !== defaults[name])),
    ...(dislikes.length && { dislikes: idsOf(dislikes) }),
  };
}

/** Ask for the continuation after *delay* milliseconds. From now on, older questions and their answers are void. */
function follow(delay = 0) {
  asking.abort();
  asking = new AbortController();
  clearTimeout(timer);
  timer = setTimeout(recommend, delay, asking.signal);
  $("items").setAttribute("aria-busy", "true");
}

async function recommend(signal) {
  const sent = bodyNow();
  const onWait = (reason, seconds) => showNotice(reason, `Trying again in ${plural(seconds, "second")}.`);
  saveState();
  try {
    const { content, ms } = await ask("recommend", { body: sent, signal, onWait });
    if (signal.aborted) return; // the answer had come already
    showAnswer(sent, content, ms);
    if (manifest?.version !== content.model) manifest = (await ask("model", { signal })).content;
    showModel();
    if (!areNamed) await nameDislikes(signal);
  } catch (error) {
    if (!signal.aborted) showError(error);
  }
}

/** Learn the names of the dislikes of an address. The answers of /recommend name the seeds alone. */
async function nameDislikes(signal) {
  areNamed = true;
  for (const [kind, ids] of Object.entries(idsOf(playlist.dislikes))) {
    const query = new URLSearchParams([...ids.map((id) => [nounOf(kind), id]), ["k", 1]]);
    const answer = await ask(`similar?${query}`, { signal }).catch(() => null); // one of them is unknown
    learn(kind, answer?.content.seeds[kind] ?? []);
  }
  showPlaylist();
}

function showAnswer(sent, content, ms) {
  const kind = content.tracks ? "tracks" : "artists";
  if (!sent.kind && kind !== defaults.kind) defaults.kind = options.kind = kind; // the catalogue has no tracks
  learn(kind, content[kind]);
  learnSeeds(sent, content);
  shown = { sent, kind, items: content[kind], unknown: content.unknown };
  showNotice();
  $("unlock").hidden = $("copied").hidden = true;
  const count = `${plural(shown.items.length, nounOf(kind))}${content.short ? " and no more" : ""}`;
  $("status").textContent = `${count}, ${STRATEGIES[content.strategy]}, ${Math.round(ms)} ms`;
  $("kinds").hidden = defaults.kind === "artists";
  $("forget").hidden = !readKey();
  $("docs").hidden = Boolean(readKey()); // a browser sends no key with a link
  showPlaylist();
  showHint();
  showItems();
}

function showItems() {
  const { items, sent } = shown;
  const place = items.findIndex(({ id }) => id === opened?.id);
  if (place < 0) opened = null;
  refill($("items"), items.map(rowOf), $("search"));
  $("items").setAttribute("aria-busy", "false");
  const isAsked = Object.keys(sent).length > 0;
  const reason = isAsked ? "Nothing is left to recommend. Loosen the filters." : "The catalogue is empty.";
  if (!items.length) $("items").append(el("li", { class: "nothing" }, reason));
  if (opened?.view === "why") fill(opened, items[place]); // the reasons are those of the answer before
}

function rowOf(item, place) {
  const entry = { kind: shown.kind, id: item.id };
  const dislike = () => change({ dislikes: [...playlist.dislikes, entry] });
  const actions = [
    opener("Similar", `to ${titleOf(item)}`, item, "similar"),
    opener("Why?", titleOf(item), item, "why"),
    button("Dislike", titleOf(item), dislike, { class: "quiet", "data-action": "dislike" }),
  ];
  return el("li", {},
    el("span", { class: "rank", "aria-hidden": "true" }, String(place + 1)),
    addButton(item, () => add([entry])),
    namesOf(item),
    scored(item),
    el("span", { class: "actions" }, ...actions),
    opened?.id === item.id ? opened.panel : null);
}

/** Return the button that opens and closes a view of *item*. */
function opener(text, rest, item, view) {
  const expanded = String(opened?.id === item.id && opened.view === view);
  const attributes = { class: "quiet", "data-action": view, "aria-expanded": expanded };
  return button(text, rest, () => toggle(item, view), attributes);
}

// Reasons and neighbours of an item

function toggle(item, view) {
  const isOpen = opened?.id === item.id && opened.view === view;
  opened = isOpen ? null : { id: item.id, view, panel: el("div", { class: "panel", role: "status" }, "…") };
  showItems();
  if (opened?.view === "similar") fill(opened, item);
}

async function fill({ panel, view }, item) {
  const onWait = (reason) => panel.replaceChildren(reason);
  try {
    panel.replaceChildren(...(await (view === "why" ? reasonsOf : neighboursOf)(item, onWait)));
  } catch (error) {
    panel.replaceChildren(error.message);
  }
}

async function neighboursOf(item, onWait) {
  const { kind } = shown;
  const query = new URLSearchParams({ [nounOf(kind)]: item.id, k: N_SIMILAR });
  const { content } = await ask(`similar?${query}`, { onWait });
  learn(kind, content[kind]);
  const rows = content[kind].map((near) =>
    el("li", {}, addButton(near, () => add([{ kind, id: near.id }])), namesOf(near), scored(near)));
  return [el("h3", {}, "Similar to ", el("bdi", {}, titleOf(item))), el("ol", {}, ...rows)];
}

async function reasonsOf(item, onWait) {
  const { sent, kind, items } = shown;
  const k = items.indexOf(item) + 1;
  const { content } = await ask("recommend", { body: { ...sent, k, explain: true }, onWait });
  const { reasons } = content[kind].find(({ id }) => id === item.id) ?? {};
  if (!reasons) return ["There are no reasons for this one."];
  const shares = reasons.shares.filter(({ share }) => share > 0).slice(0, N_SHARES);
  const bars = shares.map((seed) => {
    const bar = el("span", { class: "share" });
    bar.style.width = `${(100 * seed.share) / shares[0].share}%`;
    const share = el("span", { class: "score" }, seed.share.toFixed(3));
    return el("li", {}, el("bdi", { class: "name" }, seedOf(seed)), el("span", { class: "bar-of" }, bar), share);
  });
  const list = el("ul", { class: "shares", "aria-label": "Shares of the playlist in the score" }, ...bars);
  const sentences = reasons.because.map((text) => el("p", {}, `${text[0].toUpperCase()}${text.slice(1)}.`));
  return [...sentences, ...(bars.length ? [list] : [])];
}

function seedOf({ track, artist, title }) {
  if (title !== undefined) return `“${title}” in the title`;
  if (artist !== undefined) return `${titleOf(lookUp({ kind: "artists", id: artist }))}, artist`;
  const item = lookUp({ kind: "tracks", id: track });
  return [titleOf(item), artistOf(item)].filter(Boolean).join(", ");
}

// Notices

function showNotice(...lines) {
  $("notice").replaceChildren(...lines.map((line) => (typeof line === "string" ? el("p", {}, line) : line)));
}

function showError(error) {
  const isLocked = error.status === 401 || error.status === 403;
  const again = button("Try again", "", () => follow());
  if (error.status === 401) showNotice(readKey() ? "This key is not valid." : "This service needs a key.");
  else showNotice(error.message, again);
  $("forget").hidden = !readKey();
  $("unlock").hidden = !isLocked;
  if (isLocked) $("docs").hidden = true;
  if (isLocked) $("key").focus();
  $("status").textContent = "";
  $("items").setAttribute("aria-busy", "false");
}

function showHint() {
  const { items, kind } = shown;
  const artists = items.map((item) => (kind === "tracks" ? item.artist : item)).filter(Boolean);
  const distinct = [...new Map(artists.map(({ id, name }) => [id, { kind: "artists", id, name }])).values()];
  const examples = kind === "tracks" ? [{ kind, ...items[0] }, ...distinct.slice(1, 3)] : distinct.slice(0, 3);
  const chips = examples.map((example) => button(titleOf(example), "", () => add([example]), { class: "chip" }));
  $("hint").hidden = !items.length || playlist.seeds.length > 0 || playlist.title.trim() !== "";
  $("hint").replaceChildren("Add a track, an artist or a title, and the list continues it. For example: ", ...chips);
}

function showModel() {
  const { version, created_at: createdAt, shape, data, metrics = {} } = manifest;
  const measured = Object.entries(METRICS).filter(([name]) => metrics[name] !== undefined);
  const quality = measured.map(([name, text]) => text(metrics[name])).join(", ");
  const figures = [
    ["Model", version],
    ["Trained", ageOf(createdAt)],
    ["Catalogue", `${plural(shape.tracks, "track")}, ${plural(shape.artists, "artist")}`],
    ["Data", plural(data.playlists, data.kind === "playlists" ? "playlist" : "listener")],
    ["Quality", quality && `${quality}, on ${metrics.playlists.toLocaleString("en")} held out`],
  ];
  const said = figures.filter(([, text]) => text);
  const parts = said.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text)));
  $("model").replaceChildren(el("dl", {}, ...parts));
}

function ageOf(moment) {
  const seconds = (Date.now() - new Date(moment)) / 1000;
  const units = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
  const [size, unit] = units.find(([each]) => seconds >= each) ?? units.at(-1);
  return `${plural(Math.max(0, Math.floor(seconds / size)), unit)} ago`;
}

// The state, in the part of the address that no browser sends

const NAMES = new Map([
  ["track", ["seeds", "tracks"]],
  ["artist", ["seeds", "artists"]],
  ["not-track", ["dislikes", "tracks"]],
  ["not-artist", ["dislikes", "artists"]],
]);

function saveState() {
  const state = new URLSearchParams();
  if (playlist.title) state.set("title", playlist.title);
  for (const [name, [list, kind]] of NAMES) {
    for (const entry of playlist[list]) if (entry.kind === kind) state.append(name, entry.id);
  }
  for (const [name, value] of Object.entries(options)) if (value !== defaults[name]) state.set(name, value);
  history.replaceState(null, "", state.size ? `#${state}` : location.pathname + location.search);
}

function loadState() {
  playlist = { title: "", seeds: [], dislikes: [] };
  options = { ...defaults };
  past = [];
  areNamed = false;
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    const [list, kind] = NAMES.get(name) ?? [];
    if (list) playlist[list].push({ kind, id: value });
    else if (name === "title") playlist.title = value;
    else if (name === "kind") options.kind = value;
    else if (typeof defaults[name] === "boolean") options[name] = value === "true";
    else if (Object.hasOwn(defaults, name)) options[name] = Number(value);
  }
  showOptions();
  showPlaylist();
  follow();
}

// Options

const fields = () => [...$("options").elements].filter(({ name }) => Object.hasOwn(defaults, name));

function readOptions() {
  for (const { name, type, value, checked } of fields()) {
    if (type === "radio") options.kind = checked ? value : options.kind;
    else if (type === "checkbox") options[name] = checked;
    else options[name] = value === "" ? defaults[name] : Number(value);
  }
  showWords();
  follow(TYPING_MS);
}

function setOptions(next) {
  options = { ...options, ...next };
  showOptions();
  follow();
}

function showOptions() {
  for (const field of fields()) {
    if (field.type === "radio") field.checked = field.value === options.kind;
    else if (field.type === "checkbox") field.checked = options[field.name];
    else field.value = options[field.name] ?? "";
  }
  showWords();
}

function showWords() {
  const { popularity, diversity } = options;
  $("popularity-word").value = popularity < 0 ? "less known" : popularity > 0 ? "better known" : "as it comes";
  $("diversity-word").value = diversity > 0.5 ? "very diverse" : diversity > 0 ? "more diverse" : "as it comes";
  for (const name of ["popularity", "diversity"]) $(name).setAttribute("aria-valuetext", $(`${name}-word`).value);
  $("best").hidden = options.vary === null;
}

// Export

function saveAs(format) {
  const row = (item) => ({ ...item, artist: artistOf(item) });
  const { kind, items } = shown;
  const before = $("whole").checked ? playlist.seeds.filter((entry) => entry.kind === kind).map(lookUp) : [];
  save(format, [...before, ...items].map(row), playlist.title);
}

async function copyCurl() {
  $("command").value = curlOf(shown.sent);
  $("copied").hidden = false;
  $("export").open = false;
  $("command").select();
  // A browser lets a page copy only over TLS or on the same machine. Elsewhere a person copies the selected text.
  const isCopied = await navigator.clipboard?.writeText($("command").value).then(() => true, () => false);
  $("copied-note").textContent = isCopied ? "Copied." : "Copy it from here.";
}

// Events

function isTypingIn(field) {
  const isField = field.id !== "title" && field.matches?.("input[type=text], input[type=number], textarea");
  return isField && field.value !== "" && !field.readOnly;
}

const kindsOfCatalogue = () => (defaults.kind === "tracks" ? ["artists", "tracks"] : ["artists"]);
startSearch({ choose: (entry) => add([entry]), kinds: kindsOfCatalogue, entryOf });
document.addEventListener("keydown", (event) => {
  const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key === "z";
  if (!isUndo || isTypingIn(event.target)) return; // the browser undoes the typing
  event.preventDefault();
  undo();
});
$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", () => change({ title: "", seeds: [], dislikes: [] }));
$("search").addEventListener("paste", (event) => {
  const text = event.clipboardData.getData("text").trim();
  if (!/[\r\n]/.test(text)) return;
  event.preventDefault();
  addLines(text);
});
$("paste").addEventListener("submit", (event) => {
  event.preventDefault();
  addLines($("lines").value);
  $("lines").value = "";
});
$("title").addEventListener("input", () => change({ title: $("title").value }, "title"));
$("title").addEventListener("blur", () => (typing = ""));
$("options").addEventListener("input", readOptions);
$("options").addEventListener("submit", (event) => event.preventDefault());
$("vary").addEventListener("click", () => setOptions({ vary: Math.floor(Math.random() * 2 ** 31) }));
$("best").addEventListener("click", () => setOptions({ vary: null }));
$("reset").addEventListener("click", () => setOptions({ ...defaults, kind: options.kind, k: options.k }));
$("export").addEventListener("click", ({ target }) => shown && target.dataset.format && saveAs(target.dataset.format));
$("export").addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
  $("export").open = false;
  $("export").querySelector("summary").focus();
});
document.addEventListener("click", ({ target }) => {
  if (!$("export").contains(target)) $("export").open = false;
});
$("curl").addEventListener("click", () => shown && copyCurl());
$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey($("key").value.trim());
  $("key").value = "";
  follow();
});
$("forget").addEventListener("click", () => {
  forgetKey();
  location.reload();
});
window.addEventListener("hashchange", loadState);
loadState();
