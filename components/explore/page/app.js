// The explorer: what is asked stands in the address, what is found in the grid. Talks to this server alone.
import { ask, count, go, make, number, onAddress, query, state } from "./address.js";
import { Grid, PER_PAGE } from "./grid.js";
import { Histograms } from "./histograms.js";
import { Pair } from "./pair.js";
import { Saved } from "./saved.js";

const find = (id) => document.getElementById(id);
const filter = find("filter"), problem = find("problem"), told = find("told"), status = find("status");
const sort = find("sort"), direction = find("direction"), first = find("first"), second = find("second");

let about = null;
let latest = 0; // number of the newest question: a slower, older answer is thrown away
let asked = null; // what the pairs on the page were asked by
const grid = new Grid(find("grid"), (place) => go({ pair: place }));
const histograms = new Histograms(find("histograms"), find("add-histogram"));
const pair = new Pair(() => grid.focus(grid.current));
const saved = new Saved(async (gone) => {
  about = await ask("/api/about");
  describe();
  const now = state();
  if (gone.includes(now.a) || gone.includes(now.b)) go({ a: gone.includes(now.a) ? null : now.a, b: "", show: "" });
  else reflect();
});

// ---- what there is --------------------------------------------------------------------------

function describe() {
  const { dataset } = about;
  find("run").replaceChildren(make("b", { textContent: about.name }), ` ${count(dataset.pairs)} pairs of ${dataset.name} in ${count(dataset.shards)} shards`);
  document.title = `${about.name} · Pairwright explorer`;
  find("gaps").replaceChildren(...about.gaps.map((says) => make("p", { textContent: says })));
  const sortable = about.columns.filter((column) => column.kind !== "nested");
  sort.replaceChildren(make("option", { value: "", textContent: "the dataset's order" }), make("option", { value: "random", textContent: "chance" }));
  for (const kind of ["number", "category"]) {
    const own = sortable.filter((column) => column.kind === kind).map((column) => make("option", { value: column.name, textContent: column.name }));
    if (own.length) sort.append(make("optgroup", { label: kind === "number" ? "numbers" : "texts" }, ...own));
  }
  const options = () => about.selections.map((one) => make("option", { value: one.name, textContent: `${one.label}: ${count(one.counts.kept)} kept` }));
  first.replaceChildren(make("option", { value: "", textContent: "none" }), ...options());
  second.replaceChildren(make("option", { value: "", textContent: "nothing" }), ...options());
  for (const select of [first, second]) select.closest("label").hidden = !about.selections.length;
  find("column-list").replaceChildren(...columnList());
  histograms.describe(about);
  saved.describe(about);
}

function columnList() {
  const steps = new Map();
  for (const column of about.columns) {
    const step = column.name.split(".")[0];
    if (!steps.has(step)) steps.set(step, []);
    steps.get(step).push(column);
  }
  return [...steps].map(([step, columns]) => make("p", {}, make("b", { textContent: step }), ...columns.map((column) => {
    const button = make("button", { type: "button", className: "chip", title: column.type.toLowerCase(), textContent: column.name.slice(step.length + 1) });
    button.setAttribute("aria-label", `Write ${column.name}`);
    button.addEventListener("click", () => { write(column.sql); });
    return button;
  })));
}

