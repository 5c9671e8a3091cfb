// The labelling page: a picture, its captions, a ranking by keys or by mouse. Talks to this server alone.
"use strict";

const find = (id) => document.getElementById(id);
const desk = find("desk"), finished = find("finished"), list = find("captions"), status = find("status");
const problem = find("problem"), help = find("help"), nameBox = find("name"), picture = find("picture");
const ORDINALS = ["Best", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th"];
const RETRY = 1500; // ms

let session = null; // what /api/session said
let labeller = "";
let current = null; // the serving on the page
let queue = []; // the servings after it, their pictures fetched
let work = null; // what was chosen on this picture so far
let progress = {};
let outbox = []; // answers sent but not acknowledged; kept by the browser, they outlive a reload
let sending = null; // the promise of the outbox being emptied, or null
let behind = false; // whether the server kept what was sent but could not say what is next
let passing = false; // whether the problem shown is over once the server answers

function make(tag, properties = {}, ...children) {
  const { dataset, ...plain } = properties;
  const element = Object.assign(document.createElement(tag), plain);
  Object.assign(element.dataset, dataset || {});
  element.append(...children);
  return element;
}

// ---- talking to the server ----------------------------------------------------------------------

class Refused extends Error {}

// Errors carry the server's own words; only where there was no response at all it "does not answer".
async function ask(path, how) {
  const response = await fetch(path, how).catch(() => { throw new Error("the server does not answer"); });
  const answer = await response.json().catch(() => null); // cut short, or of something between the server and us
  const why = answer?.error || `the server answers with status ${response.status}`;
  if (response.status === 422) throw new Refused(why);
  if (!response.ok || !answer) throw new Error(why);
  return answer;
}

const post = (path, body) => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
const pause = () => new Promise((go) => setTimeout(go, RETRY));

const place = () => `pairwright-outbox-${session.store}`;

function keep(body) {
  outbox.push(body);
  localStorage.setItem(place(), JSON.stringify(outbox));
  return flush();
}

// Sends what is in the outbox, in order, until it is empty and the page knows what is next; what fails is tried again.
function flush() {
  sending = sending || (async () => {
    while (outbox.length || behind) {
      const answer = outbox[0];
      let failed = false;
      try {
        const state = await (answer ? post("/api/answer", answer) : post("/api/next", { labeller, count: session.ahead }));
        if (answer) {
          say("");
          taken();
        }
        behind = false;
        if (!outbox.length) receive(state);
        failed = behind;
      } catch (error) {
        if (error instanceof Refused) {
          if (answer) taken();
          behind = Boolean(answer);
          warn(answer ? `An answer was not kept: ${error.message}` : error.message);
        } else {
          failed = true;
          const what = answer ? `${outbox.length} not saved yet` : "Nothing more to show yet";
          warn(`${what}: ${error.message}. Trying again; keep this page open.`, true);
        }
      }
      if (failed) await pause();
    }
  })().finally(() => { sending = null; });
  return sending;
}

function taken() {
  outbox.shift();
  localStorage.setItem(place(), JSON.stringify(outbox));
  if (!outbox.length) problem.hidden = true;
}

// The server's list is what counts: the picture on the page stays if it is in it.
function receive(state, fresh = false) {
  if (!state.next) {
    behind = true;
    warn(`That is kept, but what is next cannot be told: ${state.error}. Trying again; keep this page open.`, true);
    return flush();
  }
  if (state.notice) warn(state.notice, true);
  else if (passing) problem.hidden = true;
  progress = state.progress;
  const stays = !fresh && current && state.next.some((one) => one.token === current.token);
  queue = state.next.filter((one) => !stays || one.token !== current.token);
  if (!stays) show(queue.shift() || null);
  for (const one of queue) new Image().src = one.picture;
  showProgress();
}

function warn(words, over = false) {
  passing = over;
  problem.textContent = words;
  problem.hidden = false;
}

function say(words) {
  status.textContent = words;
}

// ---- showing ------------------------------------------------------------------------------------

function show(serving) {
  const hadFocus = document.activeElement === document.body || desk.contains(document.activeElement);
  current = serving;
  desk.hidden = !serving;
  finished.hidden = Boolean(serving) || outbox.length > 0;
  if (!serving) return finish();
  find("no-picture").hidden = true;
  picture.hidden = false;
  picture.src = serving.picture;
  begin();
  if (hadFocus) find("question").focus({ preventScroll: true });
}

function begin() {
  work = { step: 0, rankings: {}, tiers: [], rejected: new Set(), flags: {}, tie: false, strike: false,
    arranged: false, since: performance.now() };
  list.replaceChildren(...current.captions.map(card));
  render();
}

function card(caption, position) {
  const number = position + 1;
  const words = make("span", { className: "words", textContent: caption.text, dir: "auto", lang: caption.lang || "" });
  const saying = make("button", { type: "button", className: "say" }, make("kbd", { textContent: number }), words,
    make("span", { className: "place" }));
  saying.addEventListener("click", () => choose(position));
  const grip = make("button", { type: "button", className: "grip", textContent: "⋮⋮", title: "Drag to order",
    ariaLabel: `Move caption ${number}: drag, or Shift and an arrow key` });
  grip.addEventListener("pointerdown", drag);
  const tools = make("div", { className: "tools" },
    tool("=", `Caption ${number} is as good as the last one chosen`, () => { work.tie = work.tiers.length > 0; choose(position); }),
    tool("✕", `Caption ${number} is not a caption of this picture`, () => strike(position)));
  const item = make("li", { className: "caption", dataset: { position } }, grip, saying, tools);
  if (session.flags.length) {
    const chips = make("div", { className: "flags", hidden: true }, ...session.flags.map((flag) => chip(flag, position)));
    const opener = tool("⚑", `What is wrong with caption ${number}`, () => { chips.hidden = !chips.hidden; opener.ariaExpanded = String(!chips.hidden); });
    opener.ariaExpanded = "false";
    tools.append(opener);
    item.append(chips);
  }
  return item;
}

function tool(sign, words, act) {
  const button = make("button", { type: "button", textContent: sign, title: words, ariaLabel: words });
  button.addEventListener("click", act);
  return button;
}

function chip(flag, position) {
  const button = make("button", { type: "button", title: flag.hint, ariaPressed: "false", dataset: { flag: flag.name } },
    `${flag.label} `, make("kbd", { textContent: flag.key.toUpperCase() }));
  button.addEventListener("click", () => mark(flag.name, position));
  return button;
}

const cards = () => [...list.children];
const positionOf = (item) => Number(item.dataset.position);
const placed = () => work.tiers.flat();
const left = () => current.captions.map((_, position) => position)
  .filter((position) => !placed().includes(position) && !work.rejected.has(position));

function render() {
  const asked = session.rank[work.step];
  find("question").textContent = asked.question;
  find("hint").textContent = asked.hint;
  find("step").hidden = session.rank.length < 2;
  find("step").textContent = `Question ${work.step + 1} of ${session.rank.length}`;
  let above = 0;
  const places = new Map();
  for (const tier of work.tiers) {
    for (const position of tier) places.set(position, ORDINALS[above] + (tier.length > 1 ? " =" : ""));
    above += tier.length;
  }
  for (const item of cards()) {
    const position = positionOf(item), rejected = work.rejected.has(position);
    const stands = rejected ? "Rejected" : places.get(position) || "";
    item.classList.toggle("placed", places.has(position));
    item.classList.toggle("rejected", rejected);
    item.querySelector(".place").textContent = stands;
    const marked = session.flags.filter((flag) => work.flags[flag.name]?.has(position));
    const told = [`Caption ${position + 1}: ${current.captions[position].text}`, stands || "not placed",
      ...marked.map((flag) => flag.label)];
    item.querySelector(".say").ariaLabel = told.join(", ");
    for (const one of item.querySelectorAll("[data-flag]")) one.ariaPressed = String(marked.some((flag) => flag.name === one.dataset.flag));
    if (marked.length) item.querySelector(".flags").hidden = false;
  }
  find("done").hidden = !work.arranged;
  find("rest").hidden = work.arranged;
  find("rest-words").textContent = placed().length || work.rejected.size ? "The rest are equal" : "All equal";
}

// Of the whole session, whoever answers: the denominator stays where it is.
function showProgress() {
  const { items, items_answered: done, answered, skipped } = progress, bar = find("bar");
  find("count").textContent = `${done.toLocaleString("en")} of ${items.toLocaleString("en")}`;
  bar.firstElementChild.style.width = `${items ? (100 * done) / items : 100}%`;
  bar.ariaValueMax = String(items);
  bar.ariaValueNow = String(done);
  find("count").title = `pictures answered by anyone; by you ${answered}${skipped ? `, and ${skipped} skipped` : ""}`;
}

function finish() {
  const { answered = 0, repeated = 0, skipped = 0, unreadable = 0, items = 0, left: open = 0 } = progress;
  if (open) return;
  find("finished-words").textContent = `You answered ${answered} of ${items} pictures` +
    (repeated ? `, ${repeated} of them twice` : "") + (skipped ? `, and skipped ${skipped}` : "") +
    (unreadable ? `; ${unreadable} cannot be read` : "") +
    (session.command ? `. To use the labels: ${session.command}` : ".");
  find("trust").open = true;
  if (document.activeElement === document.body) finished.querySelector("h1").focus({ preventScroll: true });
}

// ---- answering ----------------------------------------------------------------------------------

function choose(position) {
  if (!current || position >= current.captions.length) return;
  if (work.strike) return strike(position);
  work.arranged = false;
  work.rejected.delete(position);
  const was = placed().includes(position);
  work.tiers = work.tiers.map((tier) => tier.filter((one) => one !== position)).filter((tier) => tier.length);
  if (!was) {
    if (work.tie && work.tiers.length) work.tiers.at(-1).push(position);
    else work.tiers.push([position]);
  }
  work.tie = false;
  const open = left();
  if (!was && open.length === 1 && !work.rejected.size) work.tiers.push(open);
  settle(was);
}

function strike(position) {
  if (!current || position >= current.captions.length) return;
  work.strike = false;
  work.tiers = work.tiers.map((tier) => tier.filter((one) => one !== position)).filter((tier) => tier.length);
  const again = work.rejected.delete(position);
  if (!again) work.rejected.add(position);
  if (!again && left().length) say("Rejected. Rank the others, or T if they are equal.");
  settle(again || work.arranged);
}

function mark(flag, position) {
  const marked = (work.flags[flag] ||= new Set());
  if (!marked.delete(position)) marked.add(position);
  render();
}

function restAreEqual() {
  if (!current || work.arranged) return;
  const open = left();
  if (open.length) work.tiers.push(open);
  settle(false);
}

// An answer is complete when every caption has a place or is rejected; `wait` for one that was taken back or moved.
function settle(wait) {
  if (wait || left().length) return render();
  work.rankings[session.rank[work.step].name] = work.tiers;
  if (work.step + 1 < session.rank.length) {
    work = { ...work, step: work.step + 1, tiers: [], arranged: false, tie: false };
    list.replaceChildren(...current.captions.map(card));
    render();
    if (left().length < 2) restAreEqual(); // all but one were rejected: there is nothing to rank
    return;
  }
  const flags = Object.fromEntries(Object.entries(work.flags).map(([name, marked]) => [name, [...marked]]));
  submit({ rankings: strip(work.rankings), rejected: [...work.rejected], flags });
}

// A caption rejected under a later question leaves its place under the earlier ones.
function strip(rankings) {
  return Object.fromEntries(Object.entries(rankings).map(([name, tiers]) => [name,
    tiers.map((tier) => tier.filter((one) => !work.rejected.has(one))).filter((tier) => tier.length)]));
}

function submit(answer) {
  const seconds = Math.round((performance.now() - work.since) / 100) / 10;
  const body = { ...answer, labeller, token: current.token, seconds };
  const saved = keep(body);
  show(queue.shift() || null);
  saved.then(() => { if (!outbox.length && problem.hidden) say("Saved. U takes it back."); });
}

async function undo() {
  if (current && work && (work.tiers.length || work.rejected.size || work.step || work.arranged || Object.keys(work.flags).length)) {
    begin();
    return say("Cleared. U again takes the last answer back.");
  }
  await sending;
  try {
    const state = await post("/api/undo", { labeller });
    receive(state, state.undone !== null);
    say(state.undone === null ? "There is nothing to take back." : "Taken back: answer it again.");
  } catch (error) {
    warn(`Not taken back: ${error.message}`);
  }
}

// ---- moving captions ----------------------------------------------------------------------------

function arranged() {
  work.arranged = true;
  work.tiers = cards().map(positionOf).filter((position) => !work.rejected.has(position)).map((position) => [position]);
  render();
  say("Best on top. Enter saves this order.");
}

function saveOrder() {
  if (!work?.arranged) return;
  work.arranged = false;
  settle(false);
}

function drag(event) {
  const item = event.currentTarget.closest("li"), grip = event.currentTarget;
  if (event.button) return;
  event.preventDefault();
  grip.setPointerCapture(event.pointerId);
  item.classList.add("moving");
  const before = cards().map(positionOf).join();
  const middle = (one) => { const box = one.getBoundingClientRect(); return box.top + box.height / 2; };
  const move = (now) => { // the others step aside: a caption taken out of the page would lose the pointer
    while (item.previousElementSibling && now.clientY < middle(item.previousElementSibling)) item.after(item.previousElementSibling);
    while (item.nextElementSibling && now.clientY > middle(item.nextElementSibling)) item.before(item.nextElementSibling);
  };
  const drop = () => {
    grip.removeEventListener("pointermove", move);
    item.classList.remove("moving");
    if (cards().map(positionOf).join() !== before) arranged();
  };
  grip.addEventListener("pointermove", move);
  grip.addEventListener("lostpointercapture", drop, { once: true });
}

function moveByKey(item, by) {
  const other = by < 0 ? item.previousElementSibling : item.nextElementSibling;
  if (!other) return;
  if (by < 0) item.after(other); else item.before(other); // moving the other one leaves the focus where it is
  arranged();
}

// ---- keys ---------------------------------------------------------------------------------------

function digit(event) {
  const found = /^(?:Digit|Numpad)([1-9])$/.exec(event.code) || /^([1-9])$/.exec(event.key);
  return found ? Number(found[1]) : 0;
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || nameBox.open) return;
  if (event.key === "?") { event.preventDefault(); return help.open ? help.close() : help.showModal(); }
  if (help.open) return;
  const key = event.key.toLowerCase();
  if (key === "u" || key === "backspace") { event.preventDefault(); return undo(); }
  if (!current) return;
  if (act(event, key)) event.preventDefault();
});

