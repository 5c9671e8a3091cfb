// The page's state is its address: shareable, and the back button works.

const DEFAULTS = { filter: "", sort: "", desc: "", show: "", a: null, b: "", page: "1", view: "grid", h: null, pair: "" };
const QUERY = ["filter", "sort", "desc", "show", "a", "b"]; // what the server is asked by
const ELSEWHERE = { filter: 1, sort: 1, desc: 1, show: 1, a: 1, b: 1 }; // a change of these leads to the first page

export function state() {
  const said = new URLSearchParams(location.search);
  return Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, said.has(name) ? said.get(name) : value]));
}

function text(values) {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== DEFAULTS[name] && value !== null) said.set(name, value);
  return said.size ? `?${said}` : location.pathname;
}

/** The address of the present state with these changes. */
export function address(changes) {
  const next = { ...state(), ...changes };
  if (Object.keys(changes).some((name) => ELSEWHERE[name]) && !("page" in changes)) next.page = "1";
  return text(next);
}

/** Go there; `onAddress` is called for this as for the back button. */
export function go(changes) {
  const next = address(changes);
  if (next === (location.search || location.pathname)) return;
  history.pushState(null, "", next);
  dispatchEvent(new Event("address"));
}

export function onAddress(work) {
  addEventListener("address", work);
  addEventListener("popstate", work);
}

/** The part of the state that the server is asked by, as a query. */
export function query(more = {}) {
  const now = state();
  const said = new URLSearchParams();
  for (const name of QUERY) if (now[name] !== null && (now[name] !== "" || name === "a")) said.set(name, now[name]);
  for (const [name, value] of Object.entries(more)) said.set(name, value);
  return said.toString();
}

/** What the server answers, to `body` if it is told something; throws with one line if it does not. */
export async function ask(path, body) {
  const told = body ? { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) } : {};
  const response = await fetch(path, told).catch(() => { throw new Error("The explorer does not answer; is it still running?"); });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `The explorer answered ${response.status}.`);
  if (answer.problem) throw Object.assign(new Error(answer.problem), { mistake: true });
  return answer;
}

export function make(tag, properties = {}, ...children) {
  const { data, ...own } = properties;
  const element = Object.assign(document.createElement(tag), own);
  Object.assign(element.dataset, data);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function number(value) {
  if (typeof value !== "number") return value === null || value === undefined ? "–" : String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 10000 ? String(value) : value.toLocaleString("en");
  return String(Number(value.toPrecision(4)));
}

export const count = (value) => value.toLocaleString("en");
export const pictureOf = (pair) => `/thumbnails/${pair.shard}/${pair.row}.jpg`;
