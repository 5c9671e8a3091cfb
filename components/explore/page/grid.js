// The pairs found, a virtual grid: only what is in view is in the document, however many there are.
import { address, ask, count, make, number, pictureOf, query } from "./address.js";

const CHUNK = 120; // pairs asked for at once
export const PER_PAGE = 6000; // beyond it another page: a browser cannot make an element of any height
const LOOKS = {
  grid: { least: 172, gap: 12, height: (width) => width + 84, columns: 2 },
  captions: { least: 400, gap: 12, height: () => 208, columns: 1 },
};

export class Grid {
  constructor(element, open) {
    this.element = element;
    this.open = open;
    this.total = 0;
    this.current = 0; // position of the tile that Tab leads to
    this.tiles = new Map(); // position -> element in the document
    this.generation = 0;
    let waiting = false;
    const soon = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; this.draw(); });
    };
    addEventListener("scroll", soon, { passive: true });
    new ResizeObserver(() => { if (this.measure()) this.place(); soon(); }).observe(element);
    element.addEventListener("keydown", (event) => this.steer(event));
    element.addEventListener("click", (event) => {
      const tile = event.target.closest("a");
      if (!tile || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      this.current = Number(tile.parentElement.dataset.at);
      this.open(tile.dataset.pair);
    });
  }

  /** Show `found` pairs of the present address, from `start` on; `items` are the first of them. */
  show({ found, start, items, look, sort, comparing }) {
    Object.assign(this, { look: LOOKS[look], name: look, sort, comparing, start });
    this.generation += 1;
    this.total = Math.min(found - start, PER_PAGE);
    this.chunks = new Map([[0, items]]);
    this.asked = new Set([0]);
    this.current = 0;
    this.query = query();
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    this.element.className = `grid ${look}`;
    this.measure();
    this.place();
    this.draw();
  }

  measure() {
    if (!this.look) return false;
    const width = this.element.clientWidth;
    const columns = Math.max(this.look.columns, Math.floor((width + this.look.gap) / (this.look.least + this.look.gap)));
    const tile = (width - this.look.gap * (columns - 1)) / columns;
    const changed = columns !== this.perRow || tile !== this.tileWidth;
    Object.assign(this, { perRow: columns, tileWidth: tile, tileHeight: this.look.height(tile) });
    this.element.style.height = `${Math.max(0, Math.ceil(this.total / columns) * (this.tileHeight + this.look.gap))}px`;
    return changed;
  }

  place() {
    for (const [at, tile] of this.tiles) this.put(tile, at);
  }

  put(tile, at) {
    const x = (at % this.perRow) * (this.tileWidth + this.look.gap);
    const y = Math.floor(at / this.perRow) * (this.tileHeight + this.look.gap);
    Object.assign(tile.style, { width: `${this.tileWidth}px`, height: `${this.tileHeight}px`, transform: `translate(${x}px, ${y}px)` });
  }

  /** Positions in view, with half a window more on either side. */
  range() {
    const top = -this.element.getBoundingClientRect().top;
    const row = this.tileHeight + this.look.gap;
    const first = Math.max(0, Math.floor((top - innerHeight / 2) / row)) * this.perRow;
    const last = Math.ceil((top + innerHeight * 1.5) / row) * this.perRow;
    return [Math.min(first, this.total), Math.max(0, Math.min(last, this.total))];
  }

  draw() {
    if (!this.look) return;
    const [first, last] = this.range();
    for (const [at, tile] of this.tiles) {
      const held = tile.contains(document.activeElement);
      if ((at < first || at >= last) && !held) { tile.remove(); this.tiles.delete(at); }
    }
    let previous = null;
    for (let at = first; at < last; at += 1) {
      if (!this.tiles.has(at)) {
        const tile = this.tile(at);
        this.tiles.set(at, tile);
        this.put(tile, at);
        if (previous) previous.after(tile); else this.element.prepend(tile); // in the order they are read
      }
      previous = this.tiles.get(at);
    }
    for (let chunk = Math.floor(first / CHUNK); chunk * CHUNK < last; chunk += 1) this.fetch(chunk);
  }

  async fetch(chunk) {
    if (this.asked.has(chunk)) return;
    this.asked.add(chunk);
    const mine = this.generation;
    const from = this.start + chunk * CHUNK;
    try {
      const answer = await ask(`/api/pairs?${this.query}&from=${from}&count=${CHUNK}`);
      if (mine !== this.generation) return;
      this.chunks.set(chunk, answer.items);
      for (const [at, tile] of this.tiles) if (Math.floor(at / CHUNK) === chunk) this.fill(tile, at);
    } catch {
      if (mine === this.generation) this.asked.delete(chunk); // asked again by the next scroll
    }
  }

  item(at) {
    return (this.chunks.get(Math.floor(at / CHUNK)) || [])[at % CHUNK];
  }

  tile(at) {
    const tile = make("li", { className: "tile", data: { at } });
    tile.setAttribute("aria-setsize", this.total);
    tile.setAttribute("aria-posinset", at + 1);
    this.fill(tile, at);
    return tile;
  }

  fill(tile, at) {
    const item = this.item(at);
    if (!item) return;
    const place = `${item.shard}/${item.row}`;
    const link = make("a", { href: address({ pair: place }), tabIndex: at === this.current ? 0 : -1, data: { pair: place } });
    link.className = `card is-${item.class.replace(" ", "-")}`;
    const picture = make("img", { src: pictureOf(item), alt: "", loading: "eager", decoding: "async" });
    const said = make("span", { className: "said" });
    const shown = this.name === "grid" ? item.captions.slice(0, 1) : item.captions;
    for (const caption of shown) {
      const source = this.name === "grid" ? null : make("b", { textContent: `${caption.source} ` });
      said.append(make("span", { className: "caption" }, source, caption.text || "(empty)"));
    }
    if (!shown.length) said.append(make("span", { className: "caption none", textContent: "no caption" }));
    link.append(make("span", { className: "mount" }, picture), make("span", { className: "words" }, said, this.meta(item)));
    link.setAttribute("aria-label", `${item.key}: ${item.captions[0]?.text || "no caption"}`);
    tile.replaceChildren(link);
  }

  meta(item) {
    const names = { first: "only A", second: "only B" };
    const why = this.comparing ? names[item.class] || item.class : (item.class === "dropped" && item.rule ? `\u2212 ${item.rule}` : item.class);
    const meta = make("span", { className: "meta" }, make("span", { className: "why", textContent: item.class === "pairs" ? item.key : why, title: [item.class, item.rule].filter(Boolean).join(": ") }));
    if (this.sort && this.sort !== "random") meta.append(make("span", { className: "value", textContent: number(item.value), title: this.sort }));
    return meta;
  }

  /** Arrow keys walk over the tiles; the page follows. */
  steer(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.perRow, ArrowUp: -this.perRow, PageDown: 4 * this.perRow, PageUp: -4 * this.perRow };
    let next = this.current;
    if (event.key in steps) next += steps[event.key];
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = this.total - 1;
    else return;
    event.preventDefault();
    this.focus(Math.max(0, Math.min(next, this.total - 1)));
  }

  focus(at) {
    if (!this.total) return;
    this.tiles.get(this.current)?.firstElementChild?.setAttribute("tabindex", "-1");
    this.current = at;
    const row = this.tileHeight + this.look.gap;
    const top = this.element.getBoundingClientRect().top + Math.floor(at / this.perRow) * row;
    if (top < 0) scrollBy({ top: top - 12, behavior: "instant" });
    else if (top + row > innerHeight) scrollBy({ top: top + row - innerHeight + 12, behavior: "instant" });
    this.draw();
    const link = this.tiles.get(at)?.firstElementChild;
    if (!link) return;
    link.tabIndex = 0;
    link.focus({ preventScroll: true });
  }

  describe() {
    return this.total ? `${count(this.start + 1)}–${count(this.start + this.total)}` : "";
  }
}