// Whether the key meant something.
function act(event, key) {
  const item = document.activeElement.closest?.(".caption");
  const number = digit(event);
  if (number) { if (event.shiftKey) strike(number - 1); else choose(number - 1); return true; }
  if (key === "enter" && work.arranged) { saveOrder(); return true; }
  if (key === "=") { work.tie = work.tiers.length > 0; say(work.tie ? "The next one ties with the last." : "First press the best one."); return true; }
  if (key === "x") { work.strike = true; say("Press the number of the caption to reject."); return true; }
  if (key === "t") { restAreEqual(); return true; }
  if (key === "p") { submit({ picture: "rejected" }); return true; }
  if (key === "s") { submit({ skip: true }); return true; }
  if (key === "arrowdown" || key === "arrowup") {
    const by = key === "arrowdown" ? 1 : -1;
    if (event.shiftKey && item) { moveByKey(item, by); return true; }
    const all = cards(), to = item ? all.indexOf(item) + by : by > 0 ? 0 : all.length - 1;
    all[Math.min(Math.max(to, 0), all.length - 1)].querySelector(".say").focus();
    return true;
  }
  const flag = session.flags.find((one) => one.key.toLowerCase() === key);
  if (flag && !item) { say(`To mark a caption with "${flag.label}", focus it first: ↓`); return true; }
  if (flag) { mark(flag.name, positionOf(item)); return true; }
  return false;
}

