// Distributions beside the pairs: bars of a number, to be brushed; the commonest values of a text, to be chosen.
import { ask, count, go, make, number, query, state } from "./address.js";

const WIDTH = 240, HEIGHT = 84;
const SVG = "http://www.w3.org/2000/svg";

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const literal = (value) => (typeof value === "boolean" ? String(value) : `'${String(value).replaceAll("'", "''")}'`);

/** The filter with a condition on one column added, or put in place of what this page wrote for it before. */
export function withCondition(filter, name, condition) {
  const bound = "-?[0-9.]+(?:e[-+]?[0-9]+)?";
  const text = "'(?:[^']|'')*'|true|false";
  const own = escaped(name);
  const written = new RegExp(`${own} >= ${bound}(?: AND ${own} < ${bound})?|${own} < ${bound}|${own} IS NULL|${own} = (?:${text})`);
  const now = filter.trim();
  if (!now) return condition;
  if (written.test(now)) return now.replace(written, () => condition);
  return `${/\bor\b/i.test(now) ? `(${now})` : now} AND ${condition}`;
}

export class Histograms {
  constructor(element, adder) {
    Object.assign(this, { element, adder, generation: 0 });
    adder.addEventListener("change", () => {
      if (adder.value) go({ h: [...this.shown, adder.value].join(",") });
    });
  }

  describe(about) {
    this.columns = new Map(about.columns.map((column) => [column.name, column]));
    this.first = about.histograms;
    const names = about.columns.filter((column) => column.kind !== "nested").map((column) => column.name);
    this.adder.replaceChildren(make("option", { value: "", textContent: "a column…" }), ...names.map((name) => make("option", { value: name, textContent: name })));
  }

  /** Draw them for the present address; a figure keeps its place while its bars are asked for. */
  async show() {
    const mine = ++this.generation;
    const asked = state().h;
    const sorted = this.columns.get(state().sort)?.kind === "number" ? [state().sort] : [];
    this.shown = asked === null ? [...new Set([...sorted, ...this.first])] : asked.split(",").filter(Boolean);
    this.adder.value = "";
    const present = new Map([...this.element.children].map((figure) => [figure.dataset.column, figure]));
    const figures = this.shown.map((name) => present.get(name) || make("figure", { className: "histogram", data: { column: name } }));
    this.element.replaceChildren(...figures);
    await Promise.all(figures.map(async (figure) => {
      try {
        const answer = await ask(`/api/histogram?${query({ column: figure.dataset.column })}`);
        if (mine === this.generation) this.draw(figure, answer);
      } catch (error) {
        if (mine === this.generation) figure.replaceChildren(this.title(figure.dataset.column), make("p", { className: "hint", textContent: error.message }));
      }
    }));
  }

