// Elements of the page. Texts are foreign, so no function here takes markup.

export const $ = (id) => document.getElementById(id);
export const plural = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Return a button that shows *text*; a screen reader reads *rest* after it. */
export function button(text, rest, onClick, attributes = {}) {
  const unseen = rest ? el("span", { class: "unseen" }, ` ${rest}`) : null;
  const made = el("button", { type: "button", ...attributes }, text, unseen);
  made.addEventListener("click", onClick);
  return made;
}

/** Replace the children of *list*. The focus stays on the same button of the same place, or goes to *otherwise*. */
export function refill(list, children, otherwise) {
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const place = [...list.children].findIndex((child) => child.contains(focused));
  list.replaceChildren(...children);
  if (!focused) return;
  if (list.contains(focused)) return focused.focus(); // it is in a part that was kept
  const row = children[Math.min(place, children.length - 1)];
  (row?.querySelector(`[data-action="${focused.dataset.action}"]`) ?? otherwise).focus();
}