// ---- the rest of the page -------------------------------------------------------------------------

function terms(target, entries) {
  target.replaceChildren(...entries.flatMap(([name, ...words]) => [make("dt", {}, ...name), make("dd", { textContent: words.join(" ") })]));
}

async function showTrust() {
  const { agreement, consistency } = await ask("/api/reliability");
  const rows = [
    ...Object.entries(agreement).map(([kind, one]) => [kind, one.alpha === null ? "not told apart yet" : one.alpha.toFixed(2),
      `Krippendorff's alpha, ${one.metric}, ${one.units} units, ${one.labellers} labellers`]),
    ...Object.entries(consistency).map(([who, one]) => [who, `${one.same} of ${one.comparisons}`, "comparisons answered the same when asked again"]),
  ];
  find("trust-table").replaceChildren(rows.length
    ? make("table", {}, ...rows.map(([name, value, words]) => make("tr", {}, make("th", { scope: "row", textContent: name }),
      make("td", { textContent: value }), make("td", { textContent: words }))))
    : make("p", { textContent: "Known once two people have answered the same pictures, or one was asked again." }));
}

function askName() {
  find("name-text").value = labeller;
  nameBox.showModal();
}

async function becomes(name) {
  labeller = name;
  localStorage.setItem("pairwright-labeller", name);
  find("who").textContent = name;
  await flush();
  receive(await post("/api/next", { labeller, count: session.ahead }), true);
}