  title(name) {
    const remove = make("button", { type: "button", className: "plain", textContent: "×" });
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => go({ h: this.shown.filter((other) => other !== name).join(",") }));
    return make("figcaption", {}, make("code", { textContent: name }), remove);
  }

  draw(figure, answer) {
    const parts = [this.title(answer.column), answer.kind === "number" ? this.bars(answer) : this.values(answer)];
    if (answer.kind === "number") parts.push(this.bounds(answer));
    const rest = [];
    if (answer.beyond) rest.push(`${count(answer.beyond)} beyond the ends`);
    if (answer.other) rest.push(`${count(answer.other)} have other values`);
    const note = make("p", { className: "hint", textContent: rest.join(", ") });
    if (answer.null) {
      const without = make("button", { type: "button", className: "link", textContent: `${count(answer.null)} without a value` });
      without.addEventListener("click", () => this.choose(answer.column, `${this.sql(answer.column)} IS NULL`));
      note.append(rest.length ? ", " : "", without);
    }
    figure.replaceChildren(...parts, note);
  }

  sql(name) {
    return this.columns.get(name)?.sql || name;
  }

  choose(name, condition) {
    go({ filter: withCondition(state().filter, this.sql(name), condition) });
  }

  /** Grey: every pair, to its own scale. Coloured: the pairs found, by class. Drag over it to filter. */
  bars(answer) {
    const chart = document.createElementNS(SVG, "svg");
    const found = answer.all.map((_, i) => Object.values(answer.classes).reduce((sum, counts) => sum + counts[i], 0));
    chart.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT + 16}`);
    chart.setAttribute("role", "img");
    const total = found.reduce((sum, value) => sum + value, 0);
    const [low, high] = [answer.edges[0], answer.edges.at(-1)];
    chart.setAttribute("aria-label", `${answer.column}: ${count(total)} pairs from ${number(low)} to ${number(high)}`);
    chart.classList.add("chart");
    const width = WIDTH / answer.all.length;
    const rect = (x, y, w, h, name) => {
      const bar = document.createElementNS(SVG, "rect");
      for (const [key, value] of Object.entries({ x, y, width: w, height: h, class: name })) bar.setAttribute(key, value);
      chart.append(bar);
      return bar;
    };
    const most = Math.max(1, ...answer.all), mostFound = Math.max(1, ...found);
    answer.all.forEach((value, i) => rect(i * width, HEIGHT - (HEIGHT * value) / most, width, (HEIGHT * value) / most, "everything"));
    answer.all.forEach((_, i) => {
      let base = HEIGHT;
      for (const [name, counts] of Object.entries(answer.classes)) {
        const tall = (HEIGHT * counts[i]) / mostFound;
        if (tall) rect(i * width + 0.4, (base -= tall), Math.max(width - 0.8, 0.6), tall, `is-${name.replace(" ", "-")}`);
      }
    });
    for (const [x, value, anchor] of [[0, low, "start"], [WIDTH, high, "end"]]) {
      const tick = document.createElementNS(SVG, "text");
      for (const [key, to] of Object.entries({ x, y: HEIGHT + 13, "text-anchor": anchor })) tick.setAttribute(key, to);
      tick.textContent = number(value);
      chart.append(tick);
    }
    this.brush(chart, answer, rect(0, 0, 0, HEIGHT, "brush"));
    return chart;
  }

  brush(chart, answer, shade) {
    const bins = answer.all.length;
    const at = (event) => {
      const box = chart.getBoundingClientRect();
      return Math.max(0, Math.min(bins - 1, Math.floor((bins * (event.clientX - box.left)) / box.width)));
    };
    let from = null;
    const draw = (event) => {
      const [first, last] = [Math.min(from, at(event)), Math.max(from, at(event))];
      shade.setAttribute("x", (first * WIDTH) / bins);
      shade.setAttribute("width", ((last - first + 1) * WIDTH) / bins);
      return [first, last];
    };
    chart.addEventListener("pointerdown", (event) => {
      from = at(event);
      chart.setPointerCapture(event.pointerId);
      draw(event);
    });
    chart.addEventListener("pointermove", (event) => { if (from !== null) draw(event); });
    chart.addEventListener("pointercancel", () => { from = null; shade.setAttribute("width", 0); });
    chart.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const [first, last] = draw(event);
      from = null;
      // The first and the last bar hold what lies beyond them too.
      this.between(answer.column, first ? answer.edges[first] : null, last < bins - 1 ? answer.edges[last + 1] : null);
    });
  }

  between(name, low, high) {
    const own = this.sql(name);
    const parts = [low === null ? null : `${own} >= ${low}`, high === null ? null : `${own} < ${high}`].filter(Boolean);
    if (parts.length) this.choose(name, parts.join(" AND "));
  }

  /** The brush for a keyboard: two bounds, and Enter. */
  bounds(answer) {
    const field = (label, value) => {
      const input = make("input", { type: "number", step: "any", placeholder: number(value) });
      input.setAttribute("aria-label", `${answer.column} ${label}`);
      return input;
    };
    const from = field("at least", answer.edges[0]), to = field("below", answer.edges.at(-1));
    const form = make("form", { className: "bounds" }, from, " to ", to, make("button", { textContent: "Apply" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.between(answer.column, from.value === "" ? null : from.value, to.value === "" ? null : to.value);
    });
    return form;
  }

  values(answer) {
    const found = answer.labels.map((_, i) => Object.values(answer.classes).reduce((sum, counts) => sum + counts[i], 0));
    const most = Math.max(1, ...found);
    const list = make("ul", { className: "values" });
    answer.labels.forEach((label, i) => {
      const bar = make("span", { className: "share" });
      bar.style.width = `${(100 * found[i]) / most}%`;
      const button = make("button", { type: "button", title: String(label) }, bar, make("span", { className: "label", textContent: String(label) || "(empty)" }), make("span", { className: "count", textContent: count(found[i]) }));
      button.addEventListener("click", () => this.choose(answer.column, `${this.sql(answer.column)} = ${literal(label)}`));
      list.append(make("li", {}, button));
    });
    return list;
  }
}
