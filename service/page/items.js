// Tracks and artists. An entry is { kind, id }, as a request names an item; the id may be a name.

export const KINDS = ["tracks", "artists"];
export const nounOf = (kind) => kind.slice(0, -1);
export const keyOf = ({ kind, id }) => `${kind} ${id}`;
export const titleOf = (item) => item.name || item.id;
export const artistOf = (item) => item.artist?.name ?? "";

/** Return the ids of *entries* by their kinds, without kinds that none has. */
export function idsOf(entries) {
  const ids = KINDS.map((kind) => [kind, entries.filter((entry) => entry.kind === kind).map(({ id }) => id)]);
  return Object.fromEntries(ids.filter(([, found]) => found.length));
}

const known = new Map(); // the items of all answers, by the keys of their entries

/** Return the item that *entry* names, as far as any answer has told. */
export const lookUp = (entry) => known.get(keyOf(entry)) ?? { id: entry.id, name: entry.id };

export function learn(kind, items) {
  for (const item of items) {
    known.set(keyOf({ kind, id: item.id }), item);
    if (item.artist) known.set(keyOf({ kind: "artists", id: item.artist.id }), item.artist);
  }
}

/** Learn which items the ids and names of the request *sent* mean. */
export function learnSeeds(sent, { seeds, unknown }) {
  for (const kind of KINDS) {
    learn(kind, seeds[kind]);
    const missing = new Set(unknown[kind]);
    const given = (sent[kind] ?? []).filter((id) => !missing.has(id));
    if (given.length !== seeds[kind].length) continue; // two of them mean the same item
    given.forEach((id, i) => known.set(keyOf({ kind, id }), seeds[kind][i]));
  }
}
