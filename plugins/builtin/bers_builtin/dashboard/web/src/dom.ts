// Elements, made of text and never of markup: what an event says is shown, and does nothing.

type Child = Node | string | number | null | undefined | false;

interface Properties {
  class?: string;
  data?: Record<string, string | undefined>;
  attributes?: Record<string, string>;
  on?: { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };
}

export function h<K extends keyof HTMLElementTagNameMap>(
  name: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(name);
  if (properties.class) node.className = properties.class;
  for (const [key, value] of Object.entries(properties.data ?? {})) if (value !== undefined) node.dataset[key] = value;
  for (const [key, value] of Object.entries(properties.attributes ?? {})) node.setAttribute(key, key === "value" ? value : plain(value));
  for (const [key, react] of Object.entries(properties.on ?? {})) node.addEventListener(key, react as EventListener);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
  return node;
}

const asNode = (child: Node | string | number): Node | string => (child instanceof Node ? child : plain(String(child)));

// Of what nobody sees: control characters, and those that turn round the direction of everything behind them.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** A text of which everything can be seen: what would hide or turn it round is a mark instead. */
export const plain = (text: string): string => text.replace(UNSEEN, "\ufffd");

/** A link to another view, or within this one. Addresses are always of this page's own origin. */
export function link(href: string, ...children: Child[]): HTMLAnchorElement {
  return h("a", { attributes: { href } }, ...children);
}

export function byId(id: string): HTMLElement {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return node;
}

/** Write a text where it differs, so that nothing is announced that did not change. */
export function show(node: Element | null, text: string): void {
  const seen = plain(text);
  if (node && node.textContent !== seen) node.textContent = seen;
}

export function mark(word: string, status: string): HTMLElement {
  return h("span", { class: "mark", data: { status } }, word);
}

export function severity(word: string): HTMLElement {
  return h("span", { class: "mark", data: { severity: word } }, word);
}

/** A link that opens what it leads to on this page, where nobody asks for a page of its own. */
export function opener(href: string, says: string, open: () => void): HTMLAnchorElement {
  const there = link(href, says);
  there.addEventListener("click", (event) => {
    event.preventDefault();
    open();
  });
  return there;
}

/** Names, each with what it is. */
export function facts(rows: readonly (readonly [string, Child])[]): HTMLElement {
  return h("dl", { class: "summary" }, ...rows.map(([name, fact]) => h("div", {}, h("dt", {}, name), h("dd", {}, fact))));
}

/** A table with a caption for those who do not see it, and the names of columns beside each cell on small screens. */
export function table(caption: string, columns: readonly string[], rows: readonly Row[]): HTMLTableElement {
  const numeric = (name: string) => name.startsWith("#");
  const titled = columns.map((name) => name.replace(/^#/, ""));
  return h(
    "table",
    {},
    h("caption", { class: "unseen" }, caption),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ...columns.map((name, at) =>
          h("th", { class: numeric(name) ? "n" : "", attributes: { scope: "col" } }, titled[at] ?? ""),
        ),
      ),
    ),
    h(
      "tbody",
      {},
      ...rows.map((row) =>
        h(
          "tr",
          row.data ? { data: row.data } : {},
          ...row.cells.map((cell, at) =>
            at === 0
              ? h("th", { attributes: { scope: "row" } }, cell)
              : h("td", { class: numeric(columns[at] ?? "") ? "n" : "", data: { label: titled[at] } }, cell),
          ),
        ),
      ),
    ),
  );
}

export interface Row {
  cells: readonly Child[];
  data?: Record<string, string>;
}

/** Show other children, and keep those that say the same: whoever reads or presses one of them is not disturbed.
 *
 * What has a `data-key` is kept only as itself, so that a button never acts on another row than its own.
 */
export function renew(place: Element, ...children: (Node | string)[]): void {
  const wanted = document.createElement(place.tagName);
  wanted.append(...children.map(asNode));
  const around = focusWithin(place);
  renewChildren(place, wanted);
  if (around.length && !around[0]?.isConnected) focusNear(around);
}

/** What has the focus in a place, and what stands around it there, from the inside out. */
export function focusWithin(place: Element): HTMLElement[] {
  const found: HTMLElement[] = [];
  for (let node = document.activeElement; node && place.contains(node); node = node.parentElement) found.push(node as HTMLElement);
  return found;
}

/** What had the focus is gone: whoever uses the keyboard goes on where it was, and not at the top of the page. */
export function focusNear(around: readonly HTMLElement[]): void {
  const near = around.find((node) => node.isConnected);
  if (!near) return;
  if (!near.hasAttribute("tabindex")) near.tabIndex = -1;
  near.focus({ preventScroll: true });
}

function renewChildren(old: Element, wanted: Element): void {
  const nodes = [...wanted.childNodes];
  nodes.forEach((node, at) => {
    const known = old.childNodes[at];
    if (!known) old.append(node);
    else if (!isSame(known, node)) known.replaceWith(node);
    else if (known instanceof Element) renewElement(known, node as Element);
    else if (known.nodeValue !== node.nodeValue) known.nodeValue = node.nodeValue;
  });
  while (old.childNodes.length > nodes.length) old.lastChild?.remove();
}

function renewElement(old: Element, wanted: Element): void {
  for (const { name } of [...old.attributes]) {
    const holdsFocus = name === "tabindex" && old === document.activeElement; // It would let go of it.
    if (!wanted.hasAttribute(name) && !holdsFocus) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  renewChildren(old, wanted);
}

function isSame(one: Node, other: Node): boolean {
  if (one.nodeName !== other.nodeName) return false;
  return !(one instanceof Element && other instanceof Element) || one.getAttribute("data-key") === other.getAttribute("data-key");
}