find("who").addEventListener("click", askName);
find("name-form").addEventListener("submit", () => {
  becomes(find("name-text").value.trim() || labeller).catch((error) => warn(error.message));
});
find("help-open").addEventListener("click", () => help.showModal());
for (const box of [help, nameBox]) box.addEventListener("click", (event) => { if (event.target === box && labeller) box.close(); });
help.querySelector(".close").addEventListener("click", () => help.close());
nameBox.addEventListener("cancel", (event) => { if (!labeller) event.preventDefault(); });
find("done").addEventListener("click", saveOrder);
find("rest").addEventListener("click", restAreEqual);
find("reject").addEventListener("click", () => submit({ picture: "rejected" }));
find("skip").addEventListener("click", () => submit({ skip: true }));
find("undo").addEventListener("click", undo);
find("undo-last").addEventListener("click", undo);
find("trust").addEventListener("toggle", () => { if (find("trust").open) showTrust().catch((error) => find("trust-table").replaceChildren(error.message)); });
picture.addEventListener("error", () => { picture.hidden = true; find("no-picture").hidden = false; });

(async () => {
  session = await ask("/api/session");
  outbox = JSON.parse(localStorage.getItem(place()) || "[]");
  find("dataset").textContent = session.dataset;
  terms(find("help-criteria"), session.rank.map((one) => [[one.question], one.hint]));
  terms(find("help-flags"), session.flags.map((flag) => [[make("kbd", { textContent: flag.key.toUpperCase() }), ` ${flag.label}`], flag.hint]));
  const asked = new URLSearchParams(location.search).get("labeller");
  const name = (asked || localStorage.getItem("pairwright-labeller") || session.labeller || "").trim();
  if (name) await becomes(name); else askName();
})().catch((error) => warn(`Nothing to show: ${error.message}. See that pairwright label is running, then reload.`));
