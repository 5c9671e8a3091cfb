// One pair's whole history, in a dialog: picture, captions, verdicts, relatives, and every column of every step.
import { address, ask, count, go, make, number, pictureOf, query, state } from "./address.js";

const find = (id) => document.getElementById(id);

function section(title, ...children) {
  return make("section", {}, make("h3", { textContent: title }), ...children);
}

function facts(entries) {
  const list = make("dl");
  for (const [name, value] of entries) list.append(make("dt", { textContent: name }), make("dd", {}, value));
  return list;
}

function link(pair, text) {
  const place = `${pair.shard}/${pair.row}`;
  const to = make("a", { href: address({ pair: place }), data: { pair: place } }, make("img", { src: pictureOf(pair), alt: "", loading: "lazy" }), make("code", { textContent: text ?? pair.key }));
  to.setAttribute("aria-label", `Open ${pair.key}`);
  return to;
}

function shown(value) {
  if (value === null || value === undefined) return make("i", { textContent: "none" });
  if (typeof value === "object") return make("code", { textContent: JSON.stringify(value) });
  return typeof value === "number" ? number(value) : String(value);
}

/** What a rule compared: `{"align.score": 0.27}` as `align.score 0.27`. */
function compared(text) {
  if (!text) return null;
  try {
    return Object.entries(JSON.parse(text)).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : number(value)}`).join(", ");
  } catch {
    return text;
  }
}

function verdict(said) {
  const card = make("div", { className: `verdict is-${said.status.replace(" ", "-")}` });
  card.append(make("p", {}, make("b", { className: "badge", textContent: said.status }), " ", make("small", { textContent: said.label })));
  const rows = [["rule", said.rule], ["says", said.expression], ["value", compared(said.value)], ["threshold", said.threshold], ["detail", said.detail]];
  card.append(facts(rows.filter(([, value]) => value).map(([name, value]) => [name, make("code", { textContent: value })])));
  return card;
}

/** What a captioner added to the original caption and took away, marked as in the report. */
function marked(caption) {
  const said = { lang: caption.lang || "", dir: "auto" };
  if (!caption.changes?.length) return make("p", { textContent: caption.text || "(empty)", ...said });
  return make("p", said, ...caption.changes.map(([kind, text]) => (kind === "same" ? text : make(kind, { textContent: text }))));
}

function captions(pair) {
  const list = make("ul", { className: "captions" });
  for (const caption of pair.captions) {
    const by = [caption.lang, caption.producer && caption.producer !== caption.source ? `by ${caption.producer}` : null].filter(Boolean).join(", ");
    list.append(make("li", {}, make("small", {}, make("b", { textContent: caption.source }), by ? ` ${by}` : ""), marked(caption)));
  }
  return list.children.length ? list : make("p", { className: "hint", textContent: "This pair has no caption." });
}

function original(found, pair) {
  const far = found.distance === null || found.distance === undefined ? "" : `, ${number(found.distance)} bits away`;
  const words = make("p", { textContent: `By ${found.step}, it repeats ${found.key}${far}.` });
  if (!found.pair) return make("div", {}, words, make("p", { className: "hint", textContent: "No pair of this dataset is called that." }));
  return make("div", {}, words, make("div", { className: "beside" }, link(pair, "this pair"), link(found.pair)));
}

function group(found) {
  const rest = found.pairs - 1 - found.members.length;
  const title = `${found.column} = ${found.value}: ${count(found.pairs)} pairs`;
  return make("div", {}, make("p", { textContent: title }), make("div", { className: "members" }, ...found.members.map((member) => link(member)), rest > 0 ? make("span", { className: "hint", textContent: `and ${count(rest)} more` }) : null));
}

function steps(pair) {
  return pair.steps.map((step) => make("details", { open: true }, make("summary", {}, make("b", { textContent: step.step }), ` ${step.component} `, make("code", { textContent: step.digest.slice(0, 8) })), facts(Object.entries(step.values).map(([name, value]) => [name, shown(value)]))));
}

function body(pair, about) {
  const picture = make("a", { className: "frame", href: `/pictures/${pair.shard}/${pair.row}`, target: "_blank", rel: "noopener" }, make("img", { src: `/pictures/${pair.shard}/${pair.row}`, alt: pair.captions[0]?.text || pair.key }));
  picture.setAttribute("aria-label", "Open the picture alone");
  const { key, licence, error, ...others } = pair.facts;
  const known = [["shard, row", `${pair.in}, ${pair.row}`], ["licence", licence || (about.dataset.licence ? `${about.dataset.licence} (of the dataset)` : null)], ...Object.entries(others), ...Object.entries(pair.labels), ["error", error]];
  const left = make("div", { className: "left" }, picture, section("Captions", captions(pair)), section("Facts", facts(known.filter(([, value]) => value).map(([name, value]) => [name, String(value)]))));
  const right = make("div", { className: "right" });
  if (pair.verdicts.length) right.append(section("Verdict", ...pair.verdicts.map(verdict)));
  if (pair.originals.length) right.append(section("It repeats", ...pair.originals.map((one) => original(one, pair))));
  if (pair.groups.length) right.append(section("Pairs of its groups", ...pair.groups.map(group)));
  right.append(section("Columns", ...steps(pair)));
  return make("div", { className: "pair-body" }, left, right);
}

export class Pair {
  constructor(onClose) {
    this.dialog = find("pair");
    this.shown = "";
    this.around = {};
    find("close").addEventListener("click", () => go({ pair: "" }));
    for (const name of ["before", "after"]) find(name).addEventListener("click", () => this.step(name));
    this.dialog.addEventListener("cancel", (event) => { event.preventDefault(); go({ pair: "" }); });
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) return go({ pair: "" });
      const to = event.target.closest("a[data-pair]");
      if (!to || event.metaKey || event.ctrlKey || event.shiftKey) return undefined;
      event.preventDefault();
      return go({ pair: to.dataset.pair });
    });
    this.dialog.addEventListener("keydown", (event) => {
      if (event.target.closest("input, select, textarea")) return;
      if (event.key === "ArrowLeft") this.step("before");
      if (event.key === "ArrowRight") this.step("after");
    });
    this.dialog.addEventListener("close", onClose);
  }

  step(name) {
    if (this.around[name]) go({ pair: this.around[name] });
  }

  /** Open what the address names, or close. */
  async show(about) {
    const place = state().pair;
    if (!place) {
      this.shown = "";
      if (this.dialog.open) this.dialog.close();
      return;
    }
    const asked = `${place}?${query()}`;
    if (asked === this.shown) return;
    this.shown = asked;
    try {
      const pair = await ask(`/api/pair/${place.split("/").map(encodeURIComponent).join("/")}?${query()}`);
      if (asked !== this.shown) return;
      this.around = pair;
      find("pair-key").textContent = pair.key;
      find("rank").textContent = pair.rank === null ? "not among those found" : `${count(pair.rank + 1)} of ${count(pair.found)}`;
      for (const name of ["before", "after"]) find(name).disabled = !pair[name];
      find("pair-body").replaceChildren(body(pair, about));
    } catch (error) {
      if (asked !== this.shown) return;
      this.around = {};
      find("pair-key").textContent = "No such pair";
      find("rank").textContent = "";
      find("pair-body").replaceChildren(make("p", { className: "problem", textContent: error.message }));
    }
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
    if (!this.dialog.contains(document.activeElement) || document.activeElement.disabled || !document.activeElement.closest("nav")) find("pair-key").focus();
  }
}