function write(text) {
  const space = filter.selectionStart && !/[\s(]$/.test(filter.value.slice(0, filter.selectionStart)) ? " " : "";
  filter.setRangeText(`${space}${text} `, filter.selectionStart, filter.selectionEnd, "end");
  filter.focus();
}

// ---- what is asked --------------------------------------------------------------------------

function reflect() {
  const now = state();
  if (document.activeElement !== filter || !filter.value) filter.value = now.filter;
  find("clear").hidden = !now.filter;
  sort.value = now.sort;
  direction.textContent = now.desc === "1" ? "descending" : "ascending";
  direction.setAttribute("aria-pressed", now.desc === "1");
  direction.disabled = !now.sort || now.sort === "random";
  first.value = now.a ?? about.own ?? "";
  second.value = now.b;
  second.disabled = !first.value;
  for (const radio of document.getElementsByName("view")) radio.checked = radio.value === now.view;
}

async function show() {
  if (!about) return;
  reflect();
  const now = state();
  const question = `${query()}#${now.page}#${now.view}`;
  const bars = `${query()}#${now.h}`;
  if (question !== asked) await pairs(question);
  // A filter that could not be answered is not asked once more for every histogram.
  if (question === asked && bars !== show.bars) { show.bars = bars; histograms.show(); }
  pair.show(about);
}

async function pairs(question) {
  const mine = ++latest;
  const now = state();
  const start = (Math.max(1, Number.parseInt(now.page, 10) || 1) - 1) * PER_PAGE;
  find("grid").setAttribute("aria-busy", "true");
  const began = performance.now();
  try {
    const answer = await ask(`/api/pairs?${query({ from: start, count: 120 })}`);
    if (mine !== latest) return;
    const again = asked !== null && asked.split("#").slice(0, 2).join() !== question.split("#").slice(0, 2).join();
    asked = question;
    fine(answer);
    const comparing = Boolean(state().b);
    grid.show({ ...answer, look: now.view === "captions" ? "captions" : "grid", sort: now.sort, comparing });
    if (again) find("ask").scrollIntoView({ block: "start", behavior: "instant" });
    classes(answer, comparing);
    pager(answer);
    const which = grid.describe();
    status.textContent = answer.found ? `${count(answer.found)} of ${count(answer.of)} pairs · ${which} · ${Math.round(performance.now() - began)} ms` : `None of ${count(answer.of)} pairs`;
  } catch (error) {
    if (mine !== latest) return;
    asked = null;
    fail(error.message);
  } finally {
    if (mine === latest) find("grid").setAttribute("aria-busy", "false");
  }
}

function fine(answer) {
  problem.hidden = true;
  filter.removeAttribute("aria-invalid");
  const values = Object.entries(answer.thresholds).map(([text, value]) => `${text} = ${number(value)}`);
  told.textContent = values.join(", ");
  told.hidden = !values.length;
}

/** The mistake, beside the box; what was found before stays. */
function fail(words) {
  problem.textContent = words;
  problem.hidden = false;
  filter.setAttribute("aria-invalid", "true");
  if (!grid.total) status.textContent = "";
}

function classes(answer, comparing) {
  const names = comparing ? { both: "kept by both", first: "only A", second: "only B", neither: "neither" } : {};
  const all = Object.values(answer.classes).reduce((sum, value) => sum + value, 0);
  const now = state().show;
  const entries = [["", "all", all], ...Object.entries(answer.classes).filter(([name, value]) => name !== "pairs" && (value || name === now || name in names)).map(([name, value]) => [name, names[name] || name, value])];
  find("classes").replaceChildren(...entries.map(([name, label, value]) => {
    const button = make("button", { type: "button", className: name ? `class is-${name.replace(" ", "-")}` : "class", data: { show: name } }, make("b", { textContent: count(value) }), ` ${label}`);
    button.setAttribute("aria-pressed", String(name === now));
    button.addEventListener("click", () => {
      go({ show: name });
      find("classes").querySelector(`[data-show="${name}"]`)?.focus();
    });
    return button;
  }));
}

function pager(answer) {
  const pages = Math.max(1, Math.ceil(answer.found / PER_PAGE));
  const page = Math.floor(answer.start / PER_PAGE) + 1;
  find("pager").hidden = pages === 1 && page === 1;
  find("pages").textContent = count(pages);
  Object.assign(find("page"), { value: page, max: pages });
  for (const button of find("pager").querySelectorAll("button")) {
    button.disabled = page + Number(button.dataset.page) < 1 || page + Number(button.dataset.page) > pages;
  }
}

// ---- what a person does ---------------------------------------------------------------------

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (filter.value.trim() === state().filter) { asked = null; show(); } else go({ filter: filter.value.trim() });
});
filter.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); find("ask").requestSubmit(); }
});
find("clear").addEventListener("click", () => { filter.value = ""; go({ filter: "" }); filter.focus(); });
sort.addEventListener("change", () => {
  const kind = about.columns.find((column) => column.name === sort.value)?.kind;
  go({ sort: sort.value, desc: kind === "number" ? "1" : "" });
});
direction.addEventListener("click", () => go({ desc: state().desc === "1" ? "" : "1" }));
first.addEventListener("change", () => go({ a: first.value, show: "", ...(first.value ? {} : { b: "" }) }));
second.addEventListener("change", () => go({ b: second.value, show: "" }));
for (const radio of document.getElementsByName("view")) radio.addEventListener("change", () => go({ view: radio.value }));
find("page").addEventListener("change", () => go({ page: String(Math.max(1, Math.min(Number(find("page").value) || 1, Number(find("page").max)))) }));
for (const button of find("pager").querySelectorAll("button")) {
  button.addEventListener("click", () => go({ page: String(Number(find("page").value) + Number(button.dataset.page)) }));
}
addEventListener("keydown", (event) => {
  if (event.key !== "/" || pair.dialog.open || event.target.closest("input, textarea, select")) return;
  event.preventDefault();
  filter.focus();
});
onAddress(() => { filter.value = state().filter; show(); });
if (matchMedia("(max-width: 860px)").matches) find("distributions").open = false;

try {
  about = await ask("/api/about");
  describe();
  await show();
} catch (error) {
  fail(error.message);
  status.textContent = "";
}
