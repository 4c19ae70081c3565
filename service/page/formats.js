// The files that a list can be saved as. An item has `id`, `name`, `artist` (a name or "") and perhaps a `score`.

const FORMULA = /^[=+\-@＝＋－＠\t\r\n]/;
const URI = /^[a-z][a-z0-9+.-]*:/i;
const oneLine = (text) => text.replace(/[\r\n]+/g, " ");
const labelOf = ({ artist, name }) => (artist ? `${artist} - ${name}` : name);

/** Return a table for spreadsheets. They would run a text that begins like a formula, so it gets an apostrophe. */
function csv(items) {
  const cell = (value) => {
    const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = items.map(({ id, name, artist, score = "" }) => [id, name, artist, score]);
  const lines = [["id", "name", "artist", "score"], ...rows].map((row) => row.map(cell).join(","));
  return `\ufeff${lines.join("\r\n")}\r\n`; // without the mark, some spreadsheets do not read UTF-8
}

/** Return a playlist for players. An id that begins with `#` would be a comment. */
function m3u8(items, title) {
  const lines = items.map((item) => [
    `#EXTINF:-1,${oneLine(labelOf(item))}`,
    item.id.replace(/^#|[\r\n]/g, (character) => encodeURIComponent(character)),
  ]);
  return [`#EXTM3U`, `#PLAYLIST:${oneLine(title)}`, ...lines.flat(), ""].join("\n");
}

/** Return a playlist as JSON, https://xspf.org/jspf. Its identifiers are URIs; an id that is none becomes one. */
function jspf(items, title) {
  const track = items.map(({ id, name, artist }) => ({
    identifier: [URI.test(id) ? id : `urn:segue:${encodeURIComponent(id)}`],
    title: name,
    ...(artist && { creator: artist }),
  }));
  return `${JSON.stringify({ playlist: { title, date: new Date().toISOString(), track } }, null, 1)}\n`;
}

const FORMATS = { csv: [csv, "text/csv"], m3u8: [m3u8, "audio/mpegurl"], jspf: [jspf, "application/json"] };

/** Save *items* as a file of the *format*, named after the *title*. */
export function save(format, items, title) {
  const [write, type] = FORMATS[format];
  const name = title.replace(/[^\p{L}\p{N} _-]+/gu, "").trim().slice(0, 80) || "continuation";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([write(items, title)], { type: `${type};charset=utf-8` }));
  link.download = `${name}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
